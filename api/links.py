"""Turns `s3://` addresses of results into links that a browser can open."""

from __future__ import annotations

from urllib.parse import quote

from api.aws import Signer
from contract.objects import split_s3_url


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

    async def link(self, address: str) -> str:
        """Returns the link to one result."""
        bucket, key = split_s3_url(address)
        if self._cdn:
            return f"{self._cdn}/{quote(key)}"
        return await self._signer.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=self._seconds
        )
