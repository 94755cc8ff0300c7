"""The ComfyUI adapter against the fake runtime."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes import Answer, Runtime
from agent.runtimes.comfyui import adapter as module
from agent.runtimes.comfyui import prompts, stopping
from agent.runtimes.http import Interrupts, Reply
from contract.task import RuntimeType, TaskType
from fake_runtime.comfyui.node_types import Context, Input, NodeClass, Result, Values
from fake_runtime.comfyui.nodes import NODE_CLASSES
from fake_runtime.comfyui.websocket import Sockets
from fake_runtime.gpu.work import Work
from tests.support.workflows import Workflow, diffusion, plain
from tests.unit.agent.fake_process import fake_process
from tests.unit.agent.runtime_support import Links, adapter_of, cancel, png, whole
from tests.unit.fake_runtime.support import Server, serving

adapter = partial(adapter_of, RuntimeType.COMFYUI)


@pytest.fixture
async def comfyui(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path, type="comfyui") as server:
        yield server


@pytest.fixture
async def runtime(comfyui: Server) -> AsyncIterator[Runtime]:
    async with adapter(comfyui.url) as runtime:
        yield runtime


async def run(runtime: Runtime, content: dict[str, Any], seen: list[float] | None = None) -> Answer:
    prepared = await runtime.prepare(TaskType.PIPELINE, content)
    seen = [] if seen is None else seen
    return await whole(await runtime.run(prepared, run_id="run-1", progress=seen.append))


async def pending(comfyui: Server) -> str:
    """Waits until a prompt waits in the queue; returns its id."""
    while True:
        if items := (await comfyui.get("/queue"))["queue_pending"]:
            return str(items[0][1])
        await asyncio.sleep(0.01)


def find(folder: Path, name: str) -> Path:
    (path,) = folder.rglob(name)
    return path


def remove(folder: Path, pattern: str) -> None:
    for path in folder.rglob(pattern):
        path.unlink()


async def test_a_workflow_gives_its_images_and_its_history(runtime: Runtime) -> None:
    answer = await run(runtime, diffusion(batch_size=3))
    assert [output.data[:4] for output in answer.outputs] == [b"\x89PNG"] * 3
    assert [output.name for output in answer.outputs] == [f"ComfyUI_0000{n}_.png" for n in (1, 2, 3)]
    (entry,) = json.loads(answer.raw).values()
    assert entry["status"]["status_str"] == "success"


async def test_a_wrapped_workflow_runs_as_well(runtime: Runtime) -> None:
    assert (await run(runtime, {"prompt": diffusion(), "client_id": "somebody"})).outputs


async def test_animations_videos_and_sounds_are_outputs_too(runtime: Runtime) -> None:
    nodes = (
        Workflow()
        .node("1", "EmptyImage", width=64, height=48, batch_size=2, color=0)
        .node("2", "SaveAnimatedWEBP", images=["1", 0], filename_prefix="a", fps=6.0, lossless=True, quality=80)
        .node("3", "CreateVideo", images=["1", 0], fps=30.0)
        .node("4", "SaveVideo", video=["3", 0], filename_prefix="video/v", format="auto", codec="auto")
        .node("5", "EmptyAudio", duration=1.0, sample_rate=44100, channels=2)
        .node("6", "SaveAudio", audio=["5", 0], filename_prefix="audio/s")
        .node("7", "PreviewImage", images=["1", 0])
    )
    nodes["2"]["inputs"]["method"] = "default"
    answer = await run(runtime, nodes)
    assert sorted(output.name.rpartition(".")[2] for output in answer.outputs) == ["flac", "mp4", "webp"]


async def test_previews_are_outputs_when_nothing_is_saved(runtime: Runtime) -> None:
    nodes = plain()
    nodes["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    assert len((await run(runtime, nodes)).outputs) == 1


async def test_links_of_loaders_are_uploaded_and_texts_stay(comfyui: Server) -> None:
    async with adapter(comfyui.url, Links(cat=png(32, 24))) as runtime:
        nodes = diffusion("https://host.example/a-prompt")
        nodes.node("1", "LoadImage", image="https://host.example/cat.png")
        nodes.node("2", "SaveImage", images=["1", 0], filename_prefix="loaded")
        prepared = await runtime.prepare(TaskType.PIPELINE, nodes)
        assert [upload.data for upload in prepared.uploads] == [png(32, 24)]
        answer = await whole(await runtime.run(prepared, run_id="r", progress=lambda _: None))
        again = await whole(await runtime.run(prepared, run_id="r2", progress=lambda _: None))
    assert len(answer.outputs) == len(again.outputs) == 2
    assert "https://host.example/a-prompt" in answer.raw.decode()
    assert "cat.png" not in answer.raw.decode()


async def test_what_an_input_takes_is_asked_of_the_server_and_words_are_left_to_the_node(
    comfyui: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(context: Context, values: Values) -> Result:
        assert context.files.find(values["mesh"]) is not None
        return Result((), {"text": [values["mesh"], values["url"]]})

    inputs = {"mesh": Input("COMBO", {}, lambda shelf: shelf.files.input_names()), "url": Input("STRING")}
    mesh = NodeClass("Custom Mesh/Loader", (), load, inputs, output_node=True)
    monkeypatch.setitem(NODE_CLASSES, mesh.name, mesh)
    nodes = Workflow().node("1", mesh.name, mesh="https://host.example/cube.obj", url="http://127.0.0.1/own")
    async with adapter(comfyui.url, Links(cube=b"v 0 0 0")) as runtime:
        answer = await run(runtime, nodes)
    (entry,) = json.loads(answer.raw).values()
    name, url = entry["outputs"]["1"]["text"]
    assert (name.rpartition(".")[2], url) == ("obj", "http://127.0.0.1/own")


def loading() -> Workflow:
    nodes = Workflow().node("1", "LoadImage", image="https://host.example/cat.png")
    return nodes.node("2", "SaveImage", images=["1", 0], filename_prefix="loaded")


async def test_inputs_are_at_the_server_before_their_run(comfyui: Server, tmp_path: Path) -> None:
    async with adapter(comfyui.url, Links(cat=png(32, 24))) as runtime:
        prepared = await runtime.prepare(TaskType.PIPELINE, loading())

        (upload,) = prepared.uploads
        there = find(tmp_path, upload.name)
        assert there.read_bytes() == png(32, 24)
        there.write_bytes(png(16, 16))
        answer = await whole(await runtime.run(prepared, run_id="r", progress=lambda _: None))
    assert len(answer.outputs) == 1
    assert there.read_bytes() == png(16, 16), "it was not sent twice"


async def test_inputs_that_are_gone_when_their_run_begins_are_sent_again(comfyui: Server, tmp_path: Path) -> None:
    async with adapter(comfyui.url, Links(cat=png(32, 24))) as runtime:
        prepared = await runtime.prepare(TaskType.PIPELINE, loading())
        remove(tmp_path, prepared.uploads[0].name)
        answer = await whole(await runtime.run(prepared, run_id="r", progress=lambda _: None))
        remove(tmp_path, prepared.uploads[0].name)
        once_more = await run(runtime, loading())
    assert len(answer.outputs) == len(once_more.outputs) == 1


async def test_an_input_that_is_at_the_server_is_not_written_again(comfyui: Server, tmp_path: Path) -> None:
    async with adapter(comfyui.url, Links(cat=png(32, 24))) as runtime:
        there = find(tmp_path, (await runtime.prepare(TaskType.PIPELINE, loading())).uploads[0].name)
        os.utime(there, ns=(1, 1))
    async with adapter(comfyui.url, Links(cat=png(32, 24))) as another:
        await another.prepare(TaskType.PIPELINE, loading())
        assert there.stat().st_mtime_ns == 1, "a run may be reading it"


async def test_an_input_that_was_written_in_part_is_written_again(comfyui: Server, tmp_path: Path) -> None:
    async with adapter(comfyui.url, Links(cat=png(32, 24))) as runtime:
        there = find(tmp_path, (await runtime.prepare(TaskType.PIPELINE, loading())).uploads[0].name)
        there.write_bytes(png(32, 24)[:20])
    async with adapter(comfyui.url, Links(cat=png(32, 24))) as another:
        assert len((await run(another, loading())).outputs) == 1
    assert there.read_bytes() == png(32, 24)


async def test_inputs_that_could_not_be_sent_ahead_are_sent_by_the_run(tmp_path: Path) -> None:
    with fake_process("--type", "comfyui", "--latency", "0", "--directory", str(tmp_path)) as process:
        async with adapter(process.url, Links(cat=png(32, 24))) as runtime:
            prepared = await runtime.prepare(TaskType.PIPELINE, loading())
            process.start()
            await runtime.wait_until_ready()
            answer = await whole(await runtime.run(prepared, run_id="r", progress=lambda _: None))
    assert len(answer.outputs) == 1


async def test_the_next_prompt_runs_while_the_files_of_the_last_one_are_still_at_the_server(
    runtime: Runtime,
) -> None:
    prepared = [await runtime.prepare(TaskType.PIPELINE, diffusion(f"a cat {number}")) for number in range(2)]
    runs = [await runtime.run(item, run_id="r", progress=lambda _: None) for item in prepared]

    assert not any(isinstance(ended, Answer) for ended in runs)
    first, second = [await whole(ended) for ended in runs]
    assert first.outputs[0].data != second.outputs[0].data


def saving(*classes: str) -> Workflow:
    """A workflow in which one picture goes to output nodes of several classes."""
    nodes = Workflow().node("1", "EmptyImage", width=64, height=48, batch_size=2, color=0)
    for number, name in enumerate(classes, start=2):
        prefix = {"filename_prefix": "made"} if name == "SaveImage" else {}
        nodes.node(str(number), name, images=["1", 0], **prefix)
    return nodes


def output_node(name: str, run: Callable[[Context, Values], Result], work: Work) -> NodeClass:
    return NodeClass(name, (), run, {"images": Input("IMAGE")}, output_node=True, work=lambda *_: work)


def save_as(suffix: str, data: bytes, key: str = "files") -> Callable[[Context, Values], Result]:
    return lambda context, _: Result((), {key: [context.files.save("output", "made", suffix, data)]})


def preview_3d(context: Context, _: Values) -> Result:
    saved = context.files.save("output", "3d/preview", ".glb", b"glTF\2\0\0\0")
    return Result((), {"result": [f"{saved['subfolder']}/{saved['filename']}", None, None]})


@pytest.fixture
def classes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds classes of output nodes to the fake."""

    def add(work: Work | None = None, **more: Callable[[Context, Values], Result]) -> None:
        for name, act in more.items():
            monkeypatch.setitem(NODE_CLASSES, name, output_node(name, act, work or Work()))

    return add


