"""The adapter for servers of OpenAI's image API, against the fake one and small stand-ins."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes import Answer, Runtime
from agent.runtimes.openai import adapter as module
from agent.runtimes.openai.failures import failure_of
from agent.runtimes.openai.request import Request, form_of, request_for
from contract.openai import EDITS, GENERATIONS, VIDEOS
from contract.task import RuntimeType, TaskType
from tests.support.waiting import eventually_async
from tests.unit.agent.runtime_support import Links, adapter_of, cancel, png, web_server, whole
from tests.unit.fake_runtime.support import Server, serving

CONTENT = {"prompt": "a dog", "width": 64, "height": 48, "steps": 2, "seed": 7}
PICTURE = base64.b64encode(png()).decode()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.02)


@asynccontextmanager
async def driving(inputs: Links | None = None, **settings: Any) -> AsyncIterator[tuple[Server, Runtime]]:
    async with serving(type="openai", **settings) as fake, adapter_of(RuntimeType.OPENAI, fake.url, inputs) as runtime:
        await runtime.wait_until_ready()
        yield fake, runtime


async def run(
    runtime: Runtime, content: dict[str, Any], kind: TaskType = TaskType.TEXT_TO_IMAGE, progress: Any = None
) -> Answer:
    prepared = await runtime.prepare(kind, content)
    return await whole(await runtime.run(prepared, run_id="r-1", progress=progress or (lambda _: None)))


def pipeline(path: str, **body: Any) -> dict[str, Any]:
    return {"path": path, "body": {"prompt": "a dog", "size": "64x64", "num_inference_steps": 2, **body}}


async def test_the_same_content_as_for_sd_web_ui_makes_pictures() -> None:
    async with driving() as (_, runtime):
        answer = await run(runtime, {**CONTENT, "batch_size": 2, "n_iter": 2})
        assert len(answer.outputs) == 4
        assert all(output.data.startswith(b"\x89PNG") for output in answer.outputs)
        assert json.loads(answer.raw)["size"] == "64x48"
        again = await run(runtime, CONTENT)
        assert again.outputs[0].data == answer.outputs[0].data
        assert await runtime.resident_bytes() is None
        assert not await runtime.restart()


@pytest.mark.parametrize("flavour", ["sglang", "sd-server"])
async def test_servers_that_answer_with_links_or_lack_health_are_driven_too(flavour: str) -> None:
    async with driving(flavour=flavour) as (_, runtime):
        assert await runtime.is_alive()
        assert (await run(runtime, CONTENT)).outputs[0].data.startswith(b"\x89PNG")


async def test_a_picture_is_edited_from_links_and_base64() -> None:
    inputs = Links(a=png(4, 4))
    async with driving(inputs) as (fake, runtime):
        content = {**CONTENT, "init_images": ["https://example.test/a.png", PICTURE], "mask": PICTURE}
        answer = await run(runtime, content, TaskType.IMAGE_TO_IMAGE)
        assert answer.outputs[0].data.startswith(b"\x89PNG")
        assert fake.gpu.records[-1].kind == "images/edits"
        assert inputs.asked == ["https://example.test/a.png"]


@pytest.mark.parametrize("flavour", ["vllm-omni", "sglang"])
async def test_a_video_is_polled_fetched_and_deleted(flavour: str) -> None:
    told: list[float] = []
    async with driving(flavour=flavour, latency=0.2) as (fake, runtime):
        answer = await run(runtime, pipeline(VIDEOS, seconds=1), TaskType.PIPELINE, told.append)
        assert answer.outputs[0].data[4:8] == b"ftyp"
        assert json.loads(answer.raw)["status"] == "completed"
        assert told == sorted(told)
        assert told[-1] == 1
        assert (await fake.get("/v1/videos"))["data"] == []


async def test_a_video_begins_with_a_picture_that_a_link_names() -> None:
    async with driving(Links(a=png())) as (_, runtime):
        content = pipeline(VIDEOS, seconds=1, input_reference="s3://bucket/a.png")
        assert (await run(runtime, content, TaskType.PIPELINE)).outputs


async def test_a_failed_video_is_tried_again_with_the_reason_told() -> None:
    async with driving() as (fake, runtime):
        await fake.order("error", message="the decoder failed")
        with pytest.raises(TransientError, match="the decoder failed"):
            await run(runtime, pipeline(VIDEOS), TaskType.PIPELINE)
        await fake.order("out-of-memory")
        with pytest.raises(TransientError) as caught:
            await run(runtime, pipeline(VIDEOS), TaskType.PIPELINE)
        assert caught.value.code == "out_of_memory"


@pytest.mark.parametrize("content", [CONTENT, pipeline(VIDEOS, num_inference_steps=150, seconds=9)])
async def test_a_cancelled_run_ends_at_once_where_the_server_stops_it(content: dict[str, Any]) -> None:
    kind = TaskType.PIPELINE if "path" in content else TaskType.TEXT_TO_IMAGE
    async with driving(latency=1.0) as (fake, runtime):
        task = asyncio.create_task(run(runtime, {**content, "steps": 150} if content is CONTENT else content, kind))
        await fake_busy(fake)
        await cancel(task)
        assert not is_left(runtime)
        async with asyncio.timeout(10):
            await fake_idle(fake)
        assert fake.gpu.records[-1].outcome == "interrupted"


@pytest.mark.parametrize("content", [CONTENT, pipeline(VIDEOS, seconds=1)])
async def test_a_cancelled_run_is_waited_for_where_the_server_goes_on(
    content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CANCEL_GRACE", 0.05)
    kind = TaskType.PIPELINE if "path" in content else TaskType.TEXT_TO_IMAGE
    async with driving(flavour="sglang", seconds_per_task=1.0) as (fake, runtime):
        task = asyncio.create_task(run(runtime, content, kind))
        await fake_busy(fake)
        await cancel(task)
        assert is_left(runtime)
        with pytest.raises(RuntimeUnavailableError, match="given up"):
            await run(runtime, content, kind)
        async with asyncio.timeout(20):
            await runtime.wait_until_ready()
        assert not is_left(runtime)
        assert fake.gpu.records[-1].outcome == "succeeded"
        assert (await run(runtime, content, kind)).outputs


def is_left(runtime: Runtime) -> bool:
    return runtime.left_running


async def fake_busy(fake: Server) -> None:
    async def busy() -> bool:
        return fake.gpu.job is not None

    await eventually_async(busy)


async def fake_idle(fake: Server) -> None:
    async def idle() -> bool:
        return fake.gpu.job is None

    await eventually_async(idle)


@pytest.mark.parametrize(
    ("fault", "options", "kind", "code"),
    [
        ("out-of-memory", {}, TransientError, "out_of_memory"),
        ("error", {"status": 500}, TransientError, "runtime_error"),
        ("error", {"status": 503, "body": "text"}, TransientError, "runtime_error"),
        ("garbage", {}, TransientError, "garbage_answer"),
        ("zero-images", {}, TransientError, "no_images"),
    ],
)
async def test_what_goes_wrong_at_the_server_has_a_name(
    fault: str, options: dict[str, Any], kind: type[TaskError], code: str
) -> None:
    async with driving() as (fake, runtime):
        await fake.order(fault, **options)
        with pytest.raises(kind) as caught:
            await run(runtime, CONTENT)
        assert caught.value.code == code


async def test_a_route_that_the_server_lacks_fails_the_task_and_another_server_is_waited_for() -> None:
    async with driving(flavour="sd-server") as (_, runtime):
        with pytest.raises(PermanentError, match="has no /v1/videos"):
            await run(runtime, pipeline(VIDEOS), TaskType.PIPELINE)
    async with serving(type="comfyui") as other, adapter_of(RuntimeType.OPENAI, other.url) as runtime:
        with pytest.raises(RuntimeUnavailableError, match="API_BASE_URL"):
            await run(runtime, CONTENT)


async def test_a_server_is_ready_when_health_says_so_or_where_there_is_none_by_its_models() -> None:
    status = {"/health": 503, "/v1/models": 200}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"data": []}, status=status[request.path])

    async with web_server(answer) as url, adapter_of(RuntimeType.OPENAI, f"{url}/v1/") as runtime:
        assert not await runtime.is_alive()
        status["/health"] = 404
        assert await runtime.is_alive()
        status["/v1/models"] = 500
        assert not await runtime.is_alive()


@pytest.mark.parametrize(
    ("link", "whose"),
    [
        ("https://elsewhere.test/a.png", "elsewhere.test"),
        ("http://169.254.169.254/latest", "169.254.169.254"),
        ("http://[bad", "makes no sense"),
    ],
)
async def test_a_picture_is_fetched_from_the_server_itself_and_from_nobody_else(link: str, whose: str) -> None:
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path_qs)
        if request.method == "POST":
            own = {"url": f"http://{request.host}/files/a%20b.png?sig=x%2Fy"}
            return web.json_response({"data": [own, {"url": "/files/2"}] if not link_given else [{"url": link}]})
        return web.Response(body=png())

    async with web_server(answer) as url, adapter_of(RuntimeType.OPENAI, url) as runtime:
        link_given = False
        assert [output.data for output in (await run(runtime, CONTENT)).outputs] == [png(), png()]
        assert "/files/a%20b.png?sig=x/y" in [path.replace("%2F", "/") for path in asked]
        link_given = True
        with pytest.raises(PermanentError, match=whose):
            await run(runtime, CONTENT)


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ({"prompt": "a"}, {"prompt": "a"}),
        ({"prompt": "a", "width": 768}, {"prompt": "a", "size": "768x512"}),
        ({"prompt": "a", "size": "1x2", "width": 9, "n": 3, "n_iter": 2}, {"prompt": "a", "size": "1x2", "n": 3}),
        ({"prompt": "a", "seed": -1, "negative_prompt": ""}, {"prompt": "a"}),
        ({"prompt": "a", "seed": 0}, {"prompt": "a", "seed": 0}),
        ({"prompt": "a", "steps": 9, "cfg_scale": 4}, {"prompt": "a", "num_inference_steps": 9, "guidance_scale": 4}),
        ({"prompt": "a", "alwayson_scripts": {"sd_model_checkpoint": "m"}}, {"prompt": "a", "model": "m"}),
        ({"prompt": "a", "override_settings": {"sd_model_checkpoint": "m"}}, {"prompt": "a", "model": "m"}),
        (
            {"prompt": "a", "lora": {"name": "x"}, "quality": "hd"},
            {"prompt": "a", "lora": {"name": "x"}, "quality": "hd"},
        ),
        ({"prompt": "a", "response_format": "url", "stream": True}, {"prompt": "a"}),
    ],
)
def test_a_content_is_translated(content: dict[str, Any], body: dict[str, Any]) -> None:
    expected = Request(GENERATIONS, {**body, "response_format": "b64_json"})
    assert request_for(TaskType.TEXT_TO_IMAGE, content) == expected


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        (TaskType.TEXT_TO_IMAGE, {"width": 9}, "prompt"),
        (TaskType.TEXT_TO_IMAGE, {"prompt": "a", "batch_size": "two"}, "batch_size"),
        (TaskType.TEXT_TO_IMAGE, {"prompt": "a", "alwayson_scripts": {"controlnet": {}}}, "controlnet"),
        (TaskType.IMAGE_TO_IMAGE, {"prompt": "a"}, "init_images"),
        (TaskType.PIPELINE, {"path": "/v1/files", "body": {"prompt": "a"}}, "path: must be one of"),
        (TaskType.PIPELINE, {"path": ["/v1/videos"], "body": {"prompt": "a"}}, "path: must be one of"),
        (TaskType.PIPELINE, {"path": VIDEOS, "body": []}, "body: must be the JSON object"),
        (TaskType.PIPELINE, {"size": "9x9"}, "prompt: is required"),
    ],
)
def test_what_no_such_server_takes_is_refused_by_name(kind: TaskType, content: dict[str, Any], words: str) -> None:
    with pytest.raises(PermanentError, match=words) as caught:
        request_for(kind, content)
    assert caught.value.code == "invalid_content"


def test_files_go_as_files_and_the_rest_as_fields() -> None:
    content = {"prompt": "a", "init_images": [PICTURE, f"data:image/png;base64,{PICTURE}"], "lora": {"name": "x"}}
    form = form_of(request_for(TaskType.IMAGE_TO_IMAGE, content))
    assert form is not None
    assert form.fields == {"prompt": "a", "lora": '{"name": "x"}', "response_format": "b64_json"}
    assert [upload.name for upload in form.files] == ["image[]/image-1.png", "image[]/image-2.png"]
    with pytest.raises(PermanentError, match="image: file 1 is no link"):
        form_of(request_for(TaskType.IMAGE_TO_IMAGE, {"prompt": "a", "init_images": ["cat.png"]}))
    assert form_of(request_for(TaskType.PIPELINE, pipeline(EDITS, image=PICTURE))) is not None
    assert form_of(request_for(TaskType.PIPELINE, pipeline(VIDEOS))) is None


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "words"),
    [
        (400, {"error": {"message": "bad size"}}, PermanentError, "rejected_by_runtime", "bad size"),
        (400, {"error": "prompt required"}, PermanentError, "rejected_by_runtime", "prompt required"),
        (
            422,
            {"detail": [{"loc": ["body", "n"], "msg": "too large"}]},
            PermanentError,
            "rejected_by_runtime",
            "n: too",
        ),
        (404, {"error": {"message": "The model `x` does not exist."}}, PermanentError, "unknown_checkpoint", "x"),
        (401, {"error": {"message": "Unauthorized"}}, RuntimeUnavailableError, "runtime_unauthorized", "RUNTIME_TOKEN"),
        (429, {"error": {"message": "slow down"}}, TransientError, "runtime_busy", "slow down"),
        (500, {"error": "server_error", "message": "CUDA out of memory"}, TransientError, "out_of_memory", "CUDA"),
        (400, {"detail": "OutOfMemoryError: CUDA"}, TransientError, "out_of_memory", "smaller"),
        (501, {"detail": "no edits"}, PermanentError, "rejected_by_runtime", "no edits"),
        (503, {}, RuntimeUnavailableError, "runtime_not_ready", "503"),
        (503, {"detail": "Model not available: x"}, PermanentError, "unknown_checkpoint", "x"),
        (500, {"detail": "Model not available"}, PermanentError, "unknown_checkpoint", "available"),
    ],
)
def test_errors_of_every_shape_are_read(
    status: int, body: dict[str, Any], kind: type[TaskError], code: str, words: str
) -> None:
    error = failure_of(status, json.dumps(body).encode())
    assert (type(error), error.code) == (kind, code)
    assert words in error.message


@given(st.binary(max_size=40), st.integers(min_value=201, max_value=599))
def test_every_failure_has_a_code_and_a_sentence(body: bytes, status: int) -> None:
    error = failure_of(status, body)
    assert error.code
    assert error.message
