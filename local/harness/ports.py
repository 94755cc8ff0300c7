"""Decides which process listens where."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import psutil

API: Final = 8000
SINK: Final = 8001
WEBHOOKS: Final = 8002
LOCALSTACK: Final = 4566
WORKERS: Final = 8010

_HIGHEST: Final = 65535


class PortsError(Exception):
    """A port that cannot be had; the text names it, who has it if that is known, and the way out."""


@dataclass(frozen=True)
class Worker:
    """The ports of one fake runtime and of its agent's probes."""

    runtime: int
    agent: int


@dataclass(frozen=True)
class Ports:
    """The port of every process, all on 127.0.0.1."""

    api: int
    sink: int
    localstack: int
    workers: tuple[Worker, ...]
    webhooks: int = 0
    """Of the deliverer's probes; 0: it does not run."""


def plan_ports(workers: int, base: int | None = None) -> Ports:
    """Returns the ports of a stack with so many agents.

    Args:
        workers: pairs of an agent and a fake runtime.
        base: everything counts from here upward, without gaps; None means the usual ports.

    Raises:
        PortsError: they do not fit below 65536.
    """
    api, sink, localstack, first = (API, SINK, LOCALSTACK, WORKERS) if base is None else range(base, base + 4)
    webhooks = WEBHOOKS if base is None else first + 2 * workers
    last = max(api, sink, localstack, webhooks, first + 2 * workers - 1)
    if api < 1 or last > _HIGHEST:
        raise PortsError(
            f"this stack needs the ports {api} to {last}, and the highest is {_HIGHEST}: lower --port-base"
        )
    return Ports(
        api=api,
        sink=sink,
        webhooks=webhooks,
        localstack=localstack,
        workers=tuple(Worker(first + 2 * number, first + 2 * number + 1) for number in range(workers)),
    )


def refuse_ports_in_use(wanted: Mapping[str, int]) -> None:
    """Checks that every port can be had.

    Args:
        wanted: who listens on which port.

    Raises:
        PortsError: one line for each port that is taken.
    """
    lines = []
    for name, port in wanted.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As every server here does: a port whose last connections have just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                lines.append(f"port {port} (for {name}) is in use{_by_whom(port)}")
    if lines:
        raise PortsError(
            "\n".join(lines) + "\nend what listens there, or take other ports: --port-base N counts all of them from N"
        )


def _by_whom(port: int) -> str:
    try:
        for item in psutil.net_connections("inet"):
            if item.laddr and item.laddr.port == port and item.status == psutil.CONN_LISTEN and item.pid:
                return f" by {psutil.Process(item.pid).name()} (process {item.pid})"
    except psutil.Error:
        pass  # other users' processes may not be looked at
    return ""
