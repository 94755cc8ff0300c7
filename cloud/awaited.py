"""boto3's clients in the shape that `contract` awaits: each call blocks, which is fine where nothing else runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Self


def awaited(client: Any) -> Any:
    """Returns a client whose calls can be awaited; bodies that it answers with can be read so, too."""
    return _Awaited(client)


class _Awaited:
    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self._client, name)

        async def call(**arguments: Any) -> Any:
            answer = method(**arguments)
            return {**answer, "Body": _Body(answer["Body"])} if "Body" in answer else answer

        return call


class _Body:
    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._body.close()

    async def read(self) -> bytes:
        return bytes(self._body.read())
