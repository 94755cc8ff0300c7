"""Makes the values of each runtime's release on this machine; the chart itself is the cloud's, unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from cloud.chart_values import Placement, merged, release_values
from contract.config import Config, RuntimeConfig
from contract.runtimes import KINDS
from contract.topology import Topology

AGENT_IMAGE: Final = "darkroom/agent:local"
RUNTIME_IMAGE: Final = "darkroom/fake-runtime:local"


@dataclass(frozen=True)
class Surroundings:
    """What differs between clusters."""

    endpoint: str
    """The emulator's URL as pods see it."""
    gpus: bool
    """Whether nodes have `nvidia.com/gpu`; without, the fakes ask for none."""
    grace_seconds: int
    """That a running task may finish after SIGTERM."""
    input_origins: str
    """Where tasks' links may lead besides the internet: the callback sink with its sample picture."""
    api_cidrs: tuple[str, ...] = ()
    """Where the cluster's API is, for the network policy."""


def values_of(
    config: Config,
    runtime: RuntimeConfig,
    place: Topology,
    around: Surroundings,
    *,
    queue: str,
    dead_letters: str,
) -> dict[str, Any]:
    """Returns the values of a runtime's release: what a deployment would have, and what this machine needs.

    Args:
        config: the deployment's.
        runtime: of it.
        place: its names on the emulator.
        around: what the cluster is like.
        queue: the queue's URL as pods see it.
        dead_letters: that of its dead-letter queue.

    Raises:
        ChartValuesError: the chart does not take the runtime's `extraValues`.
    """
    placement = Placement(
        region=place.region,
        cluster_name=config.stack_name,
        queue_url=queue,
        dead_letter_url=dead_letters,
        callback_topic_arn=place.callback_topic_arn,
        output_bucket=place.output_bucket,
        agent_image=AGENT_IMAGE,
        runtime_image=RUNTIME_IMAGE,
        node_role="none",
    )
    return merged(release_values(config, runtime, placement), _local(around, runtime))


def _local(around: Surroundings, runtime: RuntimeConfig) -> dict[str, Any]:
    own: dict[str, Any] = {
        "global": {"awsEndpoint": around.endpoint},
        "karpenter": {"enabled": False},
        "runtime": {
            "persistence": {"enabled": False},
            "queueAgent": {
                "gracePeriodSeconds": around.grace_seconds,
                "extraEnv": [*_own_environment(runtime), *_origins(around)],
            },
        },
    }
    if around.api_cidrs:
        own["networkPolicy"] = {"clusterCidrs": list(around.api_cidrs), "clusterPorts": [443, 6443]}
    if not around.gpus:
        small = {"cpu": "50m", "memory": "128Mi"}
        own["runtime"]["inferenceApi"] = {
            "resources": {
                "requests": {**small, "nvidia.com/gpu": "0"},
                "limits": {"nvidia.com/gpu": "0"},
            },
            **_arguments(runtime),
        }
        own["runtime"]["queueAgent"]["resources"] = {"requests": small}
    return own


def _arguments(runtime: RuntimeConfig) -> dict[str, Any]:
    """Returns the arguments of the fake runtime, whose image plays every type; none for an image of one's own."""
    kind = KINDS[runtime.type]
    if kind.stand_in != "fake_runtime" or _under(runtime, "inferenceApi", "image", "repository"):
        return {}
    port = _under(runtime, "inferenceApi", "port") or kind.port
    return {"args": ["--type", str(runtime.type), "--port", str(port)]}


def _origins(around: Surroundings) -> list[dict[str, str]]:
    return [{"name": "INPUT_ALLOWED_ORIGINS", "value": around.input_origins}] if around.input_origins else []


def _own_environment(runtime: RuntimeConfig) -> list[Any]:
    return list(_under(runtime, "queueAgent", "extraEnv") or ())


def _under(runtime: RuntimeConfig, *path: str) -> Any:
    """Returns what a runtime's own values say at a path below `runtime`; None when nothing."""
    value: Any = runtime.extra_values
    for key in ("runtime", *path):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def as_pods_see(url: str, endpoint: str) -> str:
    """Returns a queue's URL with the host by which pods reach the emulator."""
    return urlsplit(url)._replace(netloc=urlsplit(endpoint).netloc).geturl()
