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
from cloud.kubernetes_access import TIMEOUT, api_client
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
        """Lets a share of the pods run other images; 0 per cent removes the canary.

        Raises:
            ToolError: Helm fails.
        """
        values: dict[str, Any] = {"percent": percent}
        for container, reference in images.items():
            values[container] = {"image": _image(reference)}
        self._upgrade({"runtime": {"canary": values}})

    def set_images(self, images: Mapping[str, str]) -> None:
        """Lets all pods run other images, and removes the canary.

        Raises:
            ToolError: Helm fails.
        """
        values: dict[str, Any] = {key: {"image": _image(reference)} for key, reference in images.items()}
        self._upgrade({"runtime": {**values, "canary": {"percent": 0}}})

    def _upgrade(self, values: Mapping[str, Any]) -> None:
        if self.runtime.chart_repository:
            raise ToolError(f"{self.runtime.name} is released from a chart of its own, {self.runtime.chart_repository}")
        try:
            helm = str(helm_binary())
        except HelmError as error:
            raise ToolError(str(error)) from error
        shell.run(
            [
                *(helm, "upgrade", self.runtime.name, str(CHART), "--namespace", self.runtime.namespace),
                *("--kubeconfig", str(self.kubeconfig), "--reuse-values", "--values", "-", "--hide-notes"),
            ],
            report=self.report,
            stdin=json.dumps(values),
        )

    def stable_images(self) -> dict[str, str]:
        """Returns the images of all but the canary, by the name of their values.

        Raises:
            ToolError: the cluster does not say.
        """
        from kubernetes.client import ApiException, AppsV1Api  # noqa: PLC0415 - see api_client

        try:
            found = AppsV1Api(api_client(self.kubeconfig)).read_namespaced_deployment(
                self.runtime.name, self.runtime.namespace, _request_timeout=TIMEOUT
            )
        except ApiException as error:
            raise ToolError(f"the cluster does not show {self.runtime.name}: {error.reason}") from error
        pod = found.spec.template.spec
        running = {item.name: item.image for item in [*(pod.init_containers or []), *pod.containers]}
        return {key: running[name] for key, name in CONTAINERS.items() if name in running}

    def trouble(self) -> str:
        """Returns why the canary's pods cannot work; empty: their probes say nothing of the kind.

        Raises:
            ToolError: the cluster does not say.
        """
        from kubernetes.client import ApiException, CoreV1Api  # noqa: PLC0415 - see api_client

        client = api_client(self.kubeconfig)
        selector = f"app.kubernetes.io/instance={self.runtime.name},darkroom/track=canary"
        try:
            found = CoreV1Api(client).list_namespaced_pod(
                self.runtime.namespace, label_selector=selector, _request_timeout=TIMEOUT
            )
        except ApiException as error:
            raise ToolError(f"the cluster does not show the canary's pods: {error.reason}") from error
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
