"""Decides which processes play a pod of the chart, what each is told, and what the API server hears of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from contract.config import Config
from contract.runtimes import KINDS
from local.harness.options import Options
from local.harness.plan import Component, Stage, base_environment, program_of

RUNTIME: Final = "inference-api"
AGENT: Final = "queue-agent"
"""The chart's containers."""
RUNTIME_STOP_SECONDS: Final = 5.0

type Pod = Mapping[str, Any]
"""As the API server has it."""


@dataclass(frozen=True)
class Whereabouts:
    """What a pod has on this machine."""

    address: str
    """Its own, of the loopback interface."""
    folder: Path
    """For its service account, and for what its containers share."""
    logs: Path
    """The folder of its processes' logs."""
    api_server: int
    """The port of it, on 127.0.0.1."""


@dataclass(frozen=True)
class Played:
    """The processes of one pod."""

    runtime: Component
    agent: Component
    recycle_every: float = 0.0
    """Seconds between two looks whether the agent asks for another runtime, as the chart's liveness probe has them."""
    recycle_looks: int = 2
    """So often in a row must it ask."""


@dataclass
class Standing:
    """How far a pod has come; times are RFC 3339, empty while it has not."""

    runtime_started: str = ""
    runtime_up: str = ""
    agent_started: str = ""
    ready_since: str = ""
    ready: bool = False
    restarts: dict[str, int] = field(default_factory=dict)


def now() -> str:
    """Returns the time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def has_work(pod: Pod) -> bool:
    """Tells whether a pod is one of the chart's runtimes; a placeholder of `headroom` has nothing to do."""
    return RUNTIME in _containers(pod) and AGENT in _containers(pod)


def secret_names(pod: Pod) -> set[str]:
    """Returns the secrets that the agent's environment comes from."""
    entries = _containers(pod)[AGENT].get("env", ())
    return {
        item["valueFrom"]["secretKeyRef"]["name"] for item in entries if "secretKeyRef" in item.get("valueFrom", {})
    }


def played(
    pod: Pod,
    where: Whereabouts,
    *,
    config: Config,
    options: Options,
    secrets: Mapping[str, Mapping[str, str]],
    inherited: Mapping[str, str],
) -> Played:
    """Returns the processes of a pod.

    They get what its containers would get. A pod's containers share an address that nobody else has; here they have an
    address of their own, so `127.0.0.1` becomes that. Images are not looked at: this folder's code runs.

    Args:
        pod: bound to a node.
        where: what it has here.
        config: the deployment's.
        options: of the fake runtimes.
        secrets: decoded, by name.
        inherited: the environment of whoever starts the processes.
    """
    containers, name = _containers(pod), pod["metadata"]["name"]
    runtime = next(item for item in config.runtimes if item.name == _plain(containers[AGENT], "RUNTIME_NAME"))
    port = containers[RUNTIME]["ports"][0]["containerPort"]
    probe = containers[RUNTIME].get("startupProbe", {}).get("httpGet", {})
    told = environment_of(containers[AGENT], pod, secrets)
    own = {
        "API_BASE_URL": f"http://{where.address}:{urlsplit(told['API_BASE_URL']).port}",
        "HEALTH_HOST": where.address,
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(where.api_server),
        "SERVICE_ACCOUNT_FOLDER": str(service_account(where)),
    }
    if "RECYCLE_FILE" in told:
        own["RECYCLE_FILE"] = str(recycle_file(where))
    base = base_environment(inherited)
    liveness = containers[RUNTIME].get("livenessProbe", {})
    return Played(
        recycle_every=float(liveness.get("periodSeconds", 10)),
        recycle_looks=int(liveness.get("failureThreshold", 3)),
        runtime=Component(
            name=f"{name}/{RUNTIME}",
            stage=Stage.RUNTIME,
            command=(
                *(sys.executable, "-m", *program_of(runtime, config, options)),
                *("--host", where.address, "--port", str(port)),
            ),
            environment=base,
            port=port,
            ready_path=probe.get("path") or KINDS[runtime.type].ready_path,
            stop_timeout=RUNTIME_STOP_SECONDS,
            host=where.address,
            log=where.logs / f"{name}.{RUNTIME}.log",
        ),
        agent=Component(
            name=f"{name}/{AGENT}",
            stage=Stage.AGENT,
            command=(sys.executable, "-m", "agent"),
            environment=base | {"AWS_EC2_METADATA_DISABLED": "true"} | told | own,
            port=int(told["HEALTH_PORT"]),
            ready_path="/readyz",
            stop_timeout=float(pod["spec"].get("terminationGracePeriodSeconds", 30)),
            host=where.address,
            log=where.logs / f"{name}.{AGENT}.log",
        ),
    )


def service_account(where: Whereabouts) -> Path:
    """Returns the folder of a pod's token."""
    return where.folder / "serviceaccount"


def recycle_file(where: Whereabouts) -> Path:
    """Returns the file by which the agent asks for another runtime, as its liveness probe looks for it."""
    return where.folder / "restart"


def environment_of(container: Mapping[str, Any], pod: Pod, secrets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Returns a container's environment with everything looked up."""
    found = {}
    for item in container.get("env", ()):
        source = item.get("valueFrom", {})
        if "secretKeyRef" in source:
            found[item["name"]] = secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
        elif "fieldRef" in source:
            _, part = source["fieldRef"]["fieldPath"].split(".", 1)
            found[item["name"]] = str(pod["metadata"][part])
        else:
            found[item["name"]] = item.get("value", "")
    return found


def status_of(pod: Pod, address: str, standing: Standing) -> dict[str, Any]:
    """Returns what a kubelet would say of a pod that stands so."""
    started = bool(standing.agent_started)
    conditions = {
        "PodReadyToStartContainers": (bool(standing.runtime_started), standing.runtime_started),
        "Initialized": (bool(standing.runtime_up), standing.runtime_up),
        "ContainersReady": (standing.ready, standing.ready_since),
        "Ready": (standing.ready, standing.ready_since),
    }
    return {
        "phase": "Running" if started else "Pending",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "127.0.0.1",
        "startTime": standing.runtime_started or now(),
        "conditions": [
            {"type": kind, "status": "True" if holds else "False", "lastTransitionTime": since or now()}
            for kind, (holds, since) in conditions.items()
        ],
        "initContainerStatuses": [
            _container_status(item, standing, standing.runtime_started, bool(standing.runtime_up))
            for item in pod["spec"].get("initContainers", ())
        ],
        "containerStatuses": [
            _container_status(item, standing, standing.agent_started, standing.ready)
            for item in pod["spec"]["containers"]
        ],
    }


def _container_status(container: Mapping[str, Any], standing: Standing, since: str, ready: bool) -> dict[str, Any]:
    state = {"running": {"startedAt": since}} if since else {"waiting": {"reason": "PodInitializing"}}
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"process://{container['image']}",
        "ready": ready,
        "started": ready or (bool(since) and container["name"] != RUNTIME),
        "restartCount": standing.restarts.get(container["name"], 0),
        "state": state,
    }


def _containers(pod: Pod) -> dict[str, Mapping[str, Any]]:
    spec = pod["spec"]
    return {item["name"]: item for item in (*spec.get("initContainers", ()), *spec["containers"])}


def _plain(container: Mapping[str, Any], name: str) -> str:
    return next((item.get("value", "") for item in container.get("env", ()) if item["name"] == name), "")
