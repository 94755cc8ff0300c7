"""How prompts are stopped: interrupts, deletions, and what does nothing."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Mark, case, check
from tests.conformance.comfyui.client import ComfyUi, color, fresh, pause
from tests.conformance.shapes import NOTHING, Each
from tests.support.workflows import plain

_INTERRUPTED = {"status_str": "error", "completed": False}


def last_message(entry: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns the last message of a history."""
    name, data = entry["status"]["messages"][-1]
    return name, data


@case("an interrupt that names the running prompt stops it between two nodes")
async def interrupt_of_the_running_prompt(server: ComfyUi) -> None:
    name = fresh()
    async with server.events(name) as events:
        prompt_id = await server.submit(await server.busy(), client_id=name)
        await events.until("executing", node="b0", prompt_id=prompt_id)
        await server.command("/interrupt", {"prompt_id": prompt_id})
        seen = await events.until("executing", node=None, prompt_id=prompt_id)
    kinds = [message["type"] for message in seen]
    check("execution_success", False, "execution_success" in kinds)
    (data,) = [message["data"] for message in seen if message["type"] == "execution_interrupted"]
    shape = {"prompt_id": prompt_id, "node_id": str, "node_type": "ImageBlur", "executed": Each(str, least=1)}
    check("execution_interrupted", {**shape, "timestamp": int}, data)
    entry = await server.finished(prompt_id)
    check("the status in the history is an error's", _INTERRUPTED, entry["status"])
    check("the outputs", NOTHING, entry["outputs"])
    check("only its last message tells", "execution_interrupted", last_message(entry)[0])


@case("an interrupt that names a waiting prompt does nothing")
async def interrupt_of_a_waiting_prompt(server: ComfyUi) -> None:
    running = await server.submit(await server.busy())
    waiting = await server.submit(plain(fresh()))
    await server.running(running)
    await server.command("/interrupt", {"prompt_id": waiting})
    for prompt_id in (running, waiting):
        check("status", {"completed": True}, (await server.finished(prompt_id))["status"])


@case("an interrupt that names an unknown prompt does nothing")
async def interrupt_of_an_unknown_prompt(server: ComfyUi) -> None:
    running = await server.submit(await server.busy())
    await server.running(running)
    await server.command("/interrupt", {"prompt_id": fresh()})
    check("status", {"completed": True}, (await server.finished(running))["status"])


@case("an interrupt without an id stops whatever runs, another client's prompt too")
async def bare_interrupt(server: ComfyUi) -> None:
    bodies: list[dict[str, Any]] = [{"json": {}}, {"data": b""}]
    for options in bodies:
        running = await server.submit(await server.busy(), client_id="somebody")
        await server.running(running)
        await server.command("/interrupt", **options)
        entry = await server.finished(running)
        check("the last message", "execution_interrupted", last_message(entry)[0])


@case("an interrupt while nothing runs does not touch the next prompt")
async def idle_interrupt(server: ComfyUi) -> None:
    await server.idle()
    await server.command("/interrupt", {})
    check("status", {"completed": True}, (await server.run(plain(fresh())))["status"])


@case("of an interrupted prompt without a client everybody is told")
async def interrupt_without_client(server: ComfyUi) -> None:
    async with server.events(fresh()) as events:
        prompt_id = await server.submit(await server.busy())
        await server.running(prompt_id)
        await server.command("/interrupt", {"prompt_id": prompt_id})
        await events.until("execution_interrupted", prompt_id=prompt_id)
    await server.idle()


@case("a sampler stops between two steps", Mark.NEEDS_MODEL)
async def interrupt_of_a_sampler(server: ComfyUi) -> None:
    name = fresh()
    async with server.events(name) as events:
        prompt_id = await server.submit(await server.sampling("a wolf", steps=500), client_id=name)
        await events.until("progress", prompt_id=prompt_id)
        await server.command("/interrupt", {"prompt_id": prompt_id})
        await events.until("executing", node=None, prompt_id=prompt_id)
    what, data = last_message(await server.finished(prompt_id))
    check("the last message", "execution_interrupted", what)
    check("where it stopped", {"node_id": "3", "node_type": "KSampler"}, data)


@case("a waiting prompt that is deleted leaves no event and no history")
async def delete_waiting(server: ComfyUi) -> None:
    name = fresh()
    async with server.events(name) as events:
        running = await server.submit(await server.busy())
        await server.running(running)
        waiting = await server.submit(plain(fresh()), client_id=name)
        await server.command("/queue", {"delete": [waiting]})
        check("what waits", [], (await server.queue())[1])
        await server.command("/interrupt", {})
        await server.idle()
        marker = await server.submit(plain(fresh(), color=color()), client_id=name)
        seen = await events.until("executing", node=None, prompt_id=marker)
    check("events of it", [], [message for message in seen if message["data"].get("prompt_id") == waiting])
    check("history of it", NOTHING, await server.history(waiting))


@case("deleting the running prompt, or an unknown one, does nothing")
async def delete_running(server: ComfyUi) -> None:
    running = await server.submit(await server.busy())
    await server.running(running)
    await server.command("/queue", {"delete": [running, fresh()]})
    check("status", {"completed": True}, (await server.finished(running))["status"])


@case('{"clear": true} empties what waits, and leaves what runs')
async def clear_queue(server: ComfyUi) -> None:
    running = await server.submit(await server.busy())
    await server.running(running)
    waiting = [await server.submit(plain(fresh())) for _ in range(2)]
    await server.command("/queue", {"clear": True})
    check("what waits", [], (await server.queue())[1])
    check("status", {"completed": True}, (await server.finished(running))["status"])
    await pause()
    for prompt_id in waiting:
        check("history", NOTHING, await server.history(prompt_id))


@case("a list as a command for the queue or the history is 200, and does nothing")
async def list_as_command(server: ComfyUi) -> None:
    for path in ("/queue", "/history"):
        await server.command(path, [])


@case("POST /interrupt, /queue, /history and /free answer 200 with nothing, not even a content type")
async def commands_answer_nothing(server: ComfyUi) -> None:
    await server.idle()
    for path in ("/interrupt", "/queue", "/history", "/free"):
        await server.command(path, {})
