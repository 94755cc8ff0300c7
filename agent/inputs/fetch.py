"""Fetches a link over HTTP so that it cannot be made to reach anything but the public network."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urljoin

import aiohttp
from yarl import URL

from agent.errors import PASSING_STATUSES, PermanentError, TaskError, TransientError
from agent.media import SIGNATURE_SIZE, media_type_of
from contract.outbound import (
    RefusedHostError,
    Resolve,
    SilentDnsError,
    UnknownHostError,
    checked_addresses,
    pinned_connector,
    resolve_by_system,
)

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f\\]")
_AFTER_HOST: Final = re.compile(r"[^:/?#]+://[^/?#]*([^#]*)")
_ASCII: Final = "".join(chr(code) for code in range(0x21, 0x7F))
_CHUNK: Final = 64 * 1024
_HEADERS: Final = {
    "Accept": "image/*, video/*, audio/*, */*;q=0.5",
    # A compressed body could unpack to any size; images are compressed already.
    "Accept-Encoding": "identity",
    "User-Agent": "darkroom-agent",
}
_WAY_OUT: Final = "put the file at a public http(s) address or into the S3 bucket, or send it as base64"


@dataclass(frozen=True)
class Limits:
    """How much a task's links may ask for."""

    links: int = 16
    """Different links of one task."""
    bytes_per_link: int = 32 * 1024 * 1024
    bytes_per_task: int = 64 * 1024 * 1024
    redirects: int = 3
    """Of one link."""
    connect_seconds: float = 5.0
    """To resolve a name, and again to connect."""
    idle_seconds: float = 10.0
    """Between two pieces of an answer."""
    seconds_per_link: float = 30.0
    """For all of it, redirects included: what a slow body runs into."""
    seconds_per_task: float = 90.0
    """For all links of a task."""
    parallel: int = 4
    """Links that are fetched at the same time."""


@dataclass
class Budget:
    """The bytes that a task's links may still bring."""

    left: int

    def take(self, size: int, link: str) -> None:
        """Accounts for bytes that came.

        Raises:
            PermanentError: that was too much.
        """
        self.left -= size
        if self.left < 0:
            raise PermanentError(
                "input_too_large",
                f"the links of this task bring more than is allowed together (at {shown(link)}); send fewer or smaller",
            )


def shown(link: str) -> str:
    """Returns a link as messages and logs name it: without user, password and query, which may be secrets."""
    head, separator, rest = link.strip().partition("://")
    if not separator:
        return repr(link[:100])
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    text = f"{head}://{authority.rpartition('@')[2]}{slash}{path}"
    return repr(text if len(text) <= 200 else f"{text[:200]}…")


@dataclass(frozen=True)
class Fetcher:
    """Fetches http and https links.

    Each hop's host is judged by its addresses, and reached at those alone (`contract.outbound`).
    """

    limits: Limits = field(default_factory=Limits)
    allowed_origins: frozenset[str] = frozenset()
    """Origins (see `parse_origins`) that may be fetched although their addresses are not public."""
    resolve: Resolve = resolve_by_system
    tls: ssl.SSLContext | None = None
    """Whom to trust; None for the system's certificates."""

    async def fetch(self, link: str, budget: Budget, *, is_media: bool = True) -> bytes:
        """Returns the file behind a link.

        Args:
            link: its address.
            budget: of the task.
            is_media: whether it must be an image, video or sound.

        Raises:
            PermanentError: the link is refused, or what it names is not there, too large, too slow or of another kind.
            TransientError: the host cannot be reached or failed; it may work later.
        """
        try:
            async with asyncio.timeout(self.limits.seconds_per_link):
                return await self._follow(_parse(link, link), link, budget, is_media=is_media)
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            raise _too_slow(link, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _network_failure(link, error) from error

    async def _follow(self, url: URL, link: str, budget: Budget, *, is_media: bool) -> bytes:
        for _ in range(self.limits.redirects + 1):
            addresses = await self._checked_addresses(url, link)
            found = await self._get(url, addresses, link, budget, is_media=is_media)
            if isinstance(found, bytes):
                return found
            if url.scheme == "https" and found.scheme == "http":
                raise _refused(link, "redirects from https to http", "use an address that stays with https")
            url = found
        raise _refused(link, f"redirects more than {self.limits.redirects} times", "use the address that it ends at")

    async def _checked_addresses(self, url: URL, link: str) -> list[str]:
        """Returns the addresses of a host, all of them judged.

        Raises:
            PermanentError: one of them is refused, or there is none.
            TransientError: DNS does not answer.
        """
        try:
            return await checked_addresses(
                url, allowed=self.allowed_origins, seconds=self.limits.connect_seconds, resolve=self.resolve
            )
        except RefusedHostError as error:
            raise _refused(link, str(error), error.way_out or _WAY_OUT) from error
        except UnknownHostError as error:
            raise _unknown_host(link) from error
        except SilentDnsError as error:
            raise TransientError("input_unavailable", f"DNS does not answer for the link {shown(link)}") from error

    async def _get(
        self, url: URL, addresses: Sequence[str], link: str, budget: Budget, *, is_media: bool
    ) -> bytes | URL:
        """Asks one host, and returns what it sent or where it points."""
        connector = pinned_connector(addresses, tls=self.tls)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self.limits.connect_seconds, sock_read=self.limits.idle_seconds
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=timeout,
                trust_env=False,
                auto_decompress=False,
            ) as session,
            session.get(url, headers=_HEADERS, allow_redirects=False) as response,
        ):
            if response.status in _REDIRECTS:
                return _parse(response.headers.get("Location", ""), link, base=url)
            if response.status != 200:
                raise _refused_by_host(link, response.status)
            return await self._read(response, link, budget, is_media=is_media)

    async def _read(self, response: aiohttp.ClientResponse, link: str, budget: Budget, *, is_media: bool) -> bytes:
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            raise _refused(link, "sends a compressed body", "serve the file as it is")
        most = self.limits.bytes_per_link
        if (response.content_length or 0) > most:
            raise too_large(link, most)
        data = bytearray()
        checked = not is_media
        async for chunk in response.content.iter_chunked(_CHUNK):
            data += chunk
            if len(data) > most:
                raise too_large(link, most)
            budget.take(len(chunk), link)
            if not checked and len(data) >= SIGNATURE_SIZE:
                # Early: what is of the wrong kind need not be read to its end.
                check_type(data, link)
                checked = True
        if is_media:
            check_type(data, link)
        return bytes(data)


