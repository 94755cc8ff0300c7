"""Changes a runtime's Helm release: the canary's share and image, or the image of all; and looks at its pods."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloud import shell
from cloud.aws import ToolError
from cloud.deployment.settings import image_values
from cloud.helm import CHART, HelmError, helm_binary
from cloud.kubernetes_access import TIMEOUT, api_client, plain_cluster_errors
from cloud.reporter import Reporter
from contract.config import RuntimeConfig

CONTAINERS: Final = {"inferenceApi": "inference-api", "queueAgent": "queue-agent"}
"""The containers of a runtime's pods, by the name of their values."""

_HOPELESS: Final = frozenset(
    {"CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"}
)
_RESTARTS: Final = 3


@dataclass(frozen=True)
class Release:
    """One runtime's release in a cluster."""

    runtime: RuntimeConfig
    kubeconfig: Path
    report: Reporter

    def set_canary(self, images: Mapping[str, str], percent: int) -> None:
        """Lets a share of the pods run other images; a container that none is named for runs what all run.

        Raises:
            ToolError: Helm fails, or the cluster does not say what runs.
        """
        values: dict[str, Any] = {"percent": percent}
        # All of them are named: the release still has those of the canary before.
        for container, reference in {**self.stable_images(), **images}.items():
            values[container] = {"image": _image(reference)}
        self._upgrade({"runtime": {"canary": values}})

    def remove_canary(self) -> None:
        """Lets no pod run the canary's images.

        Raises:
            ToolError: Helm fails.
        """
        self._upgrade({"runtime": {"canary": {"percent": 0}}})

    def set_images(self, images: Mapping[str, str]) -> None:
        """Lets all pods run other images, and removes the canary.

        Raises:
            ToolError: Helm fails.
        """
        values: dict[str, Any] = {key: {"image": _image(reference)} for key, reference in images.items()}
        self._upgrade({"runtime": {**values, "canary": {"percent": 0}}})

    def _upgrade(self, values: Mapping[str, Any]) -> None:
        try:
            helm = str(helm_binary())
        except HelmError as error:
            raise ToolError(str(error)) from error
        shell.run(
            [
                *(helm, "upgrade", self.runtime.name, str(CHART), "--namespace", self.runtime.namespace),
                *("--kubeconfig", str(self.kubeconfig), "--reset-then-reuse-values", "--values", "-", "--hide-notes"),
            ],
            report=self.report,
            stdin=json.dumps(values),
        )

    def stable_images(self) -> dict[str, str]:
        """Returns the images of all but the canary, by the name of their values.

        Raises:
            ToolError: the cluster does not say.
        """
        from kubernetes.client import AppsV1Api  # noqa: PLC0415 - see api_client

        with plain_cluster_errors():
            found = AppsV1Api(api_client(self.kubeconfig)).read_namespaced_deployment(
                self.runtime.name, self.runtime.namespace, _request_timeout=TIMEOUT
            )
        pod = found.spec.template.spec
        running = {item.name: item.image for item in [*(pod.init_containers or []), *pod.containers]}
        return {key: running[name] for key, name in CONTAINERS.items() if name in running}

    def trouble(self) -> str:
        """Returns why the canary's pods cannot work; empty: their probes say nothing of the kind.

        Raises:
            ToolError: the cluster does not say.
        """
        from kubernetes.client import CoreV1Api  # noqa: PLC0415 - see api_client

        selector = f"app.kubernetes.io/instance={self.runtime.name},darkroom/track=canary"
        with plain_cluster_errors():
            client = api_client(self.kubeconfig)
            found = CoreV1Api(client).list_namespaced_pod(
                self.runtime.namespace, label_selector=selector, _request_timeout=TIMEOUT
            )
        return pods_trouble(client.sanitize_for_serialization(found)["items"])


def pods_trouble(pods: list[Mapping[str, Any]]) -> str:
    """Returns the first thing that keeps one of these pods (v1, as JSON) from working; empty: none."""
    for pod in pods:
        status = pod.get("status", {})
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            where = f"{pod['metadata']['name']}/{container['name']}"
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") in _HOPELESS:
                return f"{where}: {waiting['reason']} {waiting.get('message', '')}".strip()
            if container.get("restartCount", 0) >= _RESTARTS:
                return f"{where} has failed its probes and was restarted {container['restartCount']} times"
    return ""


def _image(reference: str) -> dict[str, str]:
    """Returns an image's values; what it has not is emptied, or the release would keep it from before."""
    return {"tag": "", "digest": ""} | image_values(reference)