async def test_files_of_any_kind_come_back_under_the_servers_own_names(
    runtime: Runtime, classes: Callable[..., None]
) -> None:
    classes(Glb=save_as(".glb", b"glTF", "3d"), Text=save_as(".txt", b"", "text"), Shown3D=preview_3d)
    answer = await run(runtime, saving("Glb", "Text", "Shown3D"))
    assert [(output.name, output.data) for output in answer.outputs] == [
        ("made_00001_.glb", b"glTF"),
        ("made_00002_.txt", b""),
        ("preview_00001_.glb", b"glTF\2\0\0\0"),
    ]


async def test_pictures_that_come_through_the_socket_are_outputs(tmp_path: Path) -> None:
    async with serving(tmp_path, type="comfyui", previews=True) as comfyui, adapter(comfyui.url) as runtime:
        nodes = diffusion()
        nodes["9"] = {"class_type": "SaveImageWebsocket", "inputs": nodes["9"]["inputs"]}
        answer = await run(runtime, nodes)
        assert [output.data[:8] for output in answer.outputs] == [b"\x89PNG\r\n\x1a\n"], "previews are none"
        assert len(await comfyui.jobs()) == 1


async def test_a_file_that_the_server_refuses_is_named_and_the_others_are_delivered_by_one_run(
    comfyui: Server, runtime: Runtime, classes: Callable[..., None]
) -> None:
    outside = {"filename": "there.png", "subfolder": "/mnt/elsewhere", "type": "output"}
    classes(Outside=lambda *_: Result((), {"images": [outside]}))
    answer = await run(runtime, saving("SaveImage", "Outside"))
    assert len(answer.outputs) == 2
    assert answer.warnings == ("the output 'there.png' could not be fetched: the server answers 403",)
    with pytest.raises(PermanentError, match=r"does not hand out its output 'there.png' \(403\)"):
        await run(runtime, saving("Outside"))
    assert len(await comfyui.jobs()) == 2


