"""ComfyUI: the order of events, who gets them, and what caching does to them."""

import asyncio
import json
import struct
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import aiohttp
import pytest

from tests.support.workflows import CHECKPOINT, diffusion, plain
from tests.unit.fake_runtime.support import Server, kinds, named_id, new_id, serving, until

MINE = named_id("mine")


async def test_a_prompt_runs_through_the_observed_events(comfyui: Server) -> None:
    async with comfyui.events("me") as events:
        hello = await events.next()
        assert hello == {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"}}
        prompt_id = await comfyui.queue(plain(), client_id="me")
        seen = await events.until_end(prompt_id)
    assert kinds(seen) == [
        "status",
        "status",
        "execution_start",
        "execution_cached",
        *["executing"] * 3,
        "executed",
        "execution_success",
        "status",
        "executing",
    ]
    counts = [event["data"]["status"]["exec_info"]["queue_remaining"] for event in seen if event["type"] == "status"]
    assert counts == [1, 1, 0]
    assert all("sid" not in event["data"] for event in seen if event["type"] == "status")
    executing = [event["data"] for event in seen if event["type"] == "executing"]
    assert [data["node"] for data in executing] == ["1", "2", "3", None]
    assert executing[0] == {"node": "1", "display_node": "1", "prompt_id": prompt_id}
    assert executing[-1] == {"node": None, "prompt_id": prompt_id}
    (executed,) = [event["data"] for event in seen if event["type"] == "executed"]
    image = {"filename": "probe_00001_.png", "subfolder": "", "type": "output"}
    assert executed == {"node": "3", "display_node": "3", "output": {"images": [image]}, "prompt_id": prompt_id}


async def test_progress_state_surrounds_each_node_with_a_full_snapshot(comfyui: Server) -> None:
    async with comfyui.events("me") as events:
        prompt_id = await comfyui.queue(plain(), client_id="me")
        seen = await events.until_end(prompt_id)
    snapshots = [event["data"] for event in seen if event["type"] == "progress_state"]
    states = [{node: state["state"] for node, state in data["nodes"].items()} for data in snapshots]
    assert states[0] == {"1": "running"}
    assert states[-1] == {"1": "finished", "2": "finished", "3": "finished"}
    assert snapshots[0]["nodes"]["1"] == {
        "value": 0.0,
        "max": 1.0,
        "state": "running",
        "node_id": "1",
        "prompt_id": prompt_id,
        "display_node_id": "1",
        "parent_node_id": None,
        "real_node_id": "1",
    }
    order = [event["type"] for event in seen]
    assert order[order.index("executing") - 1] == "progress_state"


async def test_a_sampler_reports_each_step(comfyui: Server) -> None:
    async with comfyui.events("me") as events:
        prompt_id = await comfyui.queue(diffusion(steps=5), client_id="me")
        seen = await events.until_end(prompt_id)
    steps = [event["data"] for event in seen if event["type"] == "progress"]
    assert steps == [{"value": n, "max": 5, "prompt_id": prompt_id, "node": "3"} for n in range(1, 6)]


async def test_history_has_the_observed_shape(comfyui: Server) -> None:
    prompt_id = await comfyui.queue(plain(), client_id="me")
    entry = await comfyui.finished(prompt_id)
    assert set(entry) == {"prompt", "outputs", "status", "meta"}
    assert entry["prompt"] == [0, prompt_id, plain(), {"client_id": "me", "create_time": ANY}, ["3"]]
    assert entry["outputs"] == {"3": {"images": [{"filename": "probe_00001_.png", "subfolder": "", "type": "output"}]}}
    assert entry["meta"] == {"3": {"node_id": "3", "display_node": "3", "parent_node": None, "real_node_id": "3"}}
    status = entry["status"]
    assert (status["status_str"], status["completed"]) == ("success", True)
    assert [name for name, _ in status["messages"]] == ["execution_start", "execution_cached", "execution_success"]
    assert all(data["timestamp"] > 10**12 for _, data in status["messages"])


async def test_history_is_empty_before_the_end_and_written_before_the_last_event() -> None:
    async with serving(type="comfyui", seconds_per_task=0.1) as comfyui, comfyui.events("me") as events:
        prompt_id = await comfyui.queue(plain(), client_id="me")
        assert await comfyui.get(f"/history/{prompt_id}") == {}
        await events.until_end(prompt_id)
        assert prompt_id in await comfyui.get(f"/history/{prompt_id}")


# --- caching


async def test_a_rerun_is_cached_and_shows_the_old_file(comfyui: Server, tmp_path: Path) -> None:
    first = await comfyui.run(plain())
    async with comfyui.events("me") as events:
        prompt_id = await comfyui.queue(plain(), client_id="me")
        seen = await events.until_end(prompt_id)
    (cached,) = [event["data"]["nodes"] for event in seen if event["type"] == "execution_cached"]
    assert cached == ["1", "2", "3"]
    (executed,) = [event["data"] for event in seen if event["type"] == "executed"]
    assert executed["output"] == first["outputs"]["3"]
    assert [event["data"]["node"] for event in seen if event["type"] == "executing"] == [None]
    assert (await comfyui.finished(prompt_id))["outputs"] == first["outputs"]
    assert len(list((tmp_path / "output").iterdir())) == 1
    assert [job["cached"] for job in await comfyui.jobs()] == [False, True]


async def test_only_what_changed_runs_again(comfyui: Server) -> None:
    await comfyui.run(diffusion(seed=1))
    entry = await comfyui.run(diffusion(seed=2))
    cached = dict(entry["status"]["messages"])["execution_cached"]["nodes"]
    assert set(cached) == {"4", "5", "6", "7"}
    assert entry["outputs"]["9"]["images"][0]["filename"] == "ComfyUI_00002_.png"


async def test_the_cache_remembers_the_last_prompt_only(comfyui: Server) -> None:
    for prompt in (plain("a"), diffusion(), plain("a")):
        entry = await comfyui.run(prompt)
    assert dict(entry["status"]["messages"])["execution_cached"]["nodes"] == []


async def test_freeing_memory_empties_the_cache_and_unloads_the_model(comfyui: Server) -> None:
    def models() -> list[str]:
        return [model for model in [comfyui.gpu.model] if model is not None]

    await comfyui.run(diffusion())
    assert models() == [CHECKPOINT]
    await comfyui.send("POST", "/free", json={"unload_models": True})
    assert models() == []
    assert dict((await comfyui.run(diffusion()))["status"]["messages"])["execution_cached"]["nodes"] != []
    await comfyui.send("POST", "/free", json={"free_memory": True})
    assert dict((await comfyui.run(diffusion()))["status"]["messages"])["execution_cached"]["nodes"] == []


async def test_a_changed_input_file_is_no_longer_cached(comfyui: Server, tmp_path: Path) -> None:
    await comfyui.run(plain("red", color=0xFF0000))
    await comfyui.run(plain("blue", color=0x0000FF))
    saved = sorted((tmp_path / "output").iterdir())
    loader = plain()
    loader["1"] = {"class_type": "LoadImage", "inputs": {"image": "up.png"}}
    names = []
    for path in saved:
        await comfyui.upload(path.read_bytes(), "up.png", overwrite="true")
        entry = await comfyui.run(loader)
        names.append(entry["outputs"]["3"]["images"][0]["filename"])
    assert len(set(names)) == 2


# --- who gets what


async def test_events_go_to_the_client_that_asked_and_status_to_all(comfyui: Server) -> None:
    async with comfyui.events("me") as mine, comfyui.events("other") as others:
        prompt_id = await comfyui.queue(plain(), client_id="me")
        await mine.until_end(prompt_id)
        seen = await others.until("status", status={"exec_info": {"queue_remaining": 0}})
        seen += await others.until("status", status={"exec_info": {"queue_remaining": 0}})
    assert set(kinds(seen)) == {"status"}
    assert "progress_state" not in {event["type"] for event in seen}


async def test_without_a_client_id_everybody_gets_progress_and_nobody_the_rest(comfyui: Server) -> None:
    async with comfyui.events("me") as events:
        await events.next()
        await comfyui.run(plain())
        seen = await events.until("status", status={"exec_info": {"queue_remaining": 0}})
    assert {event["type"] for event in seen} == {"status", "progress_state"}


async def test_a_client_that_comes_back_is_told_the_running_node() -> None:
    async with serving(type="comfyui", seconds_per_task=0.5) as comfyui:
        async with comfyui.events("me") as events:
            prompt_id = await comfyui.queue(diffusion(), client_id="me")
            await events.until("executing", node="3")
        async with comfyui.events("me") as events:
            hello = [await events.next() for _ in range(2)]
            assert hello[0]["data"]["sid"] == "me"
            assert hello[1] == {"type": "executing", "data": {"node": "3"}}
            seen = await events.until_end(prompt_id)
        assert "execution_success" in kinds(seen)
        async with comfyui.events("me") as events:
            await events.next()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await events.next()


async def test_of_two_sockets_with_one_id_the_newer_gets_everything(comfyui: Server) -> None:
    async with comfyui.events("me") as older, comfyui.events("me") as newer:
        await older.next()
        prompt_id = await comfyui.queue(plain(), client_id="me")
        await newer.until_end(prompt_id)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await older.next()
        assert not older.websocket.closed


async def test_a_client_without_an_id_is_given_one(comfyui: Server) -> None:
    async with comfyui.events() as events:
        sid = (await events.next())["data"]["sid"]
        assert len(sid) == 32
        prompt_id = await comfyui.queue(plain(), client_id=sid)
        await events.until_end(prompt_id)


async def test_feature_flags_are_answered_when_they_come_first(comfyui: Server) -> None:
    flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
    async with comfyui.events("me") as events:
        await events.next()
        await events.websocket.send_json(flags)
        answer = await events.next()
        assert answer["type"] == "feature_flags"
        assert answer["data"]["supports_preview_metadata"] is True
        await events.websocket.send_str("no json")
        await events.websocket.send_json(flags)
        prompt_id = await comfyui.queue(plain(), client_id="me")
        assert "feature_flags" not in kinds(await events.until_end(prompt_id))


async def frames(comfyui: Server, *, flags: bool) -> list[bytes]:
    client_id = new_id()
    async with comfyui.session.ws_connect(f"{comfyui.url}/ws?clientId={client_id}") as websocket:
        if flags:
            await websocket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
            while json.loads((await websocket.receive()).data)["type"] != "feature_flags":
                pass
        await comfyui.queue(diffusion(client_id), client_id=client_id)
        found = []
        async for message in websocket:
            if message.type == aiohttp.WSMsgType.BINARY:
                found.append(message.data)
            elif json.loads(message.data)["data"].get("node", ...) is None:
                return found
    raise AssertionError("the socket closed early")


async def test_previews_are_binary_frames_in_the_form_the_client_understands(tmp_path: Path) -> None:
    async with serving(tmp_path, type="comfyui", previews=True) as comfyui:
        simple = await frames(comfyui, flags=False)
        assert len(simple) == 4
        assert struct.unpack(">II", simple[0][:8]) == (1, 1)
        assert simple[0][8:11] == b"\xff\xd8\xff"
        kind, length = struct.unpack(">II", (await frames(comfyui, flags=True))[0][:8])
        detailed = (await frames(comfyui, flags=True))[0]
        kind, length = struct.unpack(">II", detailed[:8])
        metadata: dict[str, Any] = json.loads(detailed[8 : 8 + length])
        assert kind == 4
        assert (metadata["node_id"], metadata["image_type"]) == ("3", "image/jpeg")
        assert detailed[8 + length :][:3] == b"\xff\xd8\xff"


async def test_every_route_is_there_under_api_too(comfyui: Server) -> None:
    async with comfyui.events("me", "/api/ws") as events:
        answer = await comfyui.post("/api/prompt", {"prompt": plain(), "client_id": "me"})
        await events.until_end(answer["prompt_id"])
    assert await comfyui.get(f"/api/history/{answer['prompt_id']}")
    for path in ("queue", "system_stats", "object_info", "features", "models", "prompt"):
        assert await comfyui.get(f"/api/{path}")


# --- errors and interrupts


async def test_a_failing_node_ends_the_prompt_with_its_exception(comfyui: Server) -> None:
    assert await comfyui.upload(b"no image", "bad.png") == (200, {"name": "bad.png", "subfolder": "", "type": "input"})
    prompt = plain()
    prompt["1"] = {"class_type": "LoadImage", "inputs": {"image": "bad.png"}}
    async with comfyui.events("me") as events:
        prompt_id = await comfyui.queue(prompt, client_id="me")
        seen = await events.until_end(prompt_id)
    assert kinds(seen)[-3:] == ["execution_error", "status", "executing"]
    error = next(event["data"] for event in seen if event["type"] == "execution_error")
    assert set(error) == {
        *("prompt_id", "node_id", "node_type", "executed", "exception_message", "exception_type", "traceback"),
        *("current_inputs", "current_outputs", "timestamp"),
    }
    assert (error["node_id"], error["node_type"], error["executed"]) == ("1", "LoadImage", [])
    assert error["exception_type"] == "PIL.UnidentifiedImageError"
    assert error["exception_message"].startswith("cannot identify image file '/")
    assert error["exception_message"].endswith("bad.png'\n")
    assert error["current_inputs"] == {"image": ["bad.png"]}
    status = (await comfyui.finished(prompt_id))["status"]
    assert (status["status_str"], status["completed"], status["messages"][-1][0]) == ("error", False, "execution_error")
    assert [job["outcome"] for job in await comfyui.jobs()] == ["failed"]


async def test_saving_outside_the_output_folder_fails_when_it_runs(comfyui: Server, tmp_path: Path) -> None:
    entry = await comfyui.run(plain("../../../evil"))
    name, data = entry["status"]["messages"][-1]
    assert (name, data["exception_type"]) == ("execution_error", "Exception")
    assert data["exception_message"].startswith("**** ERROR: Saving image outside the output folder is not allowed.")
    assert not list(tmp_path.parent.glob("evil*"))


async def test_too_large_a_batch_runs_out_of_memory(comfyui: Server) -> None:
    entry = await comfyui.run(diffusion(width=2048, height=2048, batch_size=4))
    name, data = entry["status"]["messages"][-1]
    assert (name, data["node_type"], data["exception_type"]) == (
        "execution_error",
        "KSampler",
        "torch.OutOfMemoryError",
    )
    assert "Allocation on device" in data["exception_message"]
    assert [job["outcome"] for job in await comfyui.jobs()] == ["out-of-memory"]
    assert (await comfyui.run(diffusion()))["status"]["completed"]


@pytest.mark.parametrize("body", [{}, None, {"prompt_id": MINE}])
async def test_an_interrupt_stops_the_sampler_between_steps(body: dict[str, str] | None) -> None:
    async with serving(type="comfyui", seconds_per_task=30) as comfyui, comfyui.events("me") as events:
        await comfyui.queue(diffusion(steps=1000), client_id="me", prompt_id=MINE)
        await events.until("progress")
        assert await comfyui.send("POST", "/interrupt", json=body if body is not None else {}) == (200, "")
        seen = await events.until_end(MINE)
        interrupted = next(event["data"] for event in seen if event["type"] == "execution_interrupted")
        assert set(interrupted) == {"prompt_id", "node_id", "node_type", "executed", "timestamp"}
        assert (interrupted["node_id"], interrupted["node_type"]) == ("3", "KSampler")
        assert sorted(interrupted["executed"]) == ["4", "5", "6", "7"]
        assert "execution_success" not in kinds(seen)
        entry = await comfyui.finished(MINE)
    assert (entry["status"]["status_str"], entry["status"]["completed"], entry["outputs"]) == ("error", False, {})
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


async def test_an_interrupt_of_a_waiting_prompt_does_nothing() -> None:
    async with serving(type="comfyui", seconds_per_task=0.15) as comfyui:
        first = await comfyui.queue(plain("a"))
        second = await comfyui.queue(plain("b"))
        assert await comfyui.send("POST", "/interrupt", json={"prompt_id": second}) == (200, "")
        for prompt_id in (first, second):
            assert (await comfyui.finished(prompt_id))["status"]["completed"]


async def test_an_interrupt_while_idle_does_not_touch_the_next_prompt(comfyui: Server) -> None:
    assert await comfyui.send("POST", "/interrupt") == (200, "")
    assert (await comfyui.run(plain()))["status"]["completed"]


async def test_a_node_without_steps_notices_an_interrupt_when_it_is_through() -> None:
    async with serving(type="comfyui", seconds_per_task=0.3) as comfyui:
        prompt_id = await comfyui.queue(plain())
        await comfyui.running()
        await comfyui.send("POST", "/interrupt")
        entry = await comfyui.finished(prompt_id)
        name, data = entry["status"]["messages"][-1]
    assert (name, data["node_id"], data["executed"]) == ("execution_interrupted", "2", ["1"])


async def test_an_interrupt_of_a_prompt_without_client_is_told_to_everybody() -> None:
    async with serving(type="comfyui", seconds_per_task=30) as comfyui, comfyui.events("me") as events:
        await comfyui.queue(diffusion())
        await until(lambda: comfyui.gpu.job is not None, "a running job")
        await comfyui.send("POST", "/interrupt")
        await events.until("execution_interrupted")
