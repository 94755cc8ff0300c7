"""Which names a server answers to. A web page can reach a local server under a name of its own (DNS rebinding).

A browser sends the name of the page's own site in `Host`, so a name that is not ours shows such a page. An IP address
shows none: a page would have to come from that very address. So addresses are always allowed, and with them the probes
of Kubernetes and of load balancers, which ask by the pod's address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Self

_NAME: Final = re.compile(r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?)*", re.ASCII)
_HOST: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:\d*)?")

ANY: Final = "*"


@dataclass(frozen=True)
class AllowedHosts:
    """The names of one server, any port: those that were set, `localhost` and below it, and every IP address."""

    names: frozenset[str] | None
    """None: the server answers to any name."""

    @classmethod
    def of(cls, setting: str, *, listening_on: str) -> Self:
        """Returns what a setting allows.

        Args:
            setting: names, with commas between them; `*` for any. Empty: the names of this machine when the server
                listens on a loopback address, otherwise any (a gateway or a load balancer is in front).
            listening_on: the server's address.

        Raises:
            ValueError: one of them is no host name.
        """
        names = frozenset(item for item in (part.strip().lower() for part in setting.split(",")) if item)
        if ANY in names or (not names and not _is_loopback(listening_on)):
            return cls(None)
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no host name: give names without http:// and without a port")
        return cls(names)

    def first_refused(self, hosts: Iterable[str]) -> str | None:
        """Returns the first `Host` header, or origin's host, that is none of ours; None when all are.

        A request without one passes: no browser sends such a request.
        """
        if self.names is None:
            return None
        return next((host for host in hosts if not _allowed(host, self.names)), None)


@lru_cache(maxsize=256)
def _allowed(host: str, names: frozenset[str]) -> bool:
    parts = _HOST.fullmatch(host.strip().lower())
    if parts is None:
        return False
    name = parts[1].removesuffix(".")
    if name in {"", "localhost"} or name.endswith(".localhost") or name in names:
        return True
    return _address(name) is not None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def refusal(host: str) -> str:
    """Returns what a client is told whose `Host` is none of ours."""
    shown = host if len(host) <= 80 else f"{host[:77]}…"
    return (
        f"this server does not answer to the host name {shown!r}: ask for localhost or 127.0.0.1, "
        "or name it in ALLOWED_HOSTS"
    )
