"""The InvokeAI adapter against the fake runtime."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes import Answer, Runtime, open_session
from agent.runtimes.invokeai import adapter as module
from contract.task import RuntimeType, TaskType
from tests.support.graphs import Graph, diffusion, of_image, plain, resized
from tests.support.waiting import eventually_async
from tests.unit.agent.fake_process import fake_process
from tests.unit.agent.runtime_support import Links, adapter_of, cancel, png, web_server, whole
from tests.unit.fake_runtime.support import Server, serving

QUEUE = "/api/v1/queue/default"
LINK = "https://host.example/cat.png"


adapter = partial(adapter_of, RuntimeType.INVOKEAI)


@pytest.fixture
async def invokeai(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path, type="invokeai") as server:
        yield server


@pytest.fixture
async def runtime(invokeai: Server) -> AsyncIterator[Runtime]:
    async with adapter(invokeai.url) as runtime:
        yield runtime


async def run(runtime: Runtime, content: dict[str, Any], run_id: str = "run-1") -> Answer:
    prepared = await runtime.prepare(TaskType.PIPELINE, content)
    return await whole(await runtime.run(prepared, run_id=run_id, progress=lambda _: None))


def sizes(answer: Answer) -> list[tuple[int, int]]:
    return [Image.open(io.BytesIO(output.data)).size for output in answer.outputs]


async def items(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await server.get(f"{QUEUE}/list_all")
    return found


async def item_ids(server: Server) -> list[int]:
    return [int(item["item_id"]) for item in await items(server)]


def images(folder: Path) -> list[str]:
    return [path.name for path in (folder / "images").iterdir()]


async def nothing_is_left(server: Server, folder: Path) -> None:
    """Waits until neither an item nor an image of a run is on the server."""

    async def is_empty() -> bool:
        return not await items(server) and not images(folder)

    await eventually_async(is_empty)


async def test_a_graph_gives_its_image_and_its_item_of_the_queue(runtime: Runtime) -> None:
    await runtime.wait_until_ready()
    assert await runtime.is_alive()
    answer = await run(runtime, diffusion("a cat"), run_id="a-run")
    assert sizes(answer) == [(64, 64)]
    item = json.loads(answer.raw)
    assert (item["status"], item["origin"], item["destination"]) == ("completed", "a-run", "darkroom-agent")
    assert answer.outputs[0].name in answer.raw.decode()
    assert await runtime.resident_bytes() is None
    assert not await runtime.restart()


async def test_intermediate_images_are_no_results(runtime: Runtime) -> None:
    assert sizes(await run(runtime, resized())) == [(32, 24)]


async def test_all_images_that_are_not_intermediate_are_results_in_the_order_of_their_making(runtime: Runtime) -> None:
    graph = plain(64, 48).node("b", "img_resize", width=8, height=8).node("c", "img_resize", width=4, height=4)
    graph.edge("blank", "image", "b").edge("b", "image", "c")
    assert sizes(await run(runtime, graph)) == [(64, 48), (8, 8), (4, 4)]


async def test_where_all_are_intermediate_the_last_nodes_images_are_the_results(runtime: Runtime) -> None:
    assert sizes(await run(runtime, resized(is_intermediate=True))) == [(32, 24)]


@pytest.mark.parametrize("wrap", [{"graph": plain()}, {"batch": {"graph": plain(), "batch_id": "x", "runs": 7}}])
async def test_a_wrapped_graph_runs_once_and_under_a_name_of_the_agents(runtime: Runtime, wrap: dict[str, Any]) -> None:
    answer = await run(runtime, wrap)
    assert len(answer.outputs) == 1
    assert json.loads(answer.raw)["batch_id"] != "x"


async def test_links_in_the_place_of_images_names_are_uploaded_and_texts_stay(invokeai: Server, tmp_path: Path) -> None:
    async with adapter(invokeai.url, Links(cat=png(32, 24))) as runtime:
        graph = diffusion("https://host.example/a-prompt")
        graph.node("resized", "img_resize", image={"image_name": LINK}, width=16, height=16)
        graph.node("again", "img_resize", image={"image_name": LINK}, width=8, height=8)
        prepared = await runtime.prepare(TaskType.PIPELINE, graph)
        assert [upload.data for upload in prepared.uploads] == [png(32, 24)]
        answer = await whole(await runtime.run(prepared, run_id="r", progress=lambda _: None))
        assert sorted(sizes(answer)) == [(8, 8), (16, 16), (64, 64)]
        assert "https://host.example/a-prompt" in answer.raw.decode()
        assert LINK not in answer.raw.decode()
        await nothing_is_left(invokeai, tmp_path)


async def test_an_input_that_is_merely_passed_on_is_no_result(runtime: Runtime) -> None:
    graph = Graph().node("given", "image", image={"image_name": LINK})
    with pytest.raises(PermanentError, match="without an image"):
        await run(runtime, graph)


async def test_nothing_of_a_run_stays_on_the_server_and_images_of_others_do(
    invokeai: Server, runtime: Runtime, tmp_path: Path
) -> None:
    stranger = await invokeai.post(f"{QUEUE}/enqueue_batch", {"batch": {"graph": plain(9, 9), "runs": 1}})
    await run(runtime, resized())
    with pytest.raises(PermanentError):
        await run(runtime, plain(width=-1).node("blur", "img_blur"))

    async def only_the_strangers() -> bool:
        return bool(await item_ids(invokeai) == stranger["item_ids"])

    await eventually_async(only_the_strangers)
    (name,) = images(tmp_path)
    record = await invokeai.get(f"/api/v1/images/i/{name}")
    assert (record["width"], record["height"]) == (9, 9)
    # The cache answers with the stranger's image: it is fetched, and left alone.
    assert sizes(await run(runtime, plain(9, 9))) == [(9, 9)]
    await eventually_async(only_the_strangers)
    assert images(tmp_path) == [name]


async def test_an_image_from_the_cache_that_another_run_deletes_is_made_anew(
    invokeai: Server, runtime: Runtime, tmp_path: Path
) -> None:
    answers = await asyncio.gather(*(run(runtime, resized(), f"run-{number}") for number in range(8)))
    assert [sizes(answer) for answer in answers] == [[(32, 24)]] * 8
    await nothing_is_left(invokeai, tmp_path)


async def test_images_that_somebody_deletes_again_and_again_are_worth_another_try(
    invokeai: Server, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none_is_known(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(module.InvokeAi, "_records", none_is_known)
    with pytest.raises(TransientError, match="deletes the images"):
        await run(runtime, plain())


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (Graph().node("a", "no_such_node"), "a: there is no node of type 'no_such_node'"),
        (Graph().node("blank", "blank_image", width="x"), "blank.blank_image.width: Input should be a valid integer"),
        (plain().edge("blank", "image", "no"), "Edge destination node no does not exist in the graph"),
        (Graph().node("a", "img_blur").edge("a", "image", "a"), "Graph contains cycles"),
    ],
)
async def test_an_invalid_graph_is_refused_by_node_and_field(
    invokeai: Server, runtime: Runtime, graph: Graph, words: str
) -> None:
    with pytest.raises(PermanentError) as failure:
        await run(runtime, graph)
    assert failure.value.code == "invalid_workflow"
    assert words in failure.value.message
    assert await items(invokeai) == []


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (Graph().node("a", "img_blur"), "node 'a' (img_blur): MissingInputException"),
        (plain(width=-1), "node 'blank' (blank_image): ValueError: Width and height must be >= 0"),
        (of_image("absent.png"), "node 'resized' (img_resize): ImageRecordNotFoundException"),
    ],
)
async def test_a_node_that_fails_is_named(runtime: Runtime, graph: Graph, words: str) -> None:
    with pytest.raises(PermanentError) as failure:
        await run(runtime, graph)
    assert failure.value.code == "node_failed"
    assert words in failure.value.message
    assert "/" not in failure.value.message


async def test_an_input_that_is_no_image_is_refused(invokeai: Server) -> None:
    async with adapter(invokeai.url, Links(cat=b"\x89PNG\r\n\x1a\nnonsense")) as runtime:
        with pytest.raises(PermanentError) as failure:
            await run(runtime, of_image(LINK))
    assert failure.value.code == "invalid_input"


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
        ("zero-images", {}, PermanentError),
    ],
)
async def test_faults_of_the_server_are_told_apart(
    invokeai: Server, runtime: Runtime, name: str, options: dict[str, Any], kind: type[TaskError]
) -> None:
    await invokeai.order(name, **options)
    with pytest.raises(kind):
        await run(runtime, diffusion())
    assert (await run(runtime, diffusion(seed=6))).outputs


async def test_a_cancelled_run_is_stopped_and_no_other(tmp_path: Path) -> None:
    async with serving(tmp_path, type="invokeai", seconds_per_task=30) as invokeai, adapter(invokeai.url) as runtime:
        running = asyncio.create_task(run(runtime, diffusion(steps=200)))
        await invokeai.running()
        stranger = await invokeai.post(f"{QUEUE}/enqueue_batch", {"batch": {"graph": plain(), "runs": 1}})
        await cancel(running)
        assert not runtime.left_running
        assert (await invokeai.jobs())[0]["outcome"] == "interrupted"

        async def only_the_strangers() -> bool:
            return bool(await item_ids(invokeai) == stranger["item_ids"])

        await eventually_async(only_the_strangers)
        assert (await items(invokeai))[0]["status"] in {"pending", "in_progress"}


async def test_a_server_is_not_called_stuck_while_a_run_is_being_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, type="invokeai", seconds_per_task=30) as invokeai, adapter(invokeai.url) as runtime:
        asked, answer = asyncio.Event(), asyncio.Event()

        async def slow(_: Any) -> bool:
            asked.set()
            await answer.wait()
            return False

        running = asyncio.create_task(run(runtime, diffusion(steps=200)))
        await invokeai.running()
        monkeypatch.setattr(runtime, "_stop_once", slow)
        running.cancel()
        await asked.wait()
        assert not runtime.left_running
        answer.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not runtime.left_running


async def test_a_cancelled_run_that_waits_is_taken_out_of_the_queue(tmp_path: Path) -> None:
    async with serving(tmp_path, type="invokeai", seconds_per_task=30) as invokeai, adapter(invokeai.url) as runtime:
        first = asyncio.create_task(run(runtime, diffusion(steps=200), "first"))
        await invokeai.running()
        second = asyncio.create_task(run(runtime, plain(), "second"))

        async def waits() -> bool:
            return any(item["origin"] == "second" for item in await items(invokeai))

        await eventually_async(waits)
        await cancel(second)
        assert not first.done()
        assert not runtime.left_running
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


@pytest.mark.parametrize(("method", "path"), [("PUT", "cancel"), ("DELETE", "")])
async def test_a_run_that_somebody_takes_out_is_worth_another_try(tmp_path: Path, method: str, path: str) -> None:
    async with serving(tmp_path, type="invokeai", seconds_per_task=30) as invokeai, adapter(invokeai.url) as runtime:
        running = asyncio.create_task(run(runtime, diffusion(steps=200)))
        await invokeai.running()
        (item,) = await items(invokeai)
        await invokeai.send(method, f"{QUEUE}/i/{item['item_id']}/{path}".rstrip("/"))
        with pytest.raises(TransientError, match="somebody"):
            await running


async def test_a_run_that_does_not_stop_is_waited_for_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CANCEL_GRACE", 0.2)
    monkeypatch.setattr(module, "LEFT_INTERVAL", 0.05)
    faults = ["interrupt-ignored"]
    async with (
        serving(tmp_path, faults, type="invokeai", seconds_per_task=2) as invokeai,
        adapter(invokeai.url) as runtime,
    ):
        running = asyncio.create_task(run(runtime, diffusion()))
        await invokeai.running()
        await cancel(running)
        with pytest.raises(RuntimeUnavailableError, match="still at a run"):
            await run(runtime, plain())
        async with asyncio.timeout(30):
            await runtime.wait_until_ready()
        assert not runtime.left_running
        await nothing_is_left(invokeai, tmp_path)


async def test_what_an_agent_has_left_that_died_is_stopped_and_deleted_and_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path, type="invokeai", seconds_per_task=30) as invokeai:

        async def leave(destination: str, graph: Graph) -> int:
            batch = {"graph": graph, "runs": 1, "destination": destination}
            return int((await invokeai.post(f"{QUEUE}/enqueue_batch", {"batch": batch}))["item_ids"][0])

        await leave(module.DESTINATION, diffusion(steps=200))
        await invokeai.running()
        await leave(module.DESTINATION, plain())
        other = await leave("canvas", diffusion(steps=200))
        async with adapter(invokeai.url) as runtime, asyncio.timeout(30):
            await runtime.wait_until_ready()
        assert await item_ids(invokeai) == [other]


async def test_a_server_that_dies_in_the_middle_takes_the_blame_and_what_waited_there_never_runs(
    tmp_path: Path,
) -> None:
    options = ("--type", "invokeai", "--seconds-per-task", "20", "--directory", str(tmp_path))
    with fake_process(*options) as process:
        process.start()
        async with adapter(process.url) as runtime, open_session() as session:
            async with asyncio.timeout(30):
                await runtime.wait_until_ready()
            runs = [asyncio.create_task(run(runtime, diffusion(steps=100, seed=seed))) for seed in range(2)]

            async def left() -> list[str]:
                async with session.get(f"{process.url}{QUEUE}/list_all") as response:
                    return [item["status"] for item in await response.json()]

            async def both_are_there() -> bool:
                return await left() == ["in_progress", "pending"]

            await eventually_async(both_are_there)
            process.kill()
            for task in runs:
                with pytest.raises(RuntimeUnavailableError):
                    await task
            process.start()
            async with asyncio.timeout(30):
                await runtime.wait_until_ready()
            assert await left() == []


async def test_a_runtime_that_is_not_there_is_unavailable() -> None:
    async with adapter("http://127.0.0.1:1") as runtime:
        assert not await runtime.is_alive()
        with pytest.raises(RuntimeUnavailableError):
            await run(runtime, plain())


async def test_a_graph_that_calls_a_saved_workflow_ends_when_it_has_ended_itself_and_not_with_what_it_called() -> None:
    counts = [
        {"total": 2, "waiting": 1, "in_progress": 1},
        {"total": 2, "waiting": 1, "completed": 1},
        {"total": 2, "completed": 2},
    ]
    ended = {"item_id": 1, "session": {"results": {"n": {"image": {"image_name": "made.png"}}}}}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        # What a call runs is an item of its own in the same batch, and the caller waits for it (seen in the source of
        # invokeai/app/services/session_queue/session_queue_sqlite.py, `enqueue_workflow_call_child`).
        if request.path.endswith("/enqueue_batch"):
            return web.json_response({"item_ids": [1]})
        if "/b/" in request.path:
            return web.json_response(counts.pop(0))
        if request.path.endswith("/i/1"):
            return web.json_response({"item_id": 1, "session": {}} if counts else ended)
        if request.path.endswith("/images_by_names"):
            names = (await request.json())["image_names"]
            return web.json_response([{"image_name": name, "is_intermediate": False} for name in names])
        if request.path.endswith("/full"):
            return web.Response(body=png())
        return web.json_response({})

    async with web_server(answer) as url, adapter(url) as runtime:
        answered = await run(runtime, {"nodes": {"n": {"type": "call_saved_workflow"}}})
    assert [output.name for output in answered.outputs] == ["made.png"]
