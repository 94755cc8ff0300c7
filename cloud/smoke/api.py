"""Talks to a deployment's API over HTTP, patiently: a gateway's refusals that pass are waited out."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from cloud.aws import ToolError

_PASSING: Final = frozenset({429, 502, 503, 504})
_PATIENCE: Final = 60.0
"""Seconds for which such an answer, or none, is asked again."""

_UNSAFE: Final = re.compile(r"[^\w.\- ]", re.ASCII)


class Api:
    """One deployment's API; a context manager.

    Args:
        url: such as https://abc.execute-api.us-east-1.amazonaws.com/prod/.
        key: its `x-api-key`; empty when it asks for none.
        patience: seconds for which an answer that may pass is waited out.
    """

    def __init__(self, url: str, key: str = "", *, patience: float = _PATIENCE) -> None:
        self.url = url.rstrip("/")
        self._patience = patience
        local = httpx.URL(self.url).host in {"127.0.0.1", "localhost", "::1"}
        self._http = httpx.Client(
            headers={"x-api-key": key} if key else {}, timeout=httpx.Timeout(30, connect=10), trust_env=not local
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def runtimes(self) -> list[dict[str, Any]]:
        """Returns the runtimes that the deployment serves."""
        return list(self._call("GET", "/v1/runtimes")["runtimes"])

    def submit(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        """Sends a task; returns the answer."""
        return dict(self._call("POST", route, body))

    def task(self, task_id: str) -> dict[str, Any]:
        """Returns how a task stands."""
        return dict(self._call("GET", f"/v1/tasks/{quote(task_id, safe='')}"))

    def download(self, task: dict[str, Any], folder: Path) -> list[Path]:
        """Saves a task's images; returns the files.

        Raises:
            ToolError: one cannot be fetched, or not be written.
        """
        saved = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for image in task["images"]:
                file = folder / (_UNSAFE.sub("_", image["s3"].rpartition("/")[2]).lstrip(".") or "image")
                # Without the API's key: the link carries its own signature, and leads elsewhere.
                answer = httpx.get(image["url"], timeout=60, follow_redirects=True, trust_env=self._http.trust_env)
                if answer.status_code != 200:
                    raise ToolError(f"{image['s3']} cannot be fetched: its link answers {answer.status_code}")
                file.write_bytes(answer.content)
                saved.append(file)
        except OSError as error:
            raise ToolError(f"cannot save to {folder}: {error.strerror or error}") from error
        except httpx.HTTPError as error:
            raise ToolError(f"an image cannot be fetched: {error}") from error
        return saved

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._http.request(method, f"{self.url}{path}", json=body)
                trouble = f"{self.url} answers {answer.status_code}" if answer.status_code in _PASSING else ""
            except httpx.TransportError as error:
                trouble = f"no API answers at {self.url} ({error})"
            if not trouble:
                return self._body(answer)
            if time.monotonic() > deadline:
                raise ToolError(f"{trouble}; is the deployment up? `uvx nox -s status` tells")
            time.sleep(1)

    def _body(self, answer: httpx.Response) -> Any:
        try:
            body = answer.json()
        except ValueError:
            raise ToolError(f"what answers at {self.url} is no API: status {answer.status_code}, no JSON") from None
        if answer.is_success:
            return body
        error = body.get("error") if isinstance(body, dict) else None
        # API Gateway's own refusals are {"message": …}.
        text = error.get("message") if isinstance(error, dict) else str(body.get("message", body))
        if answer.status_code in {401, 403}:
            text = f"{text}; give the right key with --api-key"
        raise ToolError(f"the API refuses ({answer.status_code}): {text}")