@pytest.mark.parametrize("pause", [0.0, 0.2])
async def test_a_batch_that_goes_on_in_further_prompts_is_followed_to_its_end(
    comfyui: Server, runtime: Runtime, classes: Callable[..., None], monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    # After a pause the second prompt has ended, and the third one runs.
    monkeypatch.setattr(prompts, "PATIENCE", (pause, 0.5, 1.0))
    rounds = iter(range(3))

    def combine(context: Context, values: Values) -> Result:
        if next(rounds) < 2:
            return Result((), {"unfinished_batch": [True]}, goes_on=True)
        time.sleep(2 * pause)
        return save_as(".mp4", b"video", "gifs")(context, values)

    seen: list[float] = []
    classes(VHS_VideoCombine=combine)
    answer = await run(runtime, saving("VHS_VideoCombine"), seen)
    assert [output.data for output in answer.outputs] == [b"video"]
    assert len(json.loads(answer.raw)) == len(await comfyui.jobs()) == 3
    assert seen == sorted(seen)


async def test_a_cancelled_batch_leaves_no_prompt_behind(tmp_path: Path, classes: Callable[..., None]) -> None:
    steps = Work(steps=10, seconds=0.03)
    classes(steps, VHS_VideoCombine=lambda *_: Result((), {"unfinished_batch": [True]}, goes_on=True))
    async with serving(tmp_path, type="comfyui") as comfyui, adapter(comfyui.url) as runtime:
        running = asyncio.create_task(run(runtime, saving("VHS_VideoCombine")))
        async with asyncio.timeout(30):
            while len(await comfyui.jobs()) < 3:  # noqa: ASYNC110 - the server sends no event
                await asyncio.sleep(0.02)
        await cancel(running)
        assert await comfyui.get("/queue") == {"queue_running": [], "queue_pending": []}


async def test_outputs_that_the_server_forgot_are_worth_another_try(
    comfyui: Server, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "PATIENCE", (0.0,))
    prepared = await runtime.prepare(TaskType.PIPELINE, plain())
    ended = await runtime.run(prepared, run_id="r", progress=lambda _: None)
    remove(tmp_path, "probe*.png")
    await comfyui.send("POST", "/history", json={"clear": True})

    with pytest.raises(TransientError, match="forgotten"):
        await whole(ended)


async def test_a_workflow_from_the_cache_still_yields_its_outputs(runtime: Runtime) -> None:
    first, second = await run(runtime, plain()), await run(runtime, plain())
    assert [output.data for output in second.outputs] == [output.data for output in first.outputs]


async def test_an_empty_answer_from_the_cache_is_asked_for_again(comfyui: Server, runtime: Runtime) -> None:
    await comfyui.order("cached-and-empty")
    assert len((await run(runtime, plain())).outputs) == 1


async def test_files_that_are_gone_are_made_again(comfyui: Server, runtime: Runtime, tmp_path: Path) -> None:
    await run(runtime, plain())
    remove(tmp_path, "probe*.png")
    assert len((await run(runtime, plain())).outputs) == 1


async def test_previews_from_an_empty_cache_are_made_again(comfyui: Server, runtime: Runtime) -> None:
    await comfyui.order("cached-and-empty")
    nodes = plain()
    nodes["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    assert len((await run(runtime, nodes)).outputs) == 1


def not_a_number() -> Workflow:
    """A workflow with `nan` as a number, which ComfyUI takes, and then sends in every answer that echoes it."""
    nodes = plain()
    nodes.node("4", "ImageBlur", image=["2", 0], blur_radius=1, sigma="nan")
    nodes["3"]["inputs"]["images"] = ["4", 0]
    return nodes


async def test_answers_that_are_json_to_python_alone_are_read(runtime: Runtime) -> None:
    answer = await run(runtime, not_a_number())
    assert b"NaN" in answer.raw
    assert len(answer.outputs) == 1


async def test_a_workflow_that_puts_out_nothing_is_an_error_after_one_run(comfyui: Server, runtime: Runtime) -> None:
    await comfyui.order("zero-images")
    with pytest.raises(PermanentError, match="without an output"):
        await run(runtime, plain())
    assert len(await comfyui.jobs()) == 1


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (diffusion(checkpoint="nope.safetensors"), "node '4' (CheckpointLoaderSimple): input 'ckpt_name'"),
        (Workflow().node("2", "NoSuchNode"), "NoSuchNode"),
        (plain(width=99999), "node '1' (EmptyImage): input 'width'"),
        (Workflow().node("1", "LoadImage", image="absent.png").node("2", "SaveImage", images=["1", 0]), "node '1'"),
        (Workflow().node("1", "EmptyImage", width=64, height=64, batch_size=1, color=0), "no outputs"),
    ],
)
async def test_an_invalid_workflow_is_refused_by_node_and_input(runtime: Runtime, nodes: Any, words: str) -> None:
    with pytest.raises(PermanentError) as failure:
        await run(runtime, nodes)
    assert failure.value.code == "invalid_workflow"
    assert words in failure.value.message


