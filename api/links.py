"""Turns `s3://` addresses of results into links that a browser can open."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from api.aws import Signer
from contract.objects import split_s3_url


def task_links(root_path: str, task_id: str, *, tenant: str | None = None) -> dict[str, str]:
    """Returns where to go on with a task.

    Args:
        root_path: the gateway's prefix, or nothing.
        task_id: the task's.
        tenant: whose it is, where an admin looks at another tenant's; None: the caller's own.
    """
    here = f"{root_path}/v1/tasks/{quote(task_id, safe='')}"
    of = "" if tenant is None else f"?tenant={quote(tenant, safe='')}"
    return {"self": f"{here}{of}", "events": f"{here}/events{of}"}


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