def check_type(data: bytes | bytearray, link: str) -> None:
    """Refuses what is no image, video or sound, whatever its Content-Type says.

    Raises:
        PermanentError: it is none.
    """
    if media_type_of(bytes(data[:SIGNATURE_SIZE])) is None:
        raise PermanentError(
            "input_wrong_type",
            f"the link {shown(link)} names no image, video or sound (by its first bytes); link to the file itself",
        )


def too_large(link: str, most: int) -> PermanentError:
    """Returns the error for a file beyond the limit."""
    return PermanentError(
        "input_too_large", f"the link {shown(link)} names more than {most / 2**20:g} MiB; link to a smaller file"
    )


def refuse_scheme(link: str) -> PermanentError:
    """Returns the error for a link that is neither http(s) nor s3."""
    scheme = link.strip().partition(":")[0].lower()
    return _refused(link, f"has the scheme {scheme!r}", "only http, https and s3 links are fetched")


def _parse(text: str, link: str, base: URL | None = None) -> URL:
    """Reads an address, or the target of a redirect.

    The host is yarl's, which is judged. Path and query go out byte for byte, since a signature may cover them; only
    what is not ASCII is escaped.

    Raises:
        PermanentError: it is none that may be fetched.
    """
    where = "redirects to an address that" if base is not None else "is an address that"
    text = text.strip()
    if not text or _UNPRINTABLE.search(text):
        raise _refused(link, f"{where} holds spaces, control characters or backslashes, or is empty", "encode them")
    try:
        text = text if base is None else urljoin(str(base), text)
        url = URL(text)
        port = url.port
    except (ValueError, IndexError) as error:  # yarl's own for "http://[::1]@"
        raise _refused(link, f"{where} cannot be read", "check its spelling") from error
    if url.scheme not in {"http", "https"}:
        raise _refused(link, f"{where} is neither http nor https", _WAY_OUT)
    if not url.raw_host or not port:
        raise _refused(link, f"{where} has no host", "check its spelling")
    if url.raw_user is not None or url.raw_password is not None:
        raise _refused(link, f"{where} holds a user or password", "use a presigned address instead")
    rest = _AFTER_HOST.match(text)
    # Old servers redirect in Latin-1; aiohttp hands on what is no UTF-8 as lone surrogates.
    exact = quote(rest[1] if rest else "", safe=_ASCII, errors="surrogateescape")
    return URL(f"{url.scheme}://{url.raw_authority}{exact if exact.startswith('/') else f'/{exact}'}", encoded=True)


def _refused(link: str, why: str, way_out: str) -> PermanentError:
    return PermanentError("input_refused", f"the link {shown(link)} {why}; {way_out}")


def _unknown_host(link: str) -> PermanentError:
    return PermanentError("input_not_found", f"the host of the link {shown(link)} has no address; check its spelling")


def _refused_by_host(link: str, status: int) -> TaskError:
    if status >= 500 or status in PASSING_STATUSES:
        return TransientError("input_unavailable", f"the host of the link {shown(link)} answers {status}")
    if status in {404, 410}:
        return PermanentError("input_not_found", f"the link {shown(link)} names nothing ({status}); check it")
    if status in {401, 403, 407, 451}:
        return PermanentError(
            "input_forbidden", f"the link {shown(link)} is not public ({status}); use a presigned address"
        )
    return PermanentError(
        "input_not_found", f"the link {shown(link)} gives no file ({status}); link to the file itself"
    )


def _too_slow(link: str, error: Exception) -> TaskError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransientError("input_unavailable", f"the host of the link {shown(link)} does not accept connections")
    return PermanentError("input_timeout", f"the link {shown(link)} sends too slowly; put the file at a faster address")


def _network_failure(link: str, error: Exception) -> TaskError:
    match error:
        case aiohttp.ClientSSLError():
            return PermanentError(
                "input_refused", f"the host of the link {shown(link)} has no valid certificate; use one that has"
            )
        case aiohttp.ClientConnectorError():
            return TransientError("input_unavailable", f"the host of the link {shown(link)} cannot be reached")
        case aiohttp.ClientResponseError() | aiohttp.InvalidURL():
            return PermanentError("input_refused", f"the host of the link {shown(link)} does not speak HTTP; check it")
        case _:
            return TransientError(
                "input_unavailable", f"the host of the link {shown(link)} closed the connection before the end"
            )
