"""What a deployment on AWS runs all month, by its config.yaml alone: a plan needs no CDK. Pure functions."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, Final

from contract.config import Config, RuntimeConfig
from contract.prices import Fixed

_DATA_VOLUME: Final = "80Gi"
"""`karpenter.nodeTemplate.dataVolume.volumeSize` in the chart's values."""

_MOST_ZONES: Final = 3
_BYTES: Final = {"Gi": 2**30, "Ti": 2**40, "G": 10**9, "T": 10**12}
_SIZE: Final = re.compile(r"([0-9]+)(Gi|G|Ti|T)", re.ASCII)


def fixed_of(config: Config) -> Fixed:
    """Returns what a deployment runs all month; a test compares it with what the templates hold."""
    runtimes, sample = len(config.runtimes), config.cloud.sample
    return Fixed(
        nat_gateways=config.cloud.nat_gateways,
        # The API's, and that of the sample application.
        load_balancers=1 + sample.enabled,
        load_balancer_addresses=_zones(config) if sample.enabled and sample.allowed_cidrs else 0,
        fargate_vcpus=Decimal("0.25") * sample.enabled,
        fargate_gb=Decimal("0.5") * sample.enabled,
        snapshot_gib=snapshot_gib(config),
        # By runtime: the oldest task by two of them, what nobody takes by two, and dead letters; besides: undelivered,
        # failed (two), GPUs, Spot.
        alarms=5 * runtimes + 5,
        # Succeeded, failed, and by runtime the age of what is received again.
        metrics=2 + runtimes,
        dashboards=1,
        # The cluster's secrets, and the topic of the alarms.
        keys=1 + bool(config.cloud.alarms.email),
        # That by which the gateway proves itself, and the one that signs webhooks.
        secrets=1 + config.cloud.webhooks,
    )


def _zones(config: Config) -> int:
    return len(config.cloud.availability_zones) or _MOST_ZONES


def snapshot_gib(config: Config) -> int:
    """Returns the GiB of the snapshot that is made for a deployment; 0: none is.

    No volume may be smaller than its snapshot (Amazon EBS, CreateVolume), so it is that of the smallest.
    """
    return min((gib for runtime in config.runtimes if (gib := _cached_gib(config, runtime))), default=0)


def _cached_gib(config: Config, runtime: RuntimeConfig) -> int:
    """Returns the size of the data volume of a runtime's nodes, rounded up; 0: it starts from no snapshot of ours."""
    node = _within(_within(runtime.extra_values, "karpenter"), "nodeTemplate")
    volume = _within(node, "dataVolume")
    if node.get("imageCache") == "soci" or volume.get("snapshotID") or config.cloud.image_cache.snapshot_id:
        return 0
    found = _SIZE.fullmatch(str(volume.get("volumeSize", _DATA_VOLUME)))
    # Another unit the chart refuses.
    return math.ceil(int(found[1]) * _BYTES[found[2]] / 2**30) if found else 0


def _within(values: dict[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}
