"""Hostile bodies: small ones that become large, long ones, broken ones, and eight of the largest at once."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.attack.heads import Attempt
from tests.attack.wire import Place, post

MIB = 1024 * 1024
LIMIT = 20 * MIB

_REFUSED = frozenset({400, 413})
_TAKEN = frozenset({200, 202})


def bodies(place: Place, key: str, runtime: str) -> Iterator[Attempt]:
    """Yields single bodies, to be sent one after the other.

    Args:
        place: of the API.
        key: an API key.
        runtime: the name of one that nothing takes tasks from.
    """
    v1 = (
        '{"task":{"metadata":{"runtime":"%s","tasktype":"text-to-image","prefix":"p","context":%s},"content":{"a":%s}}}'
    )

    def task(*, context: bytes = b"1", content: bytes = b"1") -> bytes:
        return (v1 % (runtime, "\0", "\1")).encode().replace(b"\0", context).replace(b"\1", content)

    def one(what: str, body: bytes, right: frozenset[int], path: str = "/v1/tasks") -> Attempt:
        return Attempt("bodies", what, tuple(post(path, place, body, x_api_key=key)), right)

    for piece in (b"[],", b'{"a":1},', b'"",', b"1,", b"[[]],", b'{"":[]},', b"1.5e9,"):
        for size in (10 * MIB, LIMIT - 1000):
            bomb = b"[" + piece * (size // len(piece)) + b"1]"
            yield one("short values without end, as content", task(content=bomb), _REFUSED)
            yield one("short values without end, as context", task(context=bomb), _REFUSED)
    bomb = b"[" + b"[]," * (6 * MIB) + b"1]"
    for path, around in (
        ("/v1alpha1", b'{"alwayson_scripts":{"task":"text-to-image"},"x":%s}'),
        ("/task", b'{"api":"/sdapi/v1/txt2img","payload":{"x":%s}}'),
        ("/v1alpha2", b'{"task":%s}'),
        ("/v1alpha2", b"%s"),
    ):
        yield one("short values without end, in each dialect", around % bomb, _REFUSED, path)
    for keys in (b'"%s":1' % (b"runtim" * (3 * MIB)), b",".join(b'"runtime%d":1' % n for n in range(190_000))):
        known = b'{"id":"x","runtime":"%s","tasktype":"text-to-image","prefix":"p"' % runtime.encode()
        unknown = b'{"task":{"metadata":%s,%s},"content":{}}}' % (known, keys)
        yield one("keys that nobody knows", unknown, _REFUSED)
        yield one("keys that nobody knows, where they are ignored", unknown, _TAKEN, "/v1alpha2")
    for field in ("id", "runtime", "tasktype", "prefix"):
        long = {"id": "x", "runtime": runtime, "tasktype": "text-to-image", "prefix": "p", field: "\u00e9/" * (6 * MIB)}
        body = json.dumps({"task": {"metadata": long, "content": {}}}, ensure_ascii=False).encode()
        yield one("texts of 18 MiB where names belong", body, _REFUSED)
    long_numbers = b"[" + (b"1" * 308 + b",") * 65_000 + b'"' + b"a" * 1000 + b'"]'
    yield one("20 MiB of whole numbers of 308 digits", task(content=long_numbers), _TAKEN)
    names = b"{" + b",".join(b'"%d":1.5' % number for number in range(195_000)) + b"}"
    yield one("as many names as are allowed", task(content=names), _TAKEN)
    yield one("as many lists as are allowed", task(content=b"[" + b"[]," * 99_000 + b"1]"), _TAKEN)
    yield one("a context of as many lists as fit", task(context=b"[" + b"[]," * 21_000 + b"1]"), _TAKEN)
    yield one("a context that is too long", task(context=b'"' + b"a" * 70_000 + b'"'), _REFUSED)
    yield one("a whole number of 4 MiB", task(context=b"1" * (4 * MIB)), _REFUSED)
    yield one("whole numbers beyond 64 bits", task(context=b"[" + b"12345678901234567890123," * 2000 + b"1]"), _TAKEN)
    for depth in (101, 5_000, 5 * MIB):
        yield one("nesting without end", task(content=b"[" * depth + b"]" * depth), _REFUSED)
        yield one("nesting that is not closed", task(content=b"[" * depth), _REFUSED)
    yield one("a text of 20 MiB", task(content=b'"' + b"QUJD" * (5 * MIB - 500) + b'"'), _TAKEN)
    yield one(
        "a text of 20 MiB, of four bytes a character",
        task(content='"🐶'.encode() + b"a" * (LIMIT - 2000) + b'"'),
        _TAKEN,
    )
    twice = post(
        "/v1/tasks", place, task(content=b'"' + b"a" * (LIMIT - 2000) + b'"'), x_api_key=key, Idempotency_Key="k"
    )
    for _ in range(2):
        yield Attempt("bodies", "a text of 20 MiB, once by its Idempotency-Key", tuple(twice), _TAKEN)
    yield one("a text of 20 MiB of escapes", task(content=b'"' + b'\\"' * (10 * MIB - 500) + b'"'), _TAKEN)
    yield one("a text of 20 MiB of escaped characters", task(content=b'"' + rb"\u00e9" * (3 * MIB) + b'"'), _TAKEN)
    yield one("a text of 20 MiB of brackets", task(content=b'"' + b"[],{}" * (4 * MIB - 500) + b'"'), _TAKEN)
    for broken in (
        b"",
        b"{",
        b'"',
        b"\\" * MIB,
        b"]" * MIB,
        b'"' * MIB,
        b"NaN",
        b"1e999",
        b'"\\ud800"',
        b"\xff",
        b"\0" * MIB,
    ):
        yield one("what is no JSON", broken, _REFUSED)
    yield one("more than is allowed", task(content=b'"' + b"a" * (LIMIT + MIB) + b'"'), _REFUSED)
    packed = post("/v1/tasks", place, b"\x1f\x8b" + b"\0" * MIB, x_api_key=key, Content_Encoding="gzip")
    yield Attempt("bodies", "a packed body", tuple(packed), frozenset({415}))


def crowd(place: Place, key: str, runtime: str) -> Iterator[Attempt]:
    """Yields bodies of the largest size, to be sent at once."""
    metadata = f'"metadata":{{"runtime":"{runtime}","tasktype":"text-to-image","prefix":"p"}}'
    for number in range(8):
        letter = "🐶" if number % 2 else "a"
        text = letter + "a" * (LIMIT - 2000)
        body = f'{{"task":{{{metadata},"content":{{"a":"{text}"}}}}}}'.encode()
        right = frozenset({202, 503})
        yield Attempt(
            "crowd", "eight bodies of 20 MiB at once", tuple(post("/v1/tasks", place, body, x_api_key=key)), right
        )
