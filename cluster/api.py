"""The few calls of the API server's that the nodes need, without a process for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import httpx

from contract.cluster_tls import cluster_context

MERGE: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
_TIMEOUT: Final = 10.0


class ApiError(Exception):
    """The API server does not do it, or is away; one line."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status
        """Of HTTP; 0: there was no answer."""


class ApiServer:
    """An API server, with a client certificate.

    Args:
        url: such as https://127.0.0.1:6443.
        authority: its certificate authority's certificate.
        certificate: the client's; its key lies beside it, as `.key`.
    """

    def __init__(self, url: str, authority: Path, certificate: Path) -> None:
        context = cluster_context(str(authority))
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self._http = httpx.AsyncClient(base_url=url, verify=context, timeout=_TIMEOUT, trust_env=False)

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def call(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **query: str
    ) -> dict[str, Any]:
        """Returns the API server's answer.

        Raises:
            ApiError: it refuses, or cannot be asked.
        """
        content = None if body is None else json.dumps(body)
        try:
            answer = await self._http.request(
                method, path, content=content, params=query, headers={"Content-Type": kind} if content else {}
            )
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ApiError(f"{method} {path}: {type(error).__name__}: {error}") from error
        if answer.is_error:
            raise ApiError(f"{method} {path}: {answer.status_code} {found.get('message', '')}", answer.status_code)
        return found
