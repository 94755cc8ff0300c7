"""A receiver of webhooks, which can be down, slow, or hear of a redirect."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

from tests.support.serving import ThreadedServer
from tests.support.waiting import PATIENCE, eventually


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: str
    at: float
    answered: int

    @property
    def id(self) -> str:
        """The event's."""
        return self.headers["webhook-id"]

    @property
    def document(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def type(self) -> str:
        """Such as `task.succeeded`."""
        return str(self.document["type"])

    def verify(self, secret: str) -> Any:
        """Verifies it as Standard Webhooks' own library does; raises when it is not signed by this secret."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """Answers to any path; what it answers can be changed."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before an answer."""
    _received: list[Received] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def all(self, path: str = "") -> list[Received]:
        """Returns every request so far; of one path if it is named."""
        with self._lock:
            return [item for item in self._received if not path or item.path == path]

    def taken(self, path: str) -> list[Received]:
        """Returns the requests of a path that were answered with success, in their order."""
        return [item for item in self.all(path) if item.answered < 300]

    def wait_for(self, path: str, count: int = 1, *, within: float = PATIENCE) -> list[Received]:
        """Returns what was taken on a path, once it is so many."""

        def enough() -> list[Received]:
            found = self.taken(path)
            assert len(found) >= count, [(item.path, item.type, item.answered) for item in self.all(path)]
            return found

        return eventually(enough, within=within)

    async def hear(self, request: web.Request) -> web.Response:
        """Takes a request."""
        body = await request.text()
        status, headers = self.status, self.headers
        if self.delay:
            await asyncio.sleep(self.delay)
        heard = {name.lower(): value for name, value in request.headers.items()}
        with self._lock:
            self._received.append(Received(request.path, heard, body, time.monotonic(), status))
        return web.Response(status=status, headers=headers)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serves on 127.0.0.1."""
    made = Receiver()

    async def application() -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", made.hear)
        return app

    with ThreadedServer(application) as server:
        made.url = server.url
        yield made
