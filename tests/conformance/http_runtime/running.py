"""How a runtime of one's own runs tasks, tells of them, stops them and refuses them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from contextlib import suppress

from tests.conformance.case import Case, case, check
from tests.conformance.http_runtime.client import ERROR, HttpRuntime, new_id
from tests.conformance.server import Reply
from tests.conformance.shapes import Each

_OUTPUTS = {"status": 200, "body": {"outputs": Each({"data": str}, least=1)}}
_CANCELLED = {"status": 409, "body": {"error": {"code": "cancelled", "message": str}}}
_UNKNOWN = {"status": 404, "body": ERROR}


@case("GET /health answers 200 with the status ready")
async def health(server: HttpRuntime) -> None:
    check("GET /health", {"status": "ready"}, await server.get("/health"))


@case("POST /runs/{id} answers when the run has ended, with its outputs as base64")
async def run_answers_with_outputs(server: HttpRuntime) -> None:
    reply = await server.run(new_id())
    check("POST /runs/{id}", _OUTPUTS, reply.shown())
    sizes = [len(base64.b64decode(output["data"], validate=True)) for output in reply.body["outputs"]]
    check("no output is empty", True, all(sizes))


@case("the same id can run again once it has ended")
async def id_runs_again(server: HttpRuntime) -> None:
    name = new_id()
    for _ in range(2):
        check("POST /runs/{id}", _OUTPUTS, (await server.run(name)).shown())


@case("GET /runs/{id} tells of the progress between 0 and 1, which never falls, and is 404 before and after")
async def progress_of_a_run(server: HttpRuntime) -> None:
    name = new_id()
    check("before", _UNKNOWN, (await server.progress(name)).shown())
    run = server.begin(name)
    values = [await server.moving(name)]
    while not run.done():
        reply = await server.progress(name)
        if reply.status == 200:
            values.append(reply.body["progress"])
        await asyncio.sleep(0.05)
    check("the values", sorted(values), values)
    check("they lie between 0 and 1", True, values[0] >= 0 and values[-1] <= 1)
    check("POST /runs/{id}", _OUTPUTS, (await run).shown())
    check("after", _UNKNOWN, (await server.progress(name)).shown())


@case("GET /runs lists the runs that are here, those that wait among them, and no other; or it is 404 always")
async def lists_its_runs(server: HttpRuntime) -> None:
    names = [new_id() for _ in range(2)]
    check("before", [], [run for run in await server.listed() if run in names])
    runs = []
    for name in names:
        runs.append(server.begin(name))
        await server.here(name)
    await server.moving(names[0])
    check("meanwhile", names, [name for name in names if name in await server.listed()])
    for run in runs:
        check("POST /runs/{id}", _OUTPUTS, (await run).shown())
    check("after", [], [run for run in await server.listed() if run in names])


@case("GET /health answers while a task runs")
async def health_during_a_run(server: HttpRuntime) -> None:
    name = new_id()
    run = server.begin(name)
    await server.moving(name)
    check("GET /health", 200, (await server.send("GET", "/health", timeout=5)).status)
    check("it still runs", False, run.done())
    check("POST /runs/{id}", _OUTPUTS, (await run).shown())


@case("tasks run one at a time, in the order of their arrival; the callers wait")
async def one_at_a_time(server: HttpRuntime) -> None:
    names = [new_id() for _ in range(3)]
    ended: list[str] = []

    async def run(name: str) -> Reply:
        reply = await server.run(name)
        ended.append(name)
        return reply

    async with asyncio.TaskGroup() as group:
        runs = []
        for name in names:
            runs.append(group.create_task(run(name)))
            await server.here(name)
        await server.moving(names[0])
        waiting = [(await server.progress(name)).body["progress"] for name in names[1:]]
    check("the progress of those that wait", [0, 0], [int(value * 100) for value in waiting])
    for task in runs:
        check("POST /runs/{id}", _OUTPUTS, task.result().shown())
    check("the order of the ends", names, ended)


@case("DELETE /runs/{id} stops a run: 204, and its POST answers 409 with the code cancelled")
async def cancel_running(server: HttpRuntime) -> None:
    name = new_id()
    run = server.begin(name)
    await server.moving(name)
    check("DELETE /runs/{id}", 204, (await server.cancel(name)).status)
    check("POST /runs/{id}", _CANCELLED, (await run).shown())
    await server.gone(name)


@case("DELETE of a run that waits takes it away, and leaves the one that runs")
async def cancel_waiting(server: HttpRuntime) -> None:
    first, second = new_id(), new_id()
    running = server.begin(first)
    await server.moving(first)
    waiting = server.begin(second)
    await server.here(second)
    check("DELETE /runs/{id}", 204, (await server.cancel(second)).status)
    check("POST of the one that waited", _CANCELLED, (await waiting).shown())
    check("POST of the one that ran", _OUTPUTS, (await running).shown())


@case("DELETE of an unknown run is 404, and stops nothing")
async def cancel_unknown(server: HttpRuntime) -> None:
    name = new_id()
    run = server.begin(name)
    await server.moving(name)
    check("DELETE /runs/{id}", _UNKNOWN, (await server.cancel(new_id())).shown())
    check("POST /runs/{id}", _OUTPUTS, (await run).shown())


@case("after a cancellation the next task runs as ever")
async def run_after_a_cancellation(server: HttpRuntime) -> None:
    name = new_id()
    run = server.begin(name)
    await server.moving(name)
    await server.cancel(name)
    await run
    check("POST /runs/{id}", _OUTPUTS, (await server.run(new_id())).shown())


@case("a run whose caller has hung up can still be stopped by its id")
async def cancel_after_a_hang_up(server: HttpRuntime) -> None:
    name = new_id()
    run = server.begin(name)
    await server.moving(name)
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run
    await server.cancel(name)
    await server.gone(name)
    check("POST /runs/{id}", _OUTPUTS, (await server.run(new_id())).shown())


@case("a run whose caller has hung up is listed until it has ended")
async def hung_up_runs_are_listed(server: HttpRuntime) -> None:
    name = new_id()
    await server.listed()
    run = server.begin(name)
    await server.moving(name)
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run
    is_listed = name in await server.listed()
    check("it is listed", True, is_listed or (await server.progress(name)).status == 404)
    await server.cancel(name)
    await server.gone(name)
    check("it is listed once it is gone", False, name in await server.listed())


@case("a second POST with the id of a run that is here is 409")
async def same_id_at_once(server: HttpRuntime) -> None:
    name = new_id()
    run = server.begin(name)
    await server.here(name)
    check("the second", {"status": 409, "body": ERROR}, (await server.run(name)).shown())
    check("the first", _OUTPUTS, (await run).shown())


@case("unknown fields of the task and of its content are ignored")
async def unknown_fields(server: HttpRuntime) -> None:
    task = {**server.task, "no_such_field": 1, "content": {**server.task["content"], "no_such_field": [1]}}
    reply = await server.send("POST", f"/runs/{new_id()}", json=task, timeout=120)
    check("POST /runs/{id}", _OUTPUTS, reply.shown())


@case("a content of ten megabytes, as inputs are, is taken")
async def large_content(server: HttpRuntime) -> None:
    task = {**server.task, "content": {**server.task["content"], "an_image": "A" * 10_000_000}}
    body = io.BytesIO(json.dumps(task).encode())
    reply = await server.send("POST", f"/runs/{new_id()}", data=body, timeout=120)
    check("POST /runs/{id}", _OUTPUTS, reply.shown())


def _refusal(name: str, data: bytes) -> Case:
    async def refused(server: HttpRuntime) -> None:
        await server.refuses("POST", f"/runs/{new_id()}", 400, ERROR, data=data)

    return Case(f"refuses-{name}", f"POST with {data.decode() or 'no body'} is 400 with an error's shape", refused)


REFUSALS = (
    _refusal("malformed-json", b"{"),
    _refusal("an-empty-body", b""),
    _refusal("a-list", b"[]"),
    _refusal("a-task-without-content", b'{"type": "text-to-image"}'),
    _refusal("a-content-that-is-text", b'{"type": "text-to-image", "content": "a dog"}'),
)


@case("what is refused leaves no run")
async def refused_leaves_nothing(server: HttpRuntime) -> None:
    name = new_id()
    await server.refuses("POST", f"/runs/{name}", 400, ERROR, data=b"{")
    check("GET /runs/{id}", _UNKNOWN, (await server.progress(name)).shown())
