"""The files of the web page, read once and served from memory, packed for whoever takes that."""

from __future__ import annotations

import gzip
import hashlib
import html
from collections.abc import Mapping
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

_SINK: Final = "CALLBACK_SINK"
"""What stands in the page for the address of the callback sink."""
_SCRIPTS: Final = "SCRIPTS"
"""What stands in the console's page for its scripts."""
BUNDLE: Final = "console.js"
"""All modules of the console in one file; `tests.support.bundled` makes it."""
_MAIN: Final = "console/main.js"
_PARTS: Final = ("console", "vendor")


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes
    media_type: str
    etag: str


class Pages:
    """The web page's files.

    Args:
        image_sources: origins beside our own from which the page shows results: S3's or the CDN's.
        upload_sources: origins to which the page sends the parts of large files: S3's.
        sink: the address of the callback sink as a browser reaches it, or a path of this server; empty: there is none.
    """

    def __init__(self, image_sources: list[str], upload_sources: list[str], sink: str = "") -> None:
        self._files = {
            path.relative_to(FOLDER).as_posix(): _read(path, sink)
            for path in sorted(FOLDER.rglob("*"))
            if path.is_file() and path.suffix in _TYPES
        }
        sources = " ".join(image_sources)
        self._policy = "; ".join(
            (
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                " ".join(("connect-src 'self'", *upload_sources, *([sink] if "://" in sink else []))),
                f"img-src 'self' data: blob: {sources}",
                f"media-src 'self' {sources}",
                # Results that are text: shown as they are, in a frame that may do nothing.
                f"frame-src {sources}",
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
        headers = {
            "etag": file.etag,
            "cache-control": "no-cache",
            "vary": "accept-encoding",
            "content-security-policy": self._policy,
        }
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        headers["content-type"] = file.media_type
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.packed, headers={**headers, "content-encoding": "gzip"})
        return Response(file.body, headers=headers)


def modules() -> dict[str, bytes]:
    """Returns the console's modules, by their names in the folder."""
    paths = sorted(path for part in _PARTS for path in FOLDER.glob(f"{part}/*.js"))
    return {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in paths}


def sources_digest(found: Mapping[str, bytes]) -> str:
    """Returns the digest of modules, which stands in the first line of what was made of them."""
    digest = hashlib.sha256()
    for name, body in found.items():
        digest.update(f"{name} {len(body)}\n".encode() + body)
    return digest.hexdigest()


def bundled_from(bundle: bytes) -> str:
    """Returns the digest of the modules of which a bundle was made."""
    return bundle.partition(b"\n")[0].removeprefix(b"//").decode(errors="replace")


def scripts(found: Mapping[str, bytes], bundle: bytes | None) -> str:
    """Returns the elements that load the console: one file, or all modules where it was made of others.

    Named in the page, these are loaded at once, not one after the other.
    """
    if bundle is not None and bundled_from(bundle) == sources_digest(found):
        return f'<script type="module" src="static/{BUNDLE}"></script>'
    links = [f'<link rel="modulepreload" href="static/{name}">' for name in found]
    return "\n".join([*links, f'<script type="module" src="static/{_MAIN}"></script>'])


def _read(path: Path, sink: str) -> _File:
    body = path.read_bytes()
    if path.suffix == ".html":
        bundle = FOLDER / BUNDLE
        loading = scripts(modules(), bundle.read_bytes() if bundle.is_file() else None)
        body = body.replace(_SINK.encode(), html.escape(sink).encode()).replace(_SCRIPTS.encode(), loading.encode())
    packed = gzip.compress(body, mtime=0)
    return _File(body, packed, _TYPES[path.suffix], f'W/"{hashlib.sha256(body).hexdigest()[:16]}"')
