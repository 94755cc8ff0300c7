"""ComfyUI: faults that are ordered by name."""

import asyncio
import time

import aiohttp
import pytest

from tests.support import graphs
from tests.support.workflows import diffusion, plain
from tests.unit.fake_runtime.support import Server, kinds, serving, until


async def test_an_error_fails_the_prompt_when_it_runs(comfyui: Server) -> None:
    await comfyui.order("error", message="no luck")
    name, data = (await comfyui.run(diffusion()))["status"]["messages"][-1]
    assert (name, data["node_type"], data["exception_type"]) == ("execution_error", "KSampler", "RuntimeError")
    assert data["exception_message"] == "no luck\n"
    assert (await comfyui.run(diffusion()))["status"]["completed"]


async def test_an_error_may_refuse_the_submission(comfyui: Server) -> None:
    await comfyui.order("error", at="submit", status=503)
    await comfyui.order("error", at="submit", body="text")
    answers = [await comfyui.send("POST", "/prompt", json={"prompt": plain()}) for _ in range(3)]
    assert [status for status, _ in answers] == [503, 500, 200]
    assert "Server got itself in trouble" in answers[1][1]


async def test_out_of_memory_by_marker_in_a_text(comfyui: Server) -> None:
    name, data = (await comfyui.run(diffusion("a cat [[fault:out-of-memory]]")))["status"]["messages"][-1]
    assert (name, data["exception_type"]) == ("execution_error", "torch.OutOfMemoryError")


async def test_cached_and_empty_has_nothing_to_show(comfyui: Server) -> None:
    await comfyui.order("cached-and-empty")
    async with comfyui.events("me") as events:
        prompt_id = await comfyui.queue(plain(), client_id="me")
        seen = await events.until_end(prompt_id)
    assert "executed" not in kinds(seen)
    assert next(event for event in seen if event["type"] == "execution_cached")["data"]["nodes"] == ["1", "2", "3"]
    entry = await comfyui.finished(prompt_id)
    assert (entry["outputs"], entry["status"]["status_str"]) == ({}, "success")


async def test_zero_images_succeed_with_empty_lists(comfyui: Server) -> None:
    await comfyui.order("zero-images")
    entry = await comfyui.run(plain())
    assert (entry["outputs"], entry["status"]["completed"]) == ({"3": {"images": []}}, True)


async def test_a_dropped_websocket_closes_abnormally_and_the_prompt_goes_on() -> None:
    async with serving(type="comfyui", seconds_per_task=0.2) as comfyui:
        await comfyui.order("drop-websocket")
        async with comfyui.events("me") as events:
            prompt_id = await comfyui.queue(diffusion(), client_id="me")
            while (message := await events.websocket.receive(30)).type is aiohttp.WSMsgType.TEXT:
                pass
            assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR}
            assert events.websocket.close_code == 1006
        assert await comfyui.get(f"/history/{prompt_id}") == {}
        async with comfyui.events("me") as events:
            assert (await events.next())["data"]["sid"] == "me"
            await events.until_end(prompt_id)
        assert (await comfyui.finished(prompt_id))["status"]["completed"]


async def test_a_hang_lasts_until_it_is_interrupted(comfyui: Server) -> None:
    await comfyui.order("hang")
    prompt_id = await comfyui.queue(diffusion())
    await until(lambda: comfyui.gpu.job is not None and not comfyui.gpu.job.faults, "the hang")
    assert await comfyui.get(f"/history/{prompt_id}") == {}
    await comfyui.send("POST", "/interrupt", json={"prompt_id": prompt_id})
    assert (await comfyui.finished(prompt_id))["status"]["messages"][-1][0] == "execution_interrupted"


async def test_a_hang_may_end_by_itself(comfyui: Server) -> None:
    await comfyui.order("hang", seconds=0.1)
    assert (await comfyui.run(plain()))["status"]["completed"]
    assert (await comfyui.jobs())[0]["duration"] >= 0.1


async def test_an_ignored_interrupt_changes_nothing() -> None:
    async with serving(type="comfyui", seconds_per_task=0.2) as comfyui:
        await comfyui.order("interrupt-ignored")
        prompt_id = await comfyui.queue(diffusion())
        await comfyui.running()
        await comfyui.send("POST", "/interrupt")
        assert (await comfyui.finished(prompt_id))["status"]["completed"]


@pytest.mark.parametrize("prompt", [plain(), diffusion()])
async def test_an_exit_in_the_middle_leaves_whatever_the_workflow(comfyui: Server, prompt: dict[str, object]) -> None:
    await comfyui.order("exit-in-the-middle")
    await comfyui.run(prompt)
    assert comfyui.left == [1]


@pytest.mark.parametrize("place", ["submit", "history", "view"])
async def test_garbage_comes_where_it_was_ordered(comfyui: Server, place: str) -> None:
    await comfyui.run(plain())
    await comfyui.order("garbage", at=place)
    requests = {
        "submit": ("POST", "/prompt", {"prompt": plain("again")}),
        "history": ("GET", "/history/x", None),
        "view": ("GET", "/view?filename=probe_00001_.png", None),
    }
    method, path, body = requests[place]
    status, text = await comfyui.send(method, path, json=body)
    assert (status, text[:6]) == (200, "<html>")
    assert len(await comfyui.jobs()) == 1


async def test_a_slow_response_delays_the_answer(comfyui: Server) -> None:
    await comfyui.order("slow-response", seconds=0.1)
    begin = time.monotonic()
    await comfyui.run(plain())
    assert time.monotonic() - begin >= 0.1


async def test_faults_strike_the_prompt_that_matches() -> None:
    async with serving(type="comfyui", faults=["error:match=cat"]) as comfyui:
        dog, cat = await asyncio.gather(comfyui.run(diffusion("a dog")), comfyui.run(diffusion("a cat")))
    assert (dog["status"]["completed"], cat["status"]["completed"]) == (True, False)


async def test_a_text_that_orders_an_unknown_fault_is_refused_by_name(comfyui: Server) -> None:
    workflow = diffusion("a cat [[fault:drop-websockets]]")
    status, body = await comfyui.send("POST", "/prompt", json={"prompt": workflow})
    assert (status, body["error"]["type"], body["node_errors"]) == (400, "unknown_fault", {})
    assert "did you mean 'drop-websocket'?" in body["error"]["message"]
    assert await comfyui.jobs() == []


async def test_invokeai_refuses_a_fault_of_comfyui_in_its_own_shape() -> None:
    async with serving(type="invokeai") as invokeai:
        graph = graphs.diffusion("a cat [[fault:drop-websocket]]")
        status, body = await invokeai.send(
            "POST", "/api/v1/queue/default/enqueue_batch", json={"batch": {"graph": graph}}
        )
        assert status == 400
        assert "drop-websocket is a fault of ComfyUI; this runtime plays invokeai" in body["detail"]
        assert await invokeai.jobs() == []
