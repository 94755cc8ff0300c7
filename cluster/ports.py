"""Decides which process of a cluster listens where: all of it on the loopback interface."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

from local.harness.ports import API, LOCALSTACK, SINK, Ports, PortsError

_FIRST: Final = 16440
_HIGHEST: Final = 65535


@dataclass(frozen=True)
class ControlPorts:
    """The ports of the control plane and of KEDA."""

    etcd: int
    etcd_peer: int
    api_server: int
    controllers: int
    scheduler: int
    keda_health: int
    keda_metrics: int
    keda_grpc: int
    adapter: int
    adapter_metrics: int


def cluster_ports(base: int | None) -> tuple[Ports, ControlPorts]:
    """Returns the ports of API, sink and emulator, and those of the control plane.

    Args:
        base: everything counts from here; None means the usual ports.

    Raises:
        PortsError: they do not fit below 65536.
    """
    front = Ports(API, SINK, LOCALSTACK, ()) if base is None else Ports(base, base + 1, base + 2, ())
    first = _FIRST if base is None else base + 3
    control = ControlPorts(*range(first, first + len(ControlPorts.__dataclass_fields__)))
    if max(astuple(control)) > _HIGHEST:
        raise PortsError(f"this cluster needs the ports {first} to {control.adapter_metrics}: lower --port-base")
    return front, control


def pod_address(control: ControlPorts, number: int) -> str:
    """Returns the address of a pod: all of 127.0.0.0/8 is this machine's own, so each pod can have one.

    Args:
        control: by which clusters on one machine differ.
        number: of the pod, from 1 to 65,000.
    """
    return f"127.{16 + control.api_server % 200}.{number // 250}.{number % 250 + 1}"
