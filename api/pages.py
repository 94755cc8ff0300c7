"""The files of the web page, read once and served from memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.errors import ApiError

FOLDER: Final = Path(__file__).with_name("static")

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    media_type: str
    etag: str


class Pages:
    """The web page's files.

    Args:
        image_sources: origins beside our own from which the page shows images: S3's or the CDN's.
    """

    def __init__(self, image_sources: list[str]) -> None:
        self._files = {
            path.name: _read(path) for path in sorted(FOLDER.iterdir()) if path.is_file() and path.suffix in _TYPES
        }
        self._policy = "; ".join(
            (
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "connect-src 'self'",
                " ".join(("img-src 'self' data:", *image_sources)),
                " ".join(("media-src 'self'", *image_sources)),
                "form-action 'none'",
                "base-uri 'none'",
                "frame-ancestors 'none'",
            )
        )

    def answer(self, name: str, request: Request) -> Response:
        """Returns one file, or 304 when the client has it.

        Raises:
            ApiError: 404.
        """
        file = self._files.get(name)
        if file is None:
            raise ApiError(404, "unknown_route", "there is no such file")
        headers = {"etag": file.etag, "cache-control": "no-cache", "content-security-policy": self._policy}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers={**headers, "content-type": file.media_type})


def _read(path: Path) -> _File:
    body = path.read_bytes()
    return _File(body, _TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:16]}"')
