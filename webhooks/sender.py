"""Makes one attempt: a POST to an address that was judged, and to no other one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from yarl import URL

from contract.outbound import (
    RefusedHostError,
    Resolve,
    SilentDnsError,
    UnknownHostError,
    checked_addresses,
    pinned_connector,
    resolve_by_system,
)
from contract.webhooks import reason_against
from webhooks.policy import Verdict, asked_wait, verdict_of

_CONNECT_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to."""

    verdict: Verdict
    status: int | None = None
    error: str = ""
    """A sentence's second half; nothing of the address, and nothing of the answer's body, is in it."""
    retry_after: float = 0.0


@dataclass(frozen=True)
class Sender:
    """Sends to receivers; redirects are not followed (Standard Webhooks, "Security considerations")."""

    seconds: float
    """That an attempt may take, from the look-up of the name to the answer's head."""
    allowed_origins: frozenset[str] = frozenset()
    """Receivers that need be neither https nor public."""
    resolve: Resolve = resolve_by_system
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Makes an attempt; whatever goes wrong is an outcome."""
        refused = reason_against(url, self.allowed_origins)
        if refused is not None:
            return Outcome(Verdict.HOPELESS, error=f"the address {refused}")
        try:
            async with asyncio.timeout(self.seconds):
                return await self._send(URL(url, encoded=True), body, headers)
        except RefusedHostError as error:
            return Outcome(Verdict.HOPELESS, error=f"the address {error}")
        except (UnknownHostError, SilentDnsError, aiohttp.ClientError) as error:
            return Outcome(Verdict.FAILED, error=_words(error))
        except TimeoutError:
            return Outcome(Verdict.FAILED, error=f"no answer within {self.seconds:g} s")
        except (OSError, ValueError) as error:
            return Outcome(Verdict.FAILED, error=_words(error))

    async def _send(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Outcome:
        addresses = await checked_addresses(
            url, allowed=self.allowed_origins, seconds=_CONNECT_SECONDS, resolve=self.resolve
        )
        async with (
            aiohttp.ClientSession(
                connector=pinned_connector(addresses, tls=self.tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                trust_env=False,
                auto_decompress=False,
            ) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            status = response.status
            verdict = verdict_of(status)
            return Outcome(
                verdict,
                status,
                error="" if verdict is Verdict.DELIVERED else f"the receiver answered {status}",
                retry_after=asked_wait(status, response.headers.get("Retry-After", "")),
            )


_WORDS: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    ((UnknownHostError,), "DNS does not know the host"),
    ((SilentDnsError,), "DNS does not answer"),
    ((aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError), "the receiver has no valid certificate"),
    ((aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError), "the receiver accepts no connection"),
    (
        (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError),
        "the receiver closed the connection before it answered",
    ),
    ((aiohttp.ClientResponseError, aiohttp.InvalidURL), "the receiver does not speak HTTP"),
)
"""The first that fits, since aiohttp's errors are each other's kinds."""


def _words(error: Exception) -> str:
    for kinds, words in _WORDS:
        if isinstance(error, kinds):
            return words
    return f"the attempt failed ({type(error).__name__})"
