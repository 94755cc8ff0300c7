"""ComfyUI's WebSocket: who gets which event, in which order, and in which bytes."""

import asyncio
import json
import struct
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

SEND_TIMEOUT_SECONDS = 30.0
PREVIEW_IMAGE = 1
PREVIEW_IMAGE_WITH_METADATA = 4
_JPEG = 1
_PNG = 2


def preview_frame(jpeg: bytes) -> bytes:
    """A binary frame of kind 1: big-endian kind, image type, image."""
    return struct.pack(">II", PREVIEW_IMAGE, _JPEG) + jpeg


def picture_frame(png: bytes) -> bytes:
    """A binary frame of kind 1 with a finished picture."""
    return struct.pack(">II", PREVIEW_IMAGE, _PNG) + png


def preview_frame_with_metadata(jpeg: bytes, metadata: dict[str, Any]) -> bytes:
    """A binary frame of kind 4: big-endian kind, length of the JSON, JSON, image."""
    text = json.dumps({**metadata, "image_type": "image/jpeg"}).encode()
    return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(text)) + text + jpeg


class _Socket:
    def __init__(self, websocket: web.WebSocketResponse, request: web.Request) -> None:
        self.websocket = websocket
        self.request = request
        self.features: dict[str, Any] = {}

    def cut(self) -> None:
        """Ends the connection without a closing frame: clients see code 1006."""
        if self.request.transport is not None:
            self.request.transport.abort()


class Sockets:
    """The open sockets, and the one queue through which all events pass, so that their order is one."""

    def __init__(self, queue_status: Callable[[], dict[str, Any]], features: dict[str, Any]) -> None:
        self._features = features
        self._queue_status = queue_status
        self._sockets: dict[str, _Socket] = {}
        self._outgoing: asyncio.Queue[tuple[str | bytes, str | None]] = asyncio.Queue()
        # Whose prompt runs, and at which node: told to a client that comes back.
        self.client_id: str | None = None
        self.last_node_id: str | None = None

    def send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        """Queues an event for one client, or for all if the id is None."""
        self._outgoing.put_nowait((json.dumps({"type": event, "data": data}), client_id))

    def send_status(self) -> None:
        """Queues the count of prompts for everybody."""
        self.send("status", {"status": self._queue_status()}, None)

    def send_preview(self, jpeg: bytes, metadata: dict[str, Any]) -> None:
        """Queues a preview image for the client whose prompt runs, in the form that it understands."""
        socket = self._sockets.get(self.client_id or "")
        if socket is None:
            return
        if socket.features.get("supports_preview_metadata"):
            self._outgoing.put_nowait((preview_frame_with_metadata(jpeg, metadata), self.client_id))
        else:
            self._outgoing.put_nowait((preview_frame(jpeg), self.client_id))

    def send_picture(self, png: bytes) -> None:
        """Queues a finished picture for the client whose prompt runs; the others of its socket are previews."""
        if self.client_id is not None:
            self._outgoing.put_nowait((picture_frame(png), self.client_id))

    async def publish(self) -> None:
        """Sends what is queued, for ever."""
        while True:
            message, client_id = await self._outgoing.get()
            try:
                if client_id is None:
                    for socket in list(self._sockets.values()):
                        await self._deliver(socket, message)
                elif client_id in self._sockets:
                    await self._deliver(self._sockets[client_id], message)
            finally:
                self._outgoing.task_done()

    async def drained(self) -> None:
        """Waits until every event queued so far has been sent."""
        await self._outgoing.join()

    @staticmethod
    async def _deliver(socket: _Socket, message: str | bytes) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                if isinstance(message, str):
                    await socket.websocket.send_str(message)
                else:
                    await socket.websocket.send_bytes(message)
        except (ConnectionError, RuntimeError):
            return
        except TimeoutError:
            socket.cut()

    def cut(self) -> None:
        """Cuts every connection."""
        for socket in list(self._sockets.values()):
            socket.cut()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Handles one connection. A second one with the same id takes over; the first falls silent but stays open."""
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        sid = request.query.get("clientId", "") or uuid.uuid4().hex
        socket = self._sockets[sid] = _Socket(websocket, request)
        hello: list[tuple[str, dict[str, Any]]] = [("status", {"status": self._queue_status(), "sid": sid})]
        if self.client_id == sid and self.last_node_id is not None:
            hello.append(("executing", {"node": self.last_node_id}))
        try:
            for event, data in hello:
                await websocket.send_str(json.dumps({"type": event, "data": data}))
            await self._listen(socket)
        except ConnectionError:
            pass
        finally:
            # By id, not by socket, as in the original: when the silent one closes, its successor goes deaf too.
            self._sockets.pop(sid, None)
        return websocket

    async def _listen(self, socket: _Socket) -> None:
        first = True
        async for message in socket.websocket:
            if message.type != WSMsgType.TEXT:
                continue
            try:
                data = json.loads(message.data)
            except json.JSONDecodeError:
                continue
            if first and isinstance(data, dict) and data.get("type") == "feature_flags":
                flags = data.get("data", {})
                socket.features = flags if isinstance(flags, dict) else {}
                await socket.websocket.send_str(json.dumps({"type": "feature_flags", "data": self._features}))
            first = False