async def test_half_a_workflow_is_no_workflow(comfyui: Server, runtime: Runtime) -> None:
    nodes = plain().node("8", "LoadImage", image="absent.png").node("9", "SaveImage", images=["8", 0])
    nodes["9"]["inputs"]["filename_prefix"] = "x"
    with pytest.raises(PermanentError, match="node '8'"):
        await run(runtime, nodes)
    queue = await comfyui.get("/queue")
    assert queue == {"queue_running": [], "queue_pending": []}


async def test_an_input_that_is_no_image_names_the_node(comfyui: Server) -> None:
    async with adapter(comfyui.url, Links(bad=b"\x89PNG\r\n\x1a\nnonsense")) as runtime:
        nodes = Workflow().node("10", "LoadImage", image="https://host.example/bad.png")
        nodes.node("2", "SaveImage", images=["10", 0], filename_prefix="x")
        with pytest.raises(PermanentError) as failure:
            await run(runtime, nodes)
    assert failure.value.code == "node_failed"
    assert "node '10' (LoadImage)" in failure.value.message
    assert "/tmp" not in failure.value.message


async def test_a_prompt_that_runs_on_after_its_failure_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Sockets.send

    def block(sockets: Sockets, event: str, data: dict[str, Any], client_id: str | None) -> None:
        send(sockets, event, data, client_id)
        if event == "execution_start":
            blocked = {"exception_type": "ExecutionBlocked", "exception_message": "Execution Blocked: no face found"}
            send(sockets, "execution_error", data | blocked, client_id)

    monkeypatch.setattr(Sockets, "send", block)
    async with serving(tmp_path, type="comfyui", seconds_per_task=60) as comfyui, adapter(comfyui.url) as runtime:
        with pytest.raises(PermanentError, match="no face found"):
            await run(runtime, diffusion(steps=200))
        assert await comfyui.get("/queue") == {"queue_running": [], "queue_pending": []}


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("error", {}, PermanentError),
        ("out-of-memory", {}, TransientError),
        ("error", {"at": "submit"}, TransientError),
        ("error", {"at": "submit", "body": "text", "status": 503}, TransientError),
        ("error", {"at": "history"}, TransientError),
        ("error", {"at": "view", "count": 3}, TransientError),
        ("garbage", {"at": "submit"}, TransientError),
        ("garbage", {"at": "history"}, TransientError),
    ],
)
async def test_faults_of_the_server_are_told_apart(
    comfyui: Server, runtime: Runtime, name: str, options: dict[str, Any], kind: type[TaskError]
) -> None:
    await comfyui.order(name, **options)
    with pytest.raises(kind):
        await run(runtime, diffusion())
    assert (await run(runtime, diffusion(seed=6))).outputs


