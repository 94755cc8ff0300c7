"""Lets a client that asks too often wait for its turn, where Comfy's SDK would give up at once.

`wait`, `result` and `run` of `comfy-sdk` 0.5.0 raise at the first 429, whatever it says of when to come again
(findings/comfy-sdk-gives-up-waiting-at-429.sh). The rate stays what it is: each request that waits takes its own token
in the end. Those that wait count as event streams, of which a key gets its share.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.comfy_v2.paths import is_ours
from api.events import Streams
from api.middleware import request_state

MOST_SECONDS: Final = 10.0
"""That a request waits in all: less than the SDK's own 30."""

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
"""Each pause is twice as long as the one before: of many that wait, all wake for one token otherwise."""


class Patience:
    """On v2's paths, what only reads is asked again when the throttle has room for it, instead of refused.

    Args:
        app: with the throttle.
        streams: count those that wait.
    """

    def __init__(self, app: ASGIApp, streams: Streams) -> None:
        self._app = app
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"} or not is_ours(scope["path"]):
            await self._app(scope, receive, send)
            return
        left, least = MOST_SECONDS, _FIRST_PAUSE
        while True:
            held = _Held(send)
            await self._app(scope, receive, held.send)
            caller, wait = request_state(scope).caller.name, held.wait
            if wait is None:
                return
            pause, least = max(wait, least), min(_LONGEST_PAUSE, 2 * least)
            if pause > left or not self._streams.has_room(caller):
                await held.release()
                return
            with self._streams.one(caller):
                await asyncio.sleep(pause)
            left -= pause


class _Held:
    """Holds an answer back if it is the throttle's."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages: list[Message] = []

    async def send(self, message: Message) -> None:
        """Sends a message on, unless it is of a 429."""
        if self._messages or (message["type"] == "http.response.start" and message["status"] == 429):
            self._messages.append(message)
            if not message.get("more_body", False) and len(self._messages) > 1 and self.wait is None:
                await self.release()
            return
        await self._send(message)

    @property
    def wait(self) -> float | None:
        """Seconds until the throttle has room; None: it has not refused the request."""
        if len(self._messages) < 2:
            return None
        error: Any = orjson.loads(self._messages[1]["body"]).get("error", {})
        return float(error["details"]["retry_after_seconds"]) if error.get("code") == "throttled" else None

    async def release(self) -> None:
        """Sends what was held back."""
        messages, self._messages = self._messages, []
        for message in messages:
            await self._send(message)
