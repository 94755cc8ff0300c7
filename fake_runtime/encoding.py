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


def json_response(body: object, status: int = 200) -> web.Response:
    """A JSON answer as FastAPI makes it: aiohttp's own would name the character set."""
    return web.Response(body=dumps(body), status=status, content_type="application/json")