async def test_progress_rises(tmp_path: Path) -> None:
    seen: list[float] = []
    async with serving(tmp_path, type="comfyui", previews=True) as comfyui, adapter(comfyui.url) as runtime:
        await run(runtime, diffusion(steps=20), seen)
    assert len(seen) > 5
    assert seen == sorted(set(seen))
    assert 0 < seen[0] <= seen[-1] <= 1


async def test_a_dropped_socket_is_opened_again(tmp_path: Path) -> None:
    async with serving(tmp_path, type="comfyui", seconds_per_task=0.5) as comfyui, adapter(comfyui.url) as runtime:
        await comfyui.order("drop-websocket")
        assert (await run(runtime, diffusion())).outputs
        assert len(await comfyui.jobs()) == 1


async def test_a_socket_that_went_silent_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.1)
    async with serving(tmp_path, type="comfyui", seconds_per_task=0.5) as comfyui, adapter(comfyui.url) as runtime:
        running = asyncio.create_task(run(runtime, diffusion()))
        await comfyui.running()
        [[_, _, _, extra, _]] = (await comfyui.get("/queue"))["queue_running"]
        async with comfyui.events(extra["client_id"]):
            assert (await running).outputs


VERSIONS = pytest.mark.parametrize("version", ["0.3.64", "0.33"])
"""The newer one has a route that cancels one prompt."""


