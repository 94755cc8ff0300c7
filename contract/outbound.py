"""Connects to hosts that strangers name, such that nothing but the public network is reached.

A host is resolved once, every one of its addresses is judged, and the connection goes to those very addresses: what DNS
answers a moment later makes no difference. Any port is allowed on a public address.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from contract.addresses import ends_in_number, literal_address, reason_to_refuse
from contract.webhooks import LOOPBACK

type Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host name; raises `socket.gaierror`."""

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")


class RefusedHostError(Exception):
    """A host that is not to be reached; the text goes on after "the link …", `way_out` is set where there is one."""

    def __init__(self, reason: str, way_out: str = "") -> None:
        super().__init__(reason)
        self.way_out = way_out


class UnknownHostError(Exception):
    """DNS has no address of this host."""


class SilentDnsError(Exception):
    """DNS does not answer; it may later."""


def parse_origins(origins: Iterable[str]) -> frozenset[str]:
    """Reads origins that may be reached although their addresses are not public.

    Raises:
        ValueError: one of them is no origin; the text names it.
    """
    return frozenset(_parse_origin(origin) for origin in origins)


def parse_receivers(text: str) -> tuple[str, ...]:
    """Reads origins with commas between them, and maybe `loopback`.

    Raises:
        ValueError: as `parse_origins`.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    named = parse_origins(part for part in parts if part != LOOPBACK)
    return (*sorted(named), *((LOOPBACK,) if LOOPBACK in parts else ()))


def _parse_origin(text: str) -> str:
    url = URL(text)
    plain = url.scheme in {"http", "https"} and url.raw_host and url.user is None and url.raw_path in {"", "/"}
    if not plain or url.raw_query_string or url.raw_fragment:
        raise ValueError(f"{text!r} is no origin: write scheme://host:port, such as http://127.0.0.1:8001")
    return origin_of(url)


def origin_of(url: URL) -> str:
    """Returns scheme, host and port of an address, the port always."""
    return f"{url.scheme}://{(url.raw_host or '').rstrip('.').lower()}:{url.port}"


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Resolves as every program on this machine does; see `Resolve`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def checked_addresses(
    url: URL, *, allowed: frozenset[str], seconds: float, resolve: Resolve = resolve_by_system
) -> list[str]:
    """Returns the addresses of a host, all of them judged.

    Args:
        url: whose host is meant.
        allowed: origins (see `parse_origins`, `LOOPBACK`) whose addresses need not be public.
        seconds: that DNS may take.
        resolve: asks DNS.

    Raises:
        RefusedHostError: one of its addresses is not public, or it is no host name.
        UnknownHostError: it has none.
        SilentDnsError: DNS does not answer.
    """
    host = (url.raw_host or "").rstrip(".")
    literal = literal_address(host)
    if literal is None and ends_in_number(host):
        raise RefusedHostError("has an unusual spelling of an IP address as its host", "write it as four numbers")
    if literal is None and not _HOST_NAME.fullmatch(host):
        raise RefusedHostError("has a host that is no host name", "check its spelling")
    addresses = [literal] if literal is not None else await _resolved(host, url.port or 0, seconds, resolve)
    local = LOOPBACK in allowed and all(ip_address(address).is_loopback for address in addresses)
    if origin_of(url) not in allowed and not local:
        for address in addresses:
            if reason := reason_to_refuse(address):
                # The address itself stays unsaid: it would tell strangers what our DNS knows.
                raise RefusedHostError(f"leads to {reason}")
    return addresses


async def _resolved(host: str, port: int, seconds: float, resolve: Resolve) -> list[str]:
    try:
        async with asyncio.timeout(seconds):
            addresses = list(await resolve(host, port))
    except TimeoutError as error:
        raise SilentDnsError from error
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise SilentDnsError from error
        raise UnknownHostError from error
    except UnicodeError as error:
        raise UnknownHostError from error
    if not addresses:
        raise UnknownHostError
    return addresses


def pinned_connector(addresses: Sequence[str], *, tls: ssl.SSLContext | None = None) -> aiohttp.TCPConnector:
    """Returns a connector that connects to these addresses alone, whatever host it is asked for.

    Args:
        addresses: that were judged.
        tls: whom to trust; None for the system's certificates.
    """
    return aiohttp.TCPConnector(
        resolver=_Pinned(addresses),
        socket_factory=only_to(addresses),
        use_dns_cache=False,
        force_close=True,
        ssl=tls or True,
    )


class _Pinned(AbstractResolver):
    """Answers every question with the addresses that were judged."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def only_to(addresses: Sequence[str]) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Returns a maker of sockets that refuses any other address: the last door, whatever came before."""

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if address[0] not in addresses:
            raise OSError(f"{address[0]} is not an address that was checked")
        return socket.socket(family, kind, protocol)

    return make
