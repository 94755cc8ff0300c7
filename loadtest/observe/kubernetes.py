"""Replicas, nodes and GPUs of a stack in Kubernetes, from the API server alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import urllib3
from gevent.pool import Pool
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from contract.cluster_tls import relax_client
from contract.config import Config
from loadtest.observe.metrics import busy_seconds
from loadtest.observe.source import SourceError
from loadtest.samples import Replicas, Start
from loadtest.target import Target, TargetError

_TIMEOUT: Final = 5.0
_HEALTH_PORT: Final = "health"
"""The name of the agent's port in the chart's Deployment. The proxy gets its number: at a name the handler of an API
server of 1.35 panics."""
_POOL: Final = "karpenter.sh/nodepool"
_TRACK: Final = "darkroom/track"
_GPU: Final = "nvidia.com/gpu"
_CAPACITY: Final = "karpenter.sh/capacity-type"


class KubernetesReplicas:
    """Asks for the pods, autoscalers and nodes of a deployment's runtimes.

    Args:
        deployment: whose runtimes; each is a release of the chart in its own namespace.
        context: of kubeconfig; empty: the current one.
        kubeconfig: the path of it; empty: the user's own.

    Raises:
        TargetError: there is no such context, or KEDA does not scale a runtime.
    """

    name = "replicas"
    every = 1.0

    def __init__(self, deployment: Config, context: str = "", kubeconfig: str = "") -> None:
        self._runtimes = {runtime.name: runtime.namespace for runtime in deployment.runtimes}
        self._pool = Pool(8)
        self._http = urllib3.PoolManager(maxsize=8)
        api = _client(context, kubeconfig)
        self._core = client.CoreV1Api(api)
        self._autoscaling = client.AutoscalingV2Api(api)
        if troubles := self._unscaled(client.CustomObjectsApi(api)):
            raise TargetError("\n".join(troubles))

    def look(self) -> dict[str, Any]:
        """Returns replicas by state, what the autoscalers want, nodes, busy seconds, and how pods came up."""
        try:
            pods = {runtime: self._pods(runtime, namespace) for runtime, namespace in self._runtimes.items()}
            replicas = {runtime: counted(found, self._wanted_of(runtime, found)) for runtime, found in pods.items()}
            nodes = [each for each in self._core.list_node(_request_timeout=_TIMEOUT).items if has_gpu(each)]
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            raise SourceError(f"Kubernetes: {getattr(error, 'reason', None) or error}") from error
        return {
            "replicas": replicas,
            "nodes": nodes_by_pool(nodes),
            "busy": self._busy(pods),
            "starts": {
                f"{runtime}/{pod.metadata.name}": start
                for runtime, found in pods.items()
                for pod in found
                if (start := start_of(pod)) is not None
            },
        }

    def _unscaled(self, objects: Any) -> list[str]:
        """Returns a line for each runtime that KEDA refuses to scale: a load test of it would show nothing else."""
        found = []
        for runtime, namespace in self._runtimes.items():
            try:
                items = objects.list_namespaced_custom_object(
                    *("keda.sh", "v1alpha1", namespace, "scaledobjects"),
                    label_selector=f"app.kubernetes.io/instance={runtime}",
                    _request_timeout=_TIMEOUT,
                )["items"]
            except (ApiException, urllib3.exceptions.HTTPError):
                continue  # there is no KEDA, or nobody to ask: then nothing is known, which `look` says
            conditions = [each for item in items for each in item.get("status", {}).get("conditions") or ()]
            found += [
                f"{runtime}: KEDA does not scale it: {each.get('message') or each.get('reason')}"
                for each in conditions
                if (each["type"], each["status"]) == ("Ready", "False")
            ]
        return found

    def _pods(self, runtime: str, namespace: str) -> list[Any]:
        selector = f"app.kubernetes.io/instance={runtime},app.kubernetes.io/component=runtime"
        found: list[Any] = self._core.list_namespaced_pod(
            namespace, label_selector=selector, _request_timeout=_TIMEOUT
        ).items
        return found

    def _wanted_of(self, runtime: str, pods: Iterable[Any]) -> int | None:
        """Returns what the HPAs that KEDA made ask for, a canary's too; None while there is none."""
        tracks = {(pod.metadata.labels or {}).get(_TRACK) for pod in pods}
        names = [runtime, *([f"{runtime}-canary"] if "canary" in tracks else [])]
        wanted = [self._wanted(name, self._runtimes[runtime]) for name in names]
        known = [number for number in wanted if number is not None]
        return sum(known) if known else None

    def _wanted(self, name: str, namespace: str) -> int | None:
        """Returns what one asks for; None while it is not there."""
        try:
            found = self._autoscaling.read_namespaced_horizontal_pod_autoscaler_status(
                f"keda-hpa-{name}", namespace, _request_timeout=_TIMEOUT
            )
        except ApiException as error:
            if error.status in {403, 404}:
                return None
            raise
        wanted: int | None = found.status.desired_replicas
        return wanted

    def _busy(self, pods: dict[str, list[Any]]) -> dict[str, float]:
        ready = [(runtime, pod) for runtime, found in pods.items() for pod in found if is_ready(pod)]
        seconds = self._pool.map(lambda item: self._busy_of(item[1]), ready)
        return {
            f"{runtime}/{pod.metadata.name}": found
            for (runtime, pod), found in zip(ready, seconds, strict=True)
            if found is not None
        }

    def _busy_of(self, pod: Any) -> float | None:
        port = port_of(pod, _HEALTH_PORT)
        if port is None:
            return None
        address = (pod.status and pod.status.pod_ip) or ""
        if address.startswith("127."):
            # A process of this machine (cluster/nodes.py): to such an address an API server passes nothing on.
            return self._direct(f"http://{address}:{port}/metrics")
        try:
            # Undecoded, because the client gives text back as the representation of its bytes.
            answer = self._core.connect_get_namespaced_pod_proxy_with_path(
                f"{pod.metadata.name}:{port}",
                pod.metadata.namespace,
                "metrics",
                _request_timeout=_TIMEOUT,
                _preload_content=False,
            )
        except (ApiException, urllib3.exceptions.HTTPError):
            return None
        return busy_seconds(answer.data.decode(errors="replace"))

    def _direct(self, url: str) -> float | None:
        try:
            answer = self._http.request("GET", url, timeout=_TIMEOUT, retries=False)
        except urllib3.exceptions.HTTPError:
            return None
        return busy_seconds(answer.data.decode(errors="replace"))


