"""Brings KEDA into a cluster: by Helm where images can be had, otherwise its roles for processes of this machine."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from cloud.versions import KEDA
from cluster.control_plane import KEDA_NAMESPACE, Files
from cluster.kubectl import Access
from cluster.ports import ControlPorts

_HELM_SECONDS: Final = 600.0
_SERVICE: Final = "keda-metrics-apiserver"
_ROLES: Final = (
    "general/namespace.yaml",
    "service_account/service_account.yaml",
    "rbac/role.yaml",
    "rbac/role_binding.yaml",
    "metrics-server/role.yaml",
    "metrics-server/role_binding.yaml",
)
"""Of the folder `config` of KEDA's module."""


async def install_roles(access: Access, config: Path, files: Files, ports: ControlPorts) -> None:
    """Makes what KEDA's processes need: its CRDs, its roles, and the way from the API server to its metrics.

    Raises:
        ClusterError: the API server refuses something.
    """
    await access.apply(documents(path for path in sorted((config / "crd" / "bases").glob("*.yaml"))))
    await access.apply(documents(config / name for name in _ROLES))
    await access.apply(metrics_service(files.pki / "ca.crt", ports))


def documents(paths: Any) -> Iterator[dict[str, Any]]:
    """Yields the objects of YAML files."""
    for path in paths:
        yield from (item for item in yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader) if item)


def metrics_service(authority: Path, ports: ControlPorts) -> list[dict[str, Any]]:
    """Returns how the API server reaches KEDA's adapter: as an external name, since it is no pod."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": _SERVICE, "namespace": KEDA_NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": ports.adapter}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {
                "service": {"name": _SERVICE, "namespace": KEDA_NAMESPACE, "port": ports.adapter},
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": base64.b64encode(authority.read_bytes()).decode(),
            },
        },
    ]


async def install_chart(access: Access, say: Callable[[str], None]) -> bool:
    """Installs KEDA by its chart, at the version of the cloud; returns whether it was not there before.

    Raises:
        ClusterError: it cannot be had, or refuses to start.
    """
    if await access.get("customresourcedefinitions", "scaledobjects.keda.sh") is not None:
        say("KEDA is there already: it is used as it is")
        return False
    say(f"installing KEDA {KEDA.version} by Helm (images are pulled: a minute or more)")
    await access.install(KEDA.name, *keda_options(), values={}, within=_HELM_SECONDS)
    return True


def keda_options() -> tuple[str, ...]:
    """Returns the chart and the options of Helm's that install KEDA."""
    return (
        KEDA.name,
        *("--repo", KEDA.repository, "--version", KEDA.version),
        *("--namespace", KEDA_NAMESPACE, "--create-namespace", "--wait", "--timeout", f"{_HELM_SECONDS:.0f}s"),
    )
