"""What SD Web UI says of its checkpoints changes under way: it loads the first one late, and hashes each when it does.

Seen in its source: modules/sd_models.py (`CheckpointInfo.calculate_shorthash`, `load_model_weights`) and
modules/initialize.py (`load_model`, in a thread of its own).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp import web

from agent.errors import PermanentError, TransientError
from agent.runtimes import Runtime
from contract.task import RuntimeType, TaskType
from tests.unit.agent.runtime_support import adapter_of, png, web_server, whole
from tests.unit.fake_runtime.support import until

IMAGE = base64.b64encode(png()).decode()

adapter = partial(adapter_of, RuntimeType.SDWEBUI)


class Unhashed:
    """A server whose cache of hashes is empty, with checkpoints `a` and `b`.

    Args:
        held: what it has loaded; None: nothing so far, and it will be `a`.
    """

    def __init__(self, held: str | None = None) -> None:
        self.hashed: set[str] = set()
        self.held: str | None = None
        self.images = [IMAGE]
        self.hold_back: asyncio.Event | None = None
        """What the answer's last byte waits for."""
        if held is not None:
            self.load(held)

    def load(self, name: str) -> None:
        self.hashed.add(name)
        self.held = name

    def title(self, name: str) -> str:
        return f"{name}.safetensors [0123456789]" if name in self.hashed else f"{name}.safetensors"

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.method, request.path:
            case "GET", "/sdapi/v1/sd-models":
                listed = [{"title": self.title(name), "model_name": name, "hash": None} for name in "ab"]
                return web.json_response(listed)
            case "GET", "/sdapi/v1/options":
                return web.json_response({"sd_model_checkpoint": self.held and self.title(self.held)})
            case "POST", "/sdapi/v1/options":
                self.load((await request.json())["sd_model_checkpoint"][0])
                return web.json_response(None)
            case "POST", "/sdapi/v1/txt2img":
                self.load(self.held or "a")
                info = json.dumps({"sd_model_name": self.held})
                body = json.dumps({"images": self.images, "parameters": {}, "info": info}).encode()
                return await self._send(request, body)
        return web.json_response({})

    async def _send(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        waits, self.hold_back = self.hold_back, None
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[:-1])
        if waits is not None:
            await waits.wait()
        await response.write(body[-1:])
        return response


@asynccontextmanager
async def driven(server: Unhashed, *, dynamic: bool) -> AsyncIterator[Runtime]:
    async with web_server(server.answer) as url, adapter(url, dynamic=dynamic) as runtime:
        yield runtime


async def run(runtime: Runtime, checkpoint: str) -> bytes:
    content = {"prompt": "a dog", "override_settings": {"sd_model_checkpoint": checkpoint}}
    prepared = await runtime.prepare(TaskType.TEXT_TO_IMAGE, content)
    return (await whole(await runtime.run(prepared, run_id="run", progress=lambda _: None))).raw


async def test_a_checkpoint_that_gets_its_hash_by_the_switch_to_it_is_the_one_that_was_asked_for() -> None:
    async with driven(Unhashed("a"), dynamic=True) as runtime:
        assert b"sd_model_name" in await run(runtime, "b.safetensors")


async def test_a_checkpoint_that_was_hashed_after_the_server_was_asked_for_its_list_is_known_still() -> None:
    server = Unhashed("a")
    async with driven(server, dynamic=False) as runtime:
        with pytest.raises(PermanentError, match="holds 'a"):
            await run(runtime, "b.safetensors")
        server.load("b")  # whoever looks after this server has switched it
        assert await run(runtime, "b.safetensors")


async def test_a_checkpoint_may_be_named_with_its_hash_once_the_server_has_computed_it() -> None:
    server = Unhashed("a")
    async with driven(server, dynamic=False) as runtime:
        assert await run(runtime, "a.safetensors")
        server.load("b")
        assert await run(runtime, server.title("b"))


async def test_a_static_server_that_has_loaded_nothing_yet_is_not_taken_for_one_that_holds_another_checkpoint() -> None:
    async with driven(Unhashed(), dynamic=False) as runtime:
        assert await run(runtime, "a.safetensors")


async def test_a_static_server_that_comes_to_load_another_checkpoint_is_found_out() -> None:
    async with driven(Unhashed(), dynamic=False) as runtime:
        with pytest.raises(TransientError, match="used 'a'"):
            await run(runtime, "b.safetensors")
        with pytest.raises(PermanentError, match="does not switch"):
            await run(runtime, "b.safetensors")


async def test_a_slow_answer_is_not_judged_by_the_checkpoint_that_the_next_run_has_switched_to() -> None:
    server = Unhashed("a")
    async with driven(server, dynamic=True) as runtime:
        server.hold_back = release = asyncio.Event()
        first = asyncio.create_task(run(runtime, "a.safetensors"))
        await until(lambda: server.hold_back is None, "the first run's answer on its way")
        assert await run(runtime, "b.safetensors")
        release.set()
        assert await first


async def test_an_image_with_letters_beyond_ascii_is_a_garbled_answer() -> None:
    server = Unhashed("a")
    server.images = ["größer"]
    async with driven(server, dynamic=False) as runtime:
        with pytest.raises(TransientError, match="no base64"):
            await run(runtime, "a.safetensors")
