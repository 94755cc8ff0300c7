"""What ComfyUI tells of prompts as jobs, and how a job is cancelled, whatever state it is in (since 0.33)."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import case, check
from tests.conformance.comfyui.client import ComfyUi, color, fresh
from tests.conformance.shapes import NOTHING, Each, OneOf
from tests.support.workflows import plain

_JOB = {
    "id": str,
    "status": OneOf("pending", "in_progress", "completed", "failed", "cancelled"),
    "create_time": int,
    "priority": float,
    "outputs_count": int,
}


@case("GET /api/jobs lists what runs, waits and has ended, newest first, in pages")
async def jobs_list(server: ComfyUi) -> None:
    await server.only_today()
    busy = await server.busy()
    ended, running = await server.submit(plain(fresh(), color=color())), await server.submit(busy)
    waiting = await server.submit(plain(fresh()))
    await server.running(running)
    answer = await server.get("/api/jobs?limit=3")
    pages = {"offset": 0, "limit": 3, "total": int, "has_more": bool}
    check("GET /api/jobs", {"jobs": Each(_JOB, least=3), "pagination": pages}, answer)
    states = {job["id"]: job["status"] for job in answer["jobs"]}
    check("the states", {ended: "completed", running: "in_progress", waiting: "pending"}, states)
    some = await server.get("/api/jobs?status=pending")
    check("those that wait", [waiting], [job["id"] for job in some["jobs"]])
    await server.command("/interrupt", {})
    await server.idle()


@case("GET /api/jobs refuses what it does not know with 400 and words")
async def jobs_refused(server: ComfyUi) -> None:
    await server.only_today()
    for query in ("status=bogus", "sort_by=bogus", "sort_order=bogus", "limit=0", "limit=x", "offset=x"):
        await server.refuses("GET", f"/api/jobs?{query}", 400, {"error": str})


@case("GET /api/jobs/{id} tells of an ended job its times, outputs, messages and workflow")
async def job_that_ended(server: ComfyUi) -> None:
    await server.only_today()
    prompt_id = await server.submit(prompt := plain(fresh(), color=color()))
    entry = await server.finished(prompt_id)
    shape = {
        **_JOB,
        "id": prompt_id,
        "status": "completed",
        "execution_start_time": int,
        "execution_end_time": int,
        "outputs_count": 1,
        "preview_output": {"filename": str, "nodeId": "3", "mediaType": "images"},
        "outputs": entry["outputs"],
        "execution_status": entry["status"],
        "workflow": {"prompt": prompt, "extra_data": {"create_time": int}},
    }
    check("GET /api/jobs/{id}", shape, await server.get(f"/api/jobs/{prompt_id}"))


@case("GET /api/jobs/{id} of an unknown job is 404 with words")
async def job_that_is_unknown(server: ComfyUi) -> None:
    await server.only_today()
    await server.refuses("GET", f"/api/jobs/{fresh()}", 404, {"error": "Job not found"})


@case("POST /api/jobs/{id}/cancel interrupts the running job, and tells so")
async def cancel_of_the_running_job(server: ComfyUi) -> None:
    await server.only_today()
    running = await server.submit(await server.busy(), client_id=fresh())
    waiting = await server.submit(plain(fresh()))
    await server.running(running)
    answer = await server.post(f"/api/jobs/{running}/cancel", None)
    check("POST /api/jobs/{id}/cancel", {"cancelled": True}, answer)
    entry = await server.finished(running)
    check("the last message", "execution_interrupted", entry["status"]["messages"][-1][0])
    check("its state", "cancelled", (await server.get(f"/api/jobs/{running}"))["status"])
    check("the one behind it", {"completed": True}, (await server.finished(waiting))["status"])


@case("POST /api/jobs/{id}/cancel takes a waiting job out of the queue, and leaves what runs")
async def cancel_of_a_waiting_job(server: ComfyUi) -> None:
    await server.only_today()
    running, waiting = await server.submit(await server.busy()), await server.submit(plain(fresh()))
    await server.running(running)
    check("the answer", {"cancelled": True}, await server.post(f"/api/jobs/{waiting}/cancel", None))
    check("the queue", ([running], []), await server.queue())
    check("status", {"completed": True}, (await server.finished(running))["status"])
    check("history of the other", NOTHING, await server.history(waiting))


@case("POST /api/jobs/{id}/cancel of an ended or unknown job is 200, says so, and touches nothing")
async def cancel_of_no_job(server: ComfyUi) -> None:
    await server.only_today()
    ended = await server.submit(plain(fresh()))
    await server.finished(ended)
    running = await server.submit(await server.busy())
    await server.running(running)
    for name in (ended, fresh(), "no-uuid"):
        check("the answer", {"cancelled": False}, await server.post(f"/api/jobs/{name}/cancel", None))
    check("status", {"completed": True}, (await server.finished(running))["status"])


@case("POST /api/jobs/cancel cancels several; ids that are none are 400, and nothing is cancelled")
async def cancel_of_several(server: ComfyUi) -> None:
    await server.only_today()
    ids = [await server.submit(await server.busy()), await server.submit(plain(fresh()))]
    await server.running(ids[0])
    wrong = {"error": str, "invalid_ids": ["no-uuid"]}
    await server.refuses("POST", "/api/jobs/cancel", 400, wrong, json={"job_ids": [*ids, "no-uuid"]})
    bodies: list[Any] = [{}, {"job_ids": "x"}, []]
    for body in bodies:
        await server.refuses("POST", "/api/jobs/cancel", 400, {"error": str}, json=body)
    check("the queue", ([ids[0]], [ids[1]]), await server.queue())
    check("the answer", {"cancelled": True}, await server.post("/api/jobs/cancel", {"job_ids": [*ids, fresh()]}))
    await server.idle()
    check("history of the one that waited", NOTHING, await server.history(ids[1]))
