"""Says how large the nodes' data volumes are, and which snapshots they start from."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from cloud.aws import ToolError
from cloud.chart_values import values_in_force
from contract.config import Config

_BYTES: Final = {"Gi": 2**30, "Ti": 2**40, "G": 10**9, "T": 10**12}
"""By the units that the chart's schema takes."""

_SIZE: Final = re.compile(r"([0-9]+)(Gi|G|Ti|T)", re.ASCII)


@dataclass(frozen=True)
class DataVolume:
    """The data volume of one runtime's nodes."""

    runtime: str
    gib: int
    """As Karpenter makes it: rounded up."""
    snapshot: str
    """Which it starts from; empty: the one that is made for the deployment."""


def data_volumes(config: Config) -> list[DataVolume]:
    """Returns the data volumes that start from a snapshot; those of runtimes with SOCI do not.

    Raises:
        ToolError: the size of one cannot be read.
    """
    found = []
    for runtime in config.runtimes:
        values = values_in_force(runtime)
        node: dict[str, Any] = values["karpenter"]["nodeTemplate"]
        if node["imageCache"] != "soci":
            volume = node["dataVolume"]
            snapshot = volume["snapshotID"] or config.cloud.image_cache.snapshot_id
            found.append(DataVolume(runtime.name, _gib(runtime.name, str(volume["volumeSize"])), snapshot))
    return found


def cache_gib(config: Config) -> int:
    """Returns the GiB of the snapshot that is made for a deployment; 0: nobody would start from it.

    No volume may be smaller than its snapshot (Amazon EBS, CreateVolume), so it is that of the smallest.
    """
    return min((volume.gib for volume in data_volumes(config) if not volume.snapshot), default=0)


def size_fault(volume: DataVolume, snapshot_gib: int) -> str:
    """Returns what is wrong with a volume of that size from its snapshot; empty: nothing."""
    if volume.gib >= snapshot_gib:
        return ""
    return (
        f"{volume.runtime}: dataVolume.volumeSize comes to {volume.gib} GiB, but its snapshot {volume.snapshot} has "
        f"{snapshot_gib} GiB, and no node could start: set extraValues.karpenter.nodeTemplate.dataVolume.volumeSize "
        f'to "{snapshot_gib}Gi" or more, or name a smaller snapshot'
    )


def _gib(runtime: str, size: str) -> int:
    found = _SIZE.fullmatch(size)
    if found is None:
        raise ToolError(f'{runtime}: dataVolume.volumeSize is {size!r}; write it as "80Gi"')
    return math.ceil(int(found[1]) * _BYTES[found[2]] / 2**30)
