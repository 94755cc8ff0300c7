"""JSON answers: fast where possible, complete where not."""

import json

import orjson
from aiohttp import web


def dumps(body: object) -> bytes:
    """Encodes as JSON; integers beyond 64 bits and lone surrogates, which orjson refuses, included."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body).encode()


def json_response(body: object, status: int = 200, charset: str | None = None) -> web.Response:
    """A JSON answer. aiohttp's own names the character set, FastAPI's does not."""
    return web.Response(body=dumps(body), status=status, content_type="application/json", charset=charset)