@VERSIONS
async def test_a_cancelled_run_is_interrupted_and_no_other(tmp_path: Path, version: str) -> None:
    async with (
        serving(tmp_path, type="comfyui", seconds_per_task=30, comfyui_version=version) as comfyui,
        adapter(comfyui.url) as runtime,
    ):
        running = asyncio.create_task(run(runtime, diffusion(steps=200)))
        await comfyui.running()
        stranger = await comfyui.queue(plain("stranger"))
        await cancel(running)
        outcomes = [job["outcome"] for job in await comfyui.jobs()]
        assert outcomes[0] == "interrupted"
        assert "interrupted" not in outcomes[1:]
        assert await comfyui.get(f"/history/{stranger}") == {}
        await comfyui.send("POST", "/interrupt", json={})


@VERSIONS
async def test_a_cancelled_prompt_that_waits_is_taken_out_of_the_queue(tmp_path: Path, version: str) -> None:
    async with (
        serving(tmp_path, type="comfyui", seconds_per_task=1, comfyui_version=version) as comfyui,
        adapter(comfyui.url) as runtime,
    ):
        stranger = await comfyui.queue(plain("stranger"))
        await comfyui.running()
        running = asyncio.create_task(run(runtime, diffusion()))
        async with asyncio.timeout(30):
            await pending(comfyui)
        await cancel(running)
        assert (await comfyui.get("/queue"))["queue_pending"] == []
        assert (await comfyui.finished(stranger))["status"]["completed"]


