"""Downloads a large file whose SHA-256 is known; what an earlier try has left is gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx

from cloud.aws import ToolError

TRIES: Final = 5
"""In a row that bring not one byte."""

_CHUNK: Final = 2**20
_TIMEOUT: Final = httpx.Timeout(30)


class StoppedError(Exception):
    """Nobody wants the file any more."""


def size_of(url: str) -> int | None:
    """Asks for one byte of a file, and returns the size of the whole; None where the server does not say.

    Raises:
        ToolError: it is not to be had.
    """
    headers = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
    try:
        with httpx.stream("GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=True) as answer:
            answer.raise_for_status()
            said = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get(
                "Content-Length", ""
            )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ToolError(f"{url} is not to be had: {_told(error)}") from error
    return int(said) if said.isascii() and said.isdigit() else None


def download(url: str, path: Path, sha256: str, *, advance: Callable[[int], None], wanted: Callable[[], bool]) -> None:
    """Brings a file to a path; it is there only when it is whole and has that hash.

    Args:
        url: of HTTP or HTTPS.
        path: a file beside it, `….part`, holds what has come so far.
        sha256: in hexadecimal.
        advance: is told how many bytes have come, those of an earlier try included.
        wanted: is asked before each piece whether to go on.

    Raises:
        StoppedError: `wanted` said no; the part stays.
        ToolError: it cannot be had or written, or is another file; then nothing of it stays.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _is_whole(path, sha256):
            _fetch(url, part, advance, wanted)
            if not _is_whole(part, sha256):
                part.unlink(missing_ok=True)
                raise ToolError(f"{url} is not the file that it is to be: its SHA-256 is not {sha256}")
            part.replace(path)
    except OSError as error:
        raise ToolError(f"cannot write {path}: {error.strerror}") from error


def _fetch(url: str, part: Path, advance: Callable[[int], None], wanted: Callable[[], bool]) -> None:
    """Appends to the part until the server says that this is all."""
    failed = 0
    while True:
        had = part.stat().st_size if part.exists() else 0
        try:
            return _append(url, part, had, advance, wanted)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            came = part.exists() and part.stat().st_size > had
            failed = 0 if came else failed + 1
            if isinstance(error, (httpx.HTTPStatusError, httpx.InvalidURL)) or failed == TRIES:
                raise ToolError(f"{url} cannot be fetched: {_told(error)}") from error


def _append(url: str, part: Path, had: int, advance: Callable[[int], None], wanted: Callable[[], bool]) -> None:
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={had}-"} if had else {})}
    with httpx.stream("GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=True) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and had:
            return  # it is whole; or another file, as its hash will tell
        answer.raise_for_status()
        goes_on = answer.status_code == httpx.codes.PARTIAL_CONTENT
        advance(had if goes_on else 0)
        with part.open("ab" if goes_on else "wb") as file:
            for data in answer.iter_raw(_CHUNK):
                if not wanted():
                    raise StoppedError
                file.write(data)
                advance(file.tell())


def _is_whole(path: Path, sha256: str) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _told(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the server answers {error.response.status_code}"
    return str(error) or type(error).__name__
