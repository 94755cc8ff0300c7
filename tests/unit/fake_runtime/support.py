"""What the fake runtime's tests share: servers on free ports, workflows, and a client that collects events."""

import asyncio
import base64
import io
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

from fake_runtime.app import GPU_KEY, create_app, listening_socket, start
from fake_runtime.faults import Fault
from fake_runtime.gpu.device import Gpu
from fake_runtime.settings import Settings

OTHER_CHECKPOINT = "sd_xl_base_1.0.safetensors"
DEADLINE_SECONDS = 60.0
type Json = Any


def settings(**values: Any) -> Settings:
    """Settings that take nothing from the environment; instant unless told otherwise."""
    return Settings.model_validate({"latency": 0.0, "seconds_per_task": None, "any_model": False, **values})


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits until a condition holds, and returns its value."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (value := condition()):  # noqa: ASYNC110 - what is waited for lies in other code
            await asyncio.sleep(0.005)
    return value


def named_id(name: str) -> str:
    """Returns an id as ComfyUI takes it, always the same one for a name."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def decode(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


def encode(image: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


class Server:
    """A fake runtime that serves on a free port of loopback, and a client for it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, gpu: Gpu, left: list[int]) -> None:
        self.session = session
        self.url = url
        self.gpu = gpu
        self.left = left

    async def send(self, method: str, path: str, **options: Any) -> tuple[int, Json]:
        """One request; the body as JSON if it is JSON, else as text."""
        async with self.session.request(method, self.url + path, **options) as response:
            text = await response.text(errors="replace")
            return response.status, json.loads(text) if response.content_type == "application/json" else text

    async def get(self, path: str, **options: Any) -> Json:
        status, body = await self.send("GET", path, **options)
        assert status == 200, body
        return body

    async def post(self, path: str, body: Json, **options: Any) -> Json:
        status, answer = await self.send("POST", path, json=body, **options)
        assert status in {200, 201}, answer
        return answer

    async def generate(self, kind: str = "txt2img", **request: Any) -> Json:
        return await self.post(f"/sdapi/v1/{kind}", {"prompt": "a dog", "steps": 4, **request})

    async def order(self, name: str, **options: Any) -> Json:
        return await self.post("/fake/faults", {"name": name, **options})

    async def jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = await self.get("/fake/jobs")
        return jobs

    async def running(self) -> None:
        """Waits until the GPU works."""
        await until(lambda: self.gpu.job is not None, "a running job")

    @asynccontextmanager
    async def events(self, client_id: str = "", path: str = "/ws") -> AsyncIterator["Events"]:
        async with self.session.ws_connect(f"{self.url}{path}?clientId={client_id}") as websocket:
            yield Events(websocket)

    async def queue(self, prompt: Json, **options: Any) -> str:
        """POST /prompt; returns the id."""
        answer = await self.post("/prompt", {"prompt": prompt, **options})
        return str(answer["prompt_id"])

    async def finished(self, prompt_id: str) -> dict[str, Any]:
        """Waits for a prompt's history."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (history := await self.get(f"/history/{prompt_id}")):  # noqa: ASYNC110 - as clients do
                await asyncio.sleep(0.01)
        entry: dict[str, Any] = history[prompt_id]
        return entry

    async def run(self, prompt: Json, **options: Any) -> dict[str, Any]:
        return await self.finished(await self.queue(prompt, **options))

    async def upload(self, data: bytes, name: str = "up.png", **fields: str) -> tuple[int, Json]:
        form = aiohttp.FormData()
        form.add_field("image", data, filename=name)
        for key, value in fields.items():
            form.add_field(key, value)
        return await self.send("POST", "/upload/image", data=form)


class Events:
    """The messages of one WebSocket."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self.websocket = websocket

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_SECONDS):
            message: dict[str, Any] = json.loads((await self.websocket.receive()).data)
        return message

    async def until(self, kind: str, **data: Any) -> list[dict[str, Any]]:
        """All messages up to one of this kind that has this data."""
        seen: list[dict[str, Any]] = []
        while True:
            seen.append(await self.next())
            last = seen[-1]
            if last["type"] == kind and all(last["data"].get(key, ...) == value for key, value in data.items()):
                return seen

    async def until_end(self, prompt_id: str) -> list[dict[str, Any]]:
        return await self.until("executing", node=None, prompt_id=prompt_id)


def kinds(events: list[dict[str, Any]], *but: str) -> list[str]:
    """The kinds of events in order; progress_state is noise unless asked for."""
    without = {"progress_state", *but}
    return [event["type"] for event in events if event["type"] not in without]


@asynccontextmanager
async def serving(
    directory: Path | None = None, faults: list[str] | None = None, **values: Any
) -> AsyncIterator[Server]:
    """Serves a fake runtime in this process."""
    left: list[int] = []
    ordered = [Fault.parse(text) for text in faults or []]
    app = create_app(settings(**values), ordered, directory=directory, leave=left.append)
    listener = listening_socket("127.0.0.1", 0)
    port = listener.getsockname()[1]
    runner = await start(app, listener)
    try:
        async with aiohttp.ClientSession() as session:
            yield Server(session, f"http://127.0.0.1:{port}", app[GPU_KEY], left)
    finally:
        await runner.cleanup()


def new_id() -> str:
    return uuid.uuid4().hex