@pytest.mark.parametrize(("version", "expected"), [("0.3.64", ["cancel", "interrupt"]), ("0.33", ["cancel", "cancel"])])
async def test_one_prompt_is_cancelled_by_one_request_where_the_server_can(
    tmp_path: Path, version: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    send = Interrupts.send

    async def listen(self: Interrupts, path: str, body: bytes) -> Reply:
        sent.append(path.rpartition("/")[2])
        return await send(self, path, body)

    monkeypatch.setattr(Interrupts, "send", listen)
    async with (
        serving(tmp_path, type="comfyui", seconds_per_task=30, comfyui_version=version) as comfyui,
        adapter(comfyui.url) as runtime,
    ):
        for _ in range(2):
            running = asyncio.create_task(run(runtime, diffusion(steps=200)))
            await comfyui.running()
            await cancel(running)
    # What the server lacks, it is asked for once.
    assert [sent[0], sent[-1]] == expected
    assert sent.count("cancel") == 1 or "interrupt" not in sent


async def test_outputs_that_are_assets_come_back_as_ever(tmp_path: Path) -> None:
    async with serving(tmp_path, type="comfyui", comfyui_version="0.38") as comfyui, adapter(comfyui.url) as runtime:
        for _ in range(2):
            answer = await run(runtime, saving("SaveImage"))
            assert [output.name for output in answer.outputs] == ["made_00001_.png", "made_00002_.png"]
        [entry, _] = (await comfyui.get("/history")).values()
        assert all(set(file) >= {"id", "preview_id"} for file in entry["outputs"]["2"]["images"])


async def test_somebody_elses_interrupt_is_worth_another_try(tmp_path: Path) -> None:
    async with serving(tmp_path, type="comfyui", seconds_per_task=30) as comfyui, adapter(comfyui.url) as runtime:
        running = asyncio.create_task(run(runtime, diffusion(steps=200)))
        await comfyui.running()
        await comfyui.send("POST", "/interrupt", json={})
        with pytest.raises(TransientError, match="interrupted"):
            await running


async def test_a_prompt_that_somebody_deleted_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.1)
    monkeypatch.setattr(prompts, "PATIENCE", (0.0, 0.1))
    async with serving(tmp_path, type="comfyui", seconds_per_task=1) as comfyui, adapter(comfyui.url) as runtime:
        await comfyui.queue(plain("stranger"))
        await comfyui.running()
        running = asyncio.create_task(run(runtime, diffusion()))
        async with asyncio.timeout(30):
            prompt_id = await pending(comfyui)
        await comfyui.send("POST", "/queue", json={"delete": [prompt_id]})
        with pytest.raises(TransientError, match="queue"):
            await running


async def test_an_ignored_interrupt_delays_the_cancellation_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "INTERRUPT_GRACE", 0.3)
    faults = ["interrupt-ignored"]
    async with (
        serving(tmp_path, faults, type="comfyui", seconds_per_task=60) as comfyui,
        adapter(comfyui.url) as runtime,
    ):
        running = asyncio.create_task(run(runtime, diffusion()))
        await comfyui.running()
        await cancel(running)
        assert comfyui.gpu.job is not None


async def test_a_server_that_dies_in_the_middle_takes_the_blame() -> None:
    with fake_process("--type", "comfyui", "--latency", "0", "--fault", "exit-in-the-middle") as process:
        process.start()
        async with adapter(process.url) as runtime:
            async with asyncio.timeout(20):
                await runtime.wait_until_ready()
            with pytest.raises(RuntimeUnavailableError):
                await run(runtime, diffusion())


async def test_a_server_that_is_started_again_in_the_middle_takes_the_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "PATIENCE", (0.0, 0.1))
    with fake_process("--type", "comfyui", "--seconds-per-task", "30") as process:
        process.start()
        async with adapter(process.url) as runtime:
            async with asyncio.timeout(20):
                await runtime.wait_until_ready()
            running = asyncio.create_task(run(runtime, diffusion()))
            await asyncio.sleep(0.5)
            process.kill()
            process.start()
            with pytest.raises(RuntimeUnavailableError):
                await running
            async with asyncio.timeout(20):
                await runtime.wait_until_ready()
            assert await runtime.is_alive()


async def test_a_runtime_that_is_not_there_is_unavailable() -> None:
    async with adapter("http://127.0.0.1:1") as runtime:
        assert not await runtime.is_alive()
        with pytest.raises(RuntimeUnavailableError):
            await run(runtime, plain())
