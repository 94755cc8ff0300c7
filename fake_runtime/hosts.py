"""Keeps web pages of other sites away: a page could order crashes, under a host name of its own (DNS rebinding) too.

The rule is that of the other local servers (`contract/hosts.py`): the names that were set, `localhost` and every IP
address. Here the page's own site (`Origin`) must be one of them as well: the real servers take any content type.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from fake_runtime.encoding import json_response

_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:\d*)?")


@dataclass(frozen=True)
class AllowedHosts:
    """The host names that are answered to; None: any."""

    names: frozenset[str] | None

    @classmethod
    def of(cls, setting: str, listening_on: str) -> Self:
        """Names with commas between them, or `*`; empty: localhost alone on a loopback address, otherwise any."""
        names = frozenset(part.strip().lower() for part in setting.split(",") if part.strip())
        if "*" in names or (not names and not _is_loopback(listening_on)):
            return cls(None)
        return cls(names)

    def first_refused(self, hosts: Iterable[str]) -> str | None:
        """The first of some hosts, with or without a port, that is not allowed."""
        return next((host for host in hosts if not self._allows(host)), None)

    def _allows(self, host: str) -> bool:
        parts = _HOST.fullmatch(host.strip().lower())
        if self.names is None or parts is None:
            return self.names is None
        name = parts[1].removesuffix(".")
        return name in {"", "localhost"} or name.endswith(".localhost") or name in self.names or _is_address(name)


def guard(allowed: AllowedHosts, *, pages: bool) -> Middleware:
    """Answers 403 to a request for a host that is not allowed, or from a page of such a host.

    Args:
        allowed: the host names.
        pages: whether to look at pages' origins too; ComfyUI does so itself.
    """

    @web.middleware
    async def known_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        sent = request.headers.getall("Origin", []) if pages else []
        origins = [urlsplit(origin).netloc or origin for origin in sent]
        refused = allowed.first_refused([*request.headers.getall("Host", []), *origins])
        if refused is None:
            return await handler(request)
        message = f"the host {refused[:80]!r} is not allowed: use localhost, or name it with --allowed-hosts"
        error = {"code": "host_not_allowed", "message": message, "details": {"host": refused[:80]}}
        return json_response({"error": error}, 403)

    return known_host


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
