"""Turns `s3://` addresses of results into links that a browser can open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import quote

from contract.objects import split_s3_url


class Signer(Protocol):
    """The part of `contract.s3.S3` that signs links."""

    async def sign(self, keys: Sequence[str], *, seconds: int) -> list[str]:
        """Returns links to objects of the output bucket."""

    async def sign_part(self, key: str, *, upload: str, number: int, size: int, seconds: int) -> str:
        """Returns a link that takes one part of a multipart upload to the output bucket."""


class Links:
    """Presigned S3 links, or the CDN's when one is configured.

    Args:
        signer: signs without sending; its endpoint is the one that clients reach.
        cdn_base_url: an address that serves the output bucket; empty: none.
        seconds: how long a presigned link works.
    """

    def __init__(self, signer: Signer, *, cdn_base_url: str, seconds: int) -> None:
        self._signer = signer
        self._cdn = cdn_base_url
        self._seconds = seconds

    async def links(self, addresses: Sequence[str]) -> list[str]:
        """Returns the links to some results."""
        keys = [split_s3_url(address)[1] for address in addresses]
        if self._cdn:
            return [f"{self._cdn}/{quote(key)}" for key in keys]
        return await self._signer.sign(keys, seconds=self._seconds) if keys else []
