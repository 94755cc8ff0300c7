"""Finds the process that listens on a port of this machine, and reads how much memory it takes (Linux, `/proc`).

A process of the same machine and user sees it. Containers do not see each other's processes, and must not: whoever sees
the agent's, and is the same user, reads its credentials out of `/proc`.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Final

from yarl import URL

PROC: Final = Path("/proc")

_LISTENING: Final = "0A"
"""TCP_LISTEN, as in the column `st` of /proc/net/tcp (include/net/tcp_states.h)."""


def local_port(url: str) -> int | None:
    """Returns the port of an address on this machine (a pod's containers share their network); None for another's."""
    parsed = URL(url)
    host = parsed.host or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return parsed.port if loopback else None


def listener_of(port: int, proc: Path = PROC) -> int | None:
    """Returns the id of the process that listens on a TCP port; None when there is none, or none that we may see.

    It looks at every open file of every process: not for the event loop.
    """
    sockets = _listening_sockets(port, proc)
    if not sockets:
        return None
    for process in proc.iterdir():
        if process.name.isdecimal() and _holds(process, sockets):
            return int(process.name)
    return None


def resident_bytes(pid: int, proc: Path = PROC) -> int | None:
    """Returns the resident set of a process (second field of `statm`, in pages); None when it is gone."""
    try:
        fields = (proc / str(pid) / "statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


def _listening_sockets(port: int, proc: Path) -> set[str]:
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTENING and fields[1].rpartition(":")[2] == f"{port:04X}":
                found.add(f"socket:[{fields[9]}]")
    return found


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        with os.scandir(process / "fd") as descriptors:
            return any(_target(descriptor.path) in sockets for descriptor in descriptors)
    except OSError:  # gone, or another user's
        return False


def _target(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