def _client(context: str, kubeconfig: str) -> Any:
    try:
        api = config.new_client_from_config(kubeconfig or None, context or None)
    except ConfigException as error:
        raise TargetError(f"kubeconfig cannot be used: {error}; see `aws eks update-kubeconfig`") from error
    relax_client(api)
    return api


def kill_pod(target: Target) -> str:
    """Takes one ready pod of a runtime away by force, as a node that is lost does; returns its name, or nothing."""
    core = client.CoreV1Api(_client(target.context, target.kubeconfig))
    selector = "app.kubernetes.io/component=runtime"
    try:
        for namespace in dict.fromkeys(runtime.namespace for runtime in target.config.runtimes):
            found = core.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=_TIMEOUT).items
            if pod := next(filter(is_ready, found), None):
                core.delete_namespaced_pod(
                    pod.metadata.name, namespace, grace_period_seconds=0, _request_timeout=_TIMEOUT
                )
                return str(pod.metadata.name)
    except (ApiException, urllib3.exceptions.HTTPError):
        pass
    return ""


def port_of(pod: Any, name: str) -> int | None:
    """Returns the number of a port that a pod's containers name; None when none does."""
    containers = (pod.spec and pod.spec.containers) or ()
    ports = (port for container in containers for port in container.ports or ())
    return next((port.container_port for port in ports if port.name == name), None)


def has_gpu(node: Any) -> bool:
    """Tells whether a node is one of a pool of Karpenter's, or has a GPU."""
    labels = node.metadata.labels or {}
    amounts = (node.status and node.status.allocatable) or {}
    return _POOL in labels or str(amounts.get(_GPU, "0")) != "0"


def is_ready(pod: Any) -> bool:
    """Tells whether a pod takes tasks and stays."""
    conditions = pod.status.conditions or []
    return pod.metadata.deletion_timestamp is None and any(
        item.type == "Ready" and item.status == "True" for item in conditions
    )


def start_of(pod: Any) -> Start | None:
    """Returns the steps of a pod that serves; None while it does not, or when its steps are not told."""
    if not is_ready(pod):
        return None
    made = pod.metadata.creation_timestamp
    reached = {item.type: item.last_transition_time for item in pod.status.conditions}
    running = [
        item.state.running.started_at
        for item in pod.status.init_container_statuses or ()
        if item.state is not None and item.state.running is not None
    ]
    times = [reached.get("PodScheduled"), min(running, default=None), reached.get("Initialized"), reached.get("Ready")]
    if made is None or None in times:
        return None
    scheduled, started, up, ready = (max(0.0, (at - made).total_seconds()) for at in times if at is not None)
    # A runtime that was restarted since has begun later than the pod.
    return Start(scheduled=scheduled, started=min(started, up), up=up, ready=max(up, ready))


def counted(pods: Iterable[Any], wanted: int | None) -> Replicas:
    """Returns pods by state; those that have ended do not count."""
    living = [pod for pod in pods if pod.status.phase in {"Pending", "Running", "Unknown"}]
    draining = sum(pod.metadata.deletion_timestamp is not None for pod in living)
    ready = sum(is_ready(pod) for pod in living)
    return Replicas(ready=ready, starting=len(living) - ready - draining, draining=draining, wanted=wanted)


def nodes_by_pool(nodes: Iterable[Any]) -> dict[str, int]:
    """Returns how many nodes there are of each Karpenter pool and kind of capacity."""
    found: dict[str, int] = {}
    for node in nodes:
        labels = node.metadata.labels or {}
        name = f"{labels.get(_POOL, 'no pool')} {labels.get(_CAPACITY, '')}".strip()
        found[name] = found.get(name, 0) + 1
    return found
