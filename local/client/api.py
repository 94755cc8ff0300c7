"""Talks to the API over HTTP: each refusal becomes one sentence."""

from __future__ import annotations

import json
import mimetypes
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Self
from urllib.parse import quote

import httpx

from local.client.events import parse_events

TERMINAL: Final = frozenset({"succeeded", "failed", "cancelled"})
PATIENCE: Final = 60.0
"""Seconds for which a lost event stream is tried again."""

_SAFE_NAME: Final = re.compile(r"[^\w.\- ]", re.ASCII)


class NotReachableError(Exception):
    """Nothing answers, or not now; the text says where and what to do."""


class RefusedError(Exception):
    """The API refuses a request; the text is its own."""


class Api:
    """One API.

    Args:
        url: such as http://127.0.0.1:8000.
        key: its `x-api-key`, if it asks for one.

    Raises:
        RefusedError: the URL is none, or no key can look so.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            # No proxy from the environment: it could not reach this machine's own address.
            self._http = httpx.Client(
                base_url=self.url,
                headers={"x-api-key": key} if key else {},
                timeout=httpx.Timeout(30, connect=5),
                trust_env=False,
                # Reading the certificates takes longer than most calls; no redirect is followed to where they count.
                verify=not self.url.startswith("http:"),
            )
        except httpx.InvalidURL as error:
            raise RefusedError(f"the API's URL {url!r} is not one: {error}") from error
        except UnicodeEncodeError as error:
            raise RefusedError("the API key holds characters that a header cannot carry: it must be ASCII") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def upload(self, file: Path) -> dict[str, Any]:
        """Stores an input file; returns its `s3` address and a `url`.

        Raises:
            RefusedError: the file cannot be read, or the API does not take it.
        """
        kind = mimetypes.guess_type(file.name)[0] or ""
        if not kind.startswith(("image/", "video/", "audio/")):
            kind = "application/octet-stream"
        try:
            with file.open("rb") as data:
                size = {"content-length": str(os.fstat(data.fileno()).st_size), "content-type": kind}
                return dict(self._call("POST", f"/v1/inputs?name={quote(file.name)}", content=data, headers=size))
        except OSError as error:
            raise RefusedError(f"{file} cannot be read: {error.strerror or error}") from error

    def submit(self, route: str, document: Any) -> Any:
        """Posts a request; returns the answer."""
        headers = {"content-type": "application/json"}
        return self._call("POST", route, content=json.dumps(document).encode(), headers=headers)

    def task(self, task_id: str) -> dict[str, Any]:
        """Returns how a task stands."""
        return dict(self._call("GET", f"/v1/tasks/{_quoted(task_id)}"))

    def cancel(self, task_id: str) -> dict[str, Any]:
        """Cancels a task; returns how it stands then."""
        return dict(self._call("DELETE", f"/v1/tasks/{_quoted(task_id)}"))

    def runtimes(self) -> list[dict[str, Any]]:
        """Returns the runtimes with the depth of their queues."""
        return list(self._call("GET", "/v1/runtimes")["runtimes"])

    def follow(self, task_id: str) -> Iterator[dict[str, Any]]:
        """Yields the task each time that it changes, the last time when it has ended.

        A lost connection is made again, for a minute.

        Raises:
            NotReachableError: it cannot be made again.
            RefusedError: there is no such task.
        """
        last, lost_at = "", None
        while True:
            try:
                for identifier, task in self._events(task_id, last):
                    last, lost_at = identifier, None
                    yield task
                    if task["status"] in TERMINAL:
                        return
            except (httpx.TransportError, NotReachableError) as error:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > PATIENCE or not last:
                    raise NotReachableError(f"the API at {self.url} does not answer: {error}") from error
            time.sleep(0.5)

    def _events(self, task_id: str, last: str) -> Iterator[tuple[str, dict[str, Any]]]:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last} if last else {})
        # The API sends a comment every 15 s at the latest.
        timeout = httpx.Timeout(45, connect=5)
        with self._http.stream(
            "GET", f"/v1/tasks/{_quoted(task_id)}/events", headers=headers, timeout=timeout
        ) as answer:
            if answer.status_code != 200:
                answer.read()
                self._check(answer)
                return
            for event in parse_events(answer.iter_lines()):
                yield event.identifier, json.loads(event.data)

    def download(self, task: dict[str, Any], folder: Path) -> list[Path]:
        """Saves the images of a task; returns the files.

        Raises:
            NotReachableError: S3 does not answer.
            RefusedError: an image is not there, or the folder cannot be written to.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return [self._save(image, folder) for image in task["images"]]
        except OSError as error:
            raise RefusedError(f"cannot save to {folder}: {error.strerror or error}") from error
        except httpx.TransportError as error:
            raise NotReachableError(f"the images cannot be fetched: {error}") from error

    def _save(self, image: dict[str, str], folder: Path) -> Path:
        name = _SAFE_NAME.sub("_", image["s3"].rpartition("/")[2]).lstrip(".") or "image"
        file, draft = folder / name, folder / f".{name}.part"
        # Not with the API's key: the link carries its own signature, and leads elsewhere.
        with httpx.stream("GET", image["url"], timeout=60, trust_env=False) as answer:
            if answer.status_code != 200:
                raise RefusedError(f"{image['s3']} cannot be fetched: status {answer.status_code}")
            with draft.open("wb") as out:
                for chunk in answer.iter_bytes():
                    out.write(chunk)
        draft.replace(file)
        return file

    def _call(
        self, method: str, path: str, *, content: bytes | IO[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        try:
            answer = self._http.request(method, path, content=content, headers=headers)
        except httpx.TransportError as error:
            raise NotReachableError(
                f"no API answers at {self.url} ({error}); start one with `uvx nox -s up` or "
                "`docker compose up --wait`, or name another with --api or DARKROOM_API_URL"
            ) from error
        return self._check(answer)

    def _check(self, answer: httpx.Response) -> Any:
        """Returns the answer's JSON, or raises what its status says."""
        try:
            body = answer.json() if answer.content else None
        except ValueError:
            raise NotReachableError(
                f"what answers at {self.url} is not the API: status {answer.status_code}, no JSON"
            ) from None
        if answer.is_success:
            return body
        # API Gateway's own refusals have the message alone.
        error = body.get("error", body) if isinstance(body, dict) else {}
        message = error.get("message") if isinstance(error, dict) else None
        text = message or f"what answers at {self.url} is not the API, or not it alone: status {answer.status_code}"
        if answer.status_code in {429, 502, 503, 504}:
            again = answer.headers.get("retry-after")
            raise NotReachableError(f"the API cannot take it now: {text}" + (f" (try in {again} s)" if again else ""))
        if answer.status_code in {401, 403}:
            text += "; give a key with --api-key or DARKROOM_API_KEY"
        raise RefusedError(text)


def _quoted(task_id: str) -> str:
    return quote(task_id, safe="")
