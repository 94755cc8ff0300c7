"""The SD Web UI adapter against the fake runtime."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes import Answer, Runtime
from agent.runtimes.sdwebui import adapter as module
from contract.task import RuntimeType, TaskType
from tests.support.workflows import CHECKPOINT
from tests.unit.agent.fake_process import fake_process
from tests.unit.agent.runtime_support import Links, adapter_of, cancel, drop_posts, png, web_server, whole
from tests.unit.fake_runtime.support import OTHER_CHECKPOINT, Server, serving

SMALL = {"prompt": "a dog", "width": 64, "height": 64, "steps": 4}
IMAGE = base64.b64encode(png(16, 16)).decode()


adapter = partial(adapter_of, RuntimeType.SDWEBUI)


@pytest.fixture
async def webui() -> AsyncIterator[Server]:
    async with serving(type="sdwebui") as server:
        yield server


@pytest.fixture
async def runtime(webui: Server) -> AsyncIterator[Runtime]:
    async with adapter(webui.url) as runtime:
        yield runtime


@pytest.fixture
async def dynamic(webui: Server) -> AsyncIterator[Runtime]:
    async with adapter(webui.url, dynamic=True) as runtime:
        yield runtime


async def run(
    runtime: Runtime, content: dict[str, Any], task_type: TaskType = TaskType.TEXT_TO_IMAGE, seen: Any = None
) -> Answer:
    prepared = await runtime.prepare(task_type, content)
    seen = [] if seen is None else seen
    return await whole(await runtime.run(prepared, run_id="run-1", progress=seen.append))


async def test_text_becomes_an_image(runtime: Runtime) -> None:
    answer = await run(runtime, SMALL)
    (output,) = answer.outputs
    assert output.data.startswith(b"\x89PNG")
    assert json.loads(answer.raw)["parameters"]["prompt"] == "a dog"


async def test_a_batch_gives_its_images_in_order(runtime: Runtime) -> None:
    answer = await run(runtime, {**SMALL, "batch_size": 2, "n_iter": 2})
    encoded = json.loads(answer.raw)["images"]
    assert len(encoded) >= 4
    assert [output.data for output in answer.outputs] == [base64.b64decode(text) for text in encoded]


async def test_send_images_false_would_lose_the_images_so_it_is_not_passed_on(runtime: Runtime) -> None:
    assert len((await run(runtime, {**SMALL, "send_images": False})).outputs) == 1


@pytest.mark.parametrize(
    ("task_type", "content"),
    [
        (TaskType.IMAGE_TO_IMAGE, {**SMALL, "init_images": [IMAGE]}),
        (TaskType.IMAGE_TO_IMAGE, {**SMALL, "init_images": ["https://host.example/cat.png"]}),
        (TaskType.IMAGE_TO_IMAGE, {**SMALL, "alwayson_scripts": {"image_link": "s3://bucket/cat.png"}}),
        (TaskType.EXTRA_SINGLE_IMAGE, {"image": "https://host.example/cat.png", "upscaling_resize": 2}),
        (TaskType.EXTRA_BATCH_IMAGES, {"imageList": [{"data": "https://host.example/cat.png", "name": "cat"}]}),
    ],
)
async def test_every_kind_of_task_runs_with_its_images(webui: Server, task_type: TaskType, content: Any) -> None:
    async with adapter(webui.url, Links(cat=png(16, 16))) as runtime:
        assert len((await run(runtime, content, task_type)).outputs) == 1


async def test_the_requests_of_v1alpha1_run_as_they_come(runtime: Runtime) -> None:
    scripts = {"task": "text-to-image", "sd_model_checkpoint": CHECKPOINT, "id_task": "t", "save_dir": "outputs"}
    assert len((await run(runtime, {**SMALL, "alwayson_scripts": scripts})).outputs) == 1


@pytest.mark.parametrize("place", ["alwayson_scripts", "override_settings"])
async def test_a_dynamic_runtime_switches_to_the_checkpoint_that_is_named(
    webui: Server, dynamic: Runtime, place: str
) -> None:
    answer = await run(dynamic, {**SMALL, place: {"sd_model_checkpoint": OTHER_CHECKPOINT}})
    assert json.loads(json.loads(answer.raw)["info"])["sd_model_name"] == OTHER_CHECKPOINT.removesuffix(".safetensors")
    assert (await webui.get("/sdapi/v1/options"))["sd_model_checkpoint"].startswith(OTHER_CHECKPOINT)


async def test_the_checkpoint_stays_until_another_is_named(webui: Server, dynamic: Runtime) -> None:
    for name in (OTHER_CHECKPOINT, OTHER_CHECKPOINT, CHECKPOINT):
        await run(dynamic, {**SMALL, "alwayson_scripts": {"sd_model_checkpoint": name}})
    assert webui.gpu.model_loads[OTHER_CHECKPOINT] == 1


@pytest.mark.parametrize("place", ["alwayson_scripts", "override_settings"])
async def test_an_unknown_checkpoint_is_an_error_that_lists_the_known_ones(dynamic: Runtime, place: str) -> None:
    with pytest.raises(PermanentError) as failure:
        await run(dynamic, {**SMALL, place: {"sd_model_checkpoint": "nope.safetensors"}})
    assert failure.value.code == "unknown_checkpoint"
    assert "'nope.safetensors'" in failure.value.message
    assert CHECKPOINT in failure.value.message


async def test_a_static_runtime_runs_its_own_checkpoint_and_refuses_others(runtime: Runtime) -> None:
    assert (await run(runtime, {**SMALL, "override_settings": {"sd_model_checkpoint": CHECKPOINT}})).outputs
    with pytest.raises(PermanentError) as failure:
        await run(runtime, {**SMALL, "override_settings": {"sd_model_checkpoint": OTHER_CHECKPOINT}})
    assert failure.value.code == "wrong_checkpoint"
    assert OTHER_CHECKPOINT in failure.value.message
    assert CHECKPOINT in failure.value.message


async def test_a_checkpoint_that_somebody_else_changed_is_noticed(webui: Server, dynamic: Runtime) -> None:
    content = {**SMALL, "alwayson_scripts": {"sd_model_checkpoint": CHECKPOINT}}
    await run(dynamic, content)
    await webui.post("/sdapi/v1/options", {"sd_model_checkpoint": OTHER_CHECKPOINT})
    with pytest.raises(TransientError, match="used"):
        await run(dynamic, content)
    assert (await run(dynamic, content)).outputs, "the next attempt looks again"


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        ({"script_name": "nope"}, PermanentError, "rejected_by_runtime"),
        ({"steps": "many"}, PermanentError, "rejected_by_runtime"),
        ({"alwayson_scripts": {"nope": {"args": []}}}, PermanentError, "rejected_by_runtime"),
        ({"width": 16384, "height": 16384, "batch_size": 4}, TransientError, "out_of_memory"),
    ],
)
async def test_the_servers_refusals_are_told_apart(
    runtime: Runtime, content: dict[str, Any], kind: type[TaskError], code: str
) -> None:
    with pytest.raises(kind) as failure:
        await run(runtime, {**SMALL, **content})
    assert failure.value.code == code


@pytest.mark.parametrize("images", [[], None, ["@@@"]])
async def test_bad_initial_images_are_the_senders_mistake(runtime: Runtime, images: Any) -> None:
    with pytest.raises(PermanentError):
        await run(runtime, {**SMALL, "init_images": images}, TaskType.IMAGE_TO_IMAGE)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("error", {}),
        ("error", {"body": "text"}),
        ("error", {"status": 503}),
        ("out-of-memory", {}),
        ("garbage", {}),
        ("zero-images", {}),
    ],
)
async def test_faults_of_the_server_are_worth_another_try(
    webui: Server, runtime: Runtime, name: str, options: dict[str, Any]
) -> None:
    await webui.order(name, **options)
    with pytest.raises(TransientError):
        await run(runtime, SMALL)
    assert (await run(runtime, SMALL)).outputs


async def test_progress_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_INTERVAL", 0.05)
    seen: list[float] = []
    async with serving(seconds_per_task=0.6) as webui, adapter(webui.url) as runtime:
        await run(runtime, {**SMALL, "steps": 20}, seen=seen)
    assert len(seen) > 2
    assert seen == sorted(set(seen))
    assert 0 < seen[0] <= seen[-1] <= 1


async def test_a_cancelled_run_is_interrupted_and_the_next_one_meets_nobody() -> None:
    async with serving(seconds_per_task=30) as webui, adapter(webui.url) as runtime:
        running = asyncio.create_task(run(runtime, {**SMALL, "steps": 200}))
        await webui.running()
        await cancel(running)
        assert webui.gpu.job is None
        assert [job["outcome"] for job in await webui.jobs()] == ["interrupted"]


async def test_an_ignored_interrupt_delays_the_cancellation_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERRUPT_GRACE", 0.3)
    async with serving(seconds_per_task=3, faults=["interrupt-ignored"]) as webui, adapter(webui.url) as runtime:
        running = asyncio.create_task(run(runtime, SMALL))
        await webui.running()
        await cancel(running)
        assert webui.gpu.job is not None


async def test_a_runtime_that_is_not_there_is_unavailable_and_waited_for() -> None:
    with fake_process("--type", "sdwebui", "--latency", "0") as process:
        async with adapter(process.url) as runtime:
            assert not await runtime.is_alive()
            with pytest.raises(RuntimeUnavailableError):
                await run(runtime, SMALL)
            waiting = asyncio.create_task(runtime.wait_until_ready())
            process.start()
            async with asyncio.timeout(20):
                await waiting
            assert await runtime.is_alive()
            assert (await run(runtime, SMALL)).outputs


async def test_a_runtime_that_dies_in_the_middle_takes_the_blame() -> None:
    with fake_process("--type", "sdwebui", "--latency", "0", "--fault", "exit-in-the-middle") as process:
        process.start()
        async with adapter(process.url) as runtime:
            async with asyncio.timeout(20):
                await runtime.wait_until_ready()
            with pytest.raises(RuntimeUnavailableError) as failure:
                await run(runtime, SMALL)
    assert failure.value.code in {"runtime_lost", "runtime_unreachable"}


async def test_nothing_is_asked_for_compressed_since_that_holds_up_the_server() -> None:
    asked: dict[str, str] = {}

    async def note(request: web.BaseRequest) -> web.StreamResponse:
        asked[request.path] = request.headers.get("Accept-Encoding", "")
        return web.json_response({"images": [base64.b64encode(png()).decode()], "info": "{}"})

    async with web_server(note) as origin, adapter(origin) as runtime:
        assert (await run(runtime, SMALL)).outputs
        await runtime.wait_until_ready()
    assert asked == {"/sdapi/v1/txt2img": "identity", "/sdapi/v1/options": "identity"}


async def test_a_connection_that_drops_while_the_server_stays_is_blamed_on_the_task() -> None:
    async with web_server(drop_posts) as origin, adapter(origin) as runtime:
        with pytest.raises(TransientError) as failure:
            await run(runtime, SMALL)
    assert failure.value.code == "connection_lost"


async def test_a_wrong_password_is_nobodys_task_and_the_right_one_goes_in_the_url() -> None:
    async with serving(api_auth="me:secret") as webui:
        async with adapter(webui.url) as runtime:
            assert not await runtime.is_alive()
            with pytest.raises(RuntimeUnavailableError) as failure:
                await run(runtime, SMALL)
            assert failure.value.code == "runtime_unauthorized"
        async with adapter(webui.url.replace("//", "//me:secret@")) as runtime:
            assert await runtime.is_alive()
            assert (await run(runtime, SMALL)).outputs


async def test_waiting_can_be_cancelled() -> None:
    async with adapter("http://127.0.0.1:1") as runtime:
        waiting = asyncio.create_task(runtime.wait_until_ready())
        await asyncio.sleep(0.05)
        await cancel(waiting)


async def test_while_a_large_answer_arrives_the_next_run_may_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE_ANSWER", 100)
    async with serving() as webui, adapter(webui.url) as runtime:
        prepared = await runtime.prepare(TaskType.TEXT_TO_IMAGE, {**SMALL, "seed": 1})
        first = await runtime.run(prepared, run_id="first", progress=lambda _: None)
        assert not isinstance(first, Answer)
        assert not runtime.left_running

        second = await runtime.run(prepared, run_id="second", progress=lambda _: None)

        assert (await whole(second)).outputs == (await first.read()).outputs


async def test_an_answer_that_tells_its_checkpoint_is_read_before_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE_ANSWER", 100)
    content = {**SMALL, "override_settings": {"sd_model_checkpoint": CHECKPOINT}}
    async with serving() as webui, adapter(webui.url) as runtime:
        prepared = await runtime.prepare(TaskType.TEXT_TO_IMAGE, content)
        assert isinstance(await runtime.run(prepared, run_id="run", progress=lambda _: None), Answer)


async def test_a_large_answer_that_breaks_off_may_be_tried_again() -> None:
    async def break_off(request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/sdapi/v1/txt2img":
            return web.json_response({})
        response = web.StreamResponse(headers={"Content-Length": str(2 * module.LARGE_ANSWER)})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.close()
        return response

    async with web_server(break_off) as url, adapter(url) as runtime:
        prepared = await runtime.prepare(TaskType.TEXT_TO_IMAGE, SMALL)
        arriving = await runtime.run(prepared, run_id="run", progress=lambda _: None)
        with pytest.raises(TransientError, match="closed the connection"):
            await whole(arriving)
