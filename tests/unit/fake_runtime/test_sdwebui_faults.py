"""SD Web UI: faults that are ordered by name."""

import asyncio
import time
from typing import Any

import pytest
from PIL import Image

from tests.unit.fake_runtime.support import Server, encode, serving, until

SMALL: dict[str, Any] = {"prompt": "a dog", "width": 64, "height": 64, "steps": 4}


async def test_an_error_strikes_as_often_as_ordered(webui: Server) -> None:
    await webui.order("error", count=2, status=503, message="no luck")
    answers = [await webui.send("POST", "/sdapi/v1/txt2img", json=SMALL) for _ in range(3)]
    assert [status for status, _ in answers] == [503, 503, 200]
    assert answers[0][1] == {"error": "RuntimeError", "detail": "", "body": "", "errors": "no luck"}
    assert [job["outcome"] for job in await webui.jobs()] == ["failed", "failed", "succeeded"]


async def test_an_error_may_be_plain_text(webui: Server) -> None:
    await webui.order("error", body="text")
    assert await webui.send("POST", "/sdapi/v1/txt2img", json=SMALL) == (500, "Internal Server Error")


async def test_a_prompt_may_order_its_own_fault(webui: Server) -> None:
    prompt = "a dog [[fault:out-of-memory]]"
    status, body = await webui.send("POST", "/sdapi/v1/txt2img", json={**SMALL, "prompt": prompt})
    assert (status, body["error"]) == (500, "OutOfMemoryError")
    assert (await webui.send("POST", "/sdapi/v1/txt2img", json=SMALL))[0] == 200


async def test_a_hang_lasts_until_it_is_interrupted(webui: Server) -> None:
    await webui.order("hang")
    request = asyncio.create_task(webui.generate(**SMALL))
    await until(lambda: webui.gpu.job is not None and not webui.gpu.job.faults, "the hang")
    assert not request.done()
    await webui.post("/sdapi/v1/interrupt", None)
    assert len((await request)["images"]) == 1


async def test_an_ignored_interrupt_changes_nothing() -> None:
    async with serving(seconds_per_task=0.2) as webui:
        await webui.order("interrupt-ignored")
        request = asyncio.create_task(webui.generate(**SMALL))
        await webui.running()
        await webui.post("/sdapi/v1/interrupt", None)
        await request
        (job,) = await webui.jobs()
    assert (job["outcome"], job["faults"]) == ("succeeded", ["interrupt-ignored"])
    assert job["duration"] >= 0.19


async def test_an_exit_in_the_middle_leaves_with_its_status(webui: Server) -> None:
    await webui.order("exit-in-the-middle", status=9)
    await webui.generate(**SMALL)
    assert webui.left == [9]


async def test_zero_images_come_with_200(webui: Server) -> None:
    await webui.order("zero-images", count=2)
    assert (await webui.generate(**SMALL))["images"] == []
    image = encode(Image.new("RGB", (8, 8)))
    assert (await webui.post("/sdapi/v1/extra-single-image", {"image": image}))["image"] == ""


async def test_garbage_is_no_json(webui: Server) -> None:
    await webui.order("garbage")
    status, body = await webui.send("POST", "/sdapi/v1/txt2img", json=SMALL)
    assert (status, body[:6]) == (200, "<html>")


async def test_a_slow_response_holds_the_answer_and_not_the_gpu(webui: Server) -> None:
    await webui.order("slow-response", seconds=1)
    begin = time.monotonic()
    await asyncio.gather(webui.generate(**SMALL), webui.generate(**SMALL))
    assert time.monotonic() - begin >= 1 > webui.gpu.busy_seconds


async def test_faults_are_listed_and_cleared(webui: Server) -> None:
    await webui.order("error", count="forever")
    ordered = await webui.order("hang", count=3, match="cat")
    assert ordered == {
        "id": 2,
        "name": "hang",
        "count": 3,
        "after": 0,
        "body": "json",
        "match": "cat",
        "left": 3,
        "struck": 0,
    }
    assert [fault["name"] for fault in await webui.get("/fake/faults")] == ["error", "hang"]
    assert await webui.send("DELETE", "/fake/faults/1") == (200, {"removed": 1})
    assert await webui.send("DELETE", "/fake/faults") == (200, {"removed": 1})
    assert await webui.get("/fake/faults") == []


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ({"name": "explode"}, "'hang'"),
        ({"name": "hang", "colour": "red"}, "options: name"),
        ({"name": "drop-websocket"}, "is a fault of ComfyUI"),
        ({"name": "dead-start"}, "must be ordered at the start"),
        ([], "valid dictionary"),
    ],
)
async def test_a_wrong_order_is_refused_with_the_way_out(webui: Server, order: object, told: str) -> None:
    status, body = await webui.send("POST", "/fake/faults", json=order)
    assert status == 400
    assert told in body["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json", "Origin": "http://evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "application/json", "Host": "evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "http://localhost:5173", "Host": "localhost"}, 201),
    ],
)
async def test_a_page_of_another_site_cannot_order_a_crash(webui: Server, headers: dict[str, str], status: int) -> None:
    order = b'{"name": "exit-in-the-middle"}'
    answered, _ = await webui.send("POST", "/fake/faults", data=order, headers=headers)
    assert answered == status
    assert len(await webui.get("/fake/faults")) == (status == 201)


async def test_a_page_of_another_site_cannot_use_the_real_servers_routes(webui: Server) -> None:
    status, body = await webui.send("POST", "/sdapi/v1/interrupt", headers={"Origin": "http://evil.example"})
    assert (status, body["error"]["code"]) == (403, "host_not_allowed")


async def test_metrics_count_busy_seconds_jobs_loads_and_memory() -> None:
    async with serving(seconds_per_task=0.05) as webui:
        for _ in range(2):
            await webui.generate(**SMALL)
        await webui.post("/sdapi/v1/options", {"sd_model_checkpoint": "sd_xl_base_1.0"})
        _, text = await webui.send("GET", "/metrics")
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert 0.099 <= float(lines["fake_runtime_gpu_busy_seconds_total"]) < 1
    assert float(lines['fake_runtime_jobs_total{kind="txt2img",outcome="succeeded"}']) == 2
    assert float(lines['fake_runtime_model_loads_total{model="sd_xl_base_1.0.safetensors"}']) == 1
    assert float(lines["fake_runtime_vram_used_bytes"]) == pytest.approx(6.5 * 1024**3)


async def test_jobs_tell_what_was_asked_and_how_it_ended(webui: Server) -> None:
    await webui.generate(**SMALL, force_task_id="task-1", n_iter=2)
    (job,) = await webui.jobs()
    assert (job["id"], job["kind"], job["prompt"], job["images"]) == ("task-1", "txt2img", "a dog", 2)
    assert job["finished"] >= job["started"]
    assert await webui.send("DELETE", "/fake/jobs") == (200, {"removed": 1})
    assert await webui.jobs() == []


async def test_a_prompt_that_orders_an_unknown_fault_is_refused_by_name_and_makes_no_image(webui: Server) -> None:
    status, body = await webui.send(
        "POST", "/sdapi/v1/txt2img", json={"prompt": "a dog [[fault:out-of-mem]]", "steps": 4}
    )
    assert (status, body["error"]) == (400, "FaultError")
    assert "[[fault:out-of-mem]] in the prompt" in body["errors"]
    assert "did you mean 'out-of-memory'?" in body["errors"]
    assert await webui.jobs() == []
