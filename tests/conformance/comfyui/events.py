"""What ComfyUI sends over its WebSocket: which events, in which order, and to whom; and what it caches."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

from tests.conformance.case import Mark, NotApplicableError, case, check
from tests.conformance.comfyui.client import ComfyUi, color, fresh, pause
from tests.conformance.server import Events
from tests.conformance.shapes import ANY, UUID, Each, OneOf, Only
from tests.support.workflows import plain

type Messages = list[dict[str, Any]]


def of(messages: Messages, prompt_id: str, *kinds: str) -> Messages:
    """Returns the messages of a prompt, of these kinds only if any are named."""
    return [
        message
        for message in messages
        if message["data"].get("prompt_id") == prompt_id and (not kinds or message["type"] in kinds)
    ]


def kinds_of(messages: Messages) -> list[str]:
    """Returns the kinds in order, without `progress_state`."""
    return [message["type"] for message in messages if message["type"] != "progress_state"]


async def run(server: ComfyUi, prompt: dict[str, Any], client_id: str = "") -> tuple[str, Messages]:
    """Runs a prompt with a socket open; returns its id and all that came, up to the last event."""
    client_id = client_id or fresh()
    async with server.events(client_id) as events:
        answer = await server.post("/prompt", {"prompt": prompt, "client_id": client_id})
        return answer["prompt_id"], await events.until("executing", node=None, prompt_id=answer["prompt_id"])


async def silent(events: Events) -> bool:
    """Tells whether no message comes for a moment."""
    try:
        async with asyncio.timeout(0.3):
            await events.next()
    except TimeoutError:
        return True
    return False


@case("a socket is greeted with a status that names its sid, which no other status does")
async def greeting(server: ComfyUi) -> None:
    name = fresh()
    async with server.socket(f"/ws?clientId={name}") as events:
        shape = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": int}}, "sid": name}}
        check("the first message", shape, await events.next())
        await server.submit(plain(fresh()))
        later = (await events.until("status"))[-1]
        check("a later status", {"data": Only({"status": {"exec_info": {"queue_remaining": int}}})}, later)
    await server.idle()


@case("a socket without a clientId is given one")
async def socket_without_id(server: ComfyUi) -> None:
    async with server.socket("/ws") as events:
        hello = await events.next()
        check("the greeting", {"data": {"sid": UUID}}, hello)
        answer = await server.post("/prompt", {"prompt": plain(fresh()), "client_id": hello["data"]["sid"]})
        await events.until("executing", node=None, prompt_id=answer["prompt_id"])


@case("one prompt's events come in one order, and execution_success before the executing without a node")
async def order_of_events(server: ComfyUi) -> None:
    prompt_id, seen = await run(server, plain(fresh(), color=color()))
    order = [
        (message["type"], message["data"].get("node", message["data"].get("nodes")))
        for message in of(seen, prompt_id)
        if message["type"] != "progress_state"
    ]
    expected: list[tuple[str, Any]] = [
        ("execution_start", None),
        ("execution_cached", []),
        ("executing", "1"),
        ("executing", "2"),
        ("executing", "3"),
        ("executed", "3"),
        ("execution_success", None),
        ("executing", None),
    ]
    check("the events", [list(item) for item in expected], [list(item) for item in order])


@case("each kind of event has its fields")
async def fields_of_events(server: ComfyUi) -> None:
    prefix = fresh()
    prompt_id, seen = await run(server, plain(prefix, color=color()))
    mine = {"prompt_id": prompt_id}
    files = [{"filename": f"{prefix}_00001_.png", "subfolder": "", "type": "output"}]
    shapes: dict[str, Any] = {
        "execution_start": {**mine, "timestamp": int},
        "execution_cached": {**mine, "nodes": [], "timestamp": int},
        "executed": {**mine, "node": "3", "display_node": "3", "output": {"images": files}},
        "execution_success": {**mine, "timestamp": int},
    }
    for kind, shape in shapes.items():
        check(kind, [shape], [message["data"] for message in of(seen, prompt_id, kind)])
    running = [message["data"] for message in of(seen, prompt_id, "executing") if message["data"]["node"] is not None]
    check("executing", [{**mine, "node": name, "display_node": name} for name in "123"], running)


@case("status counts the prompt in, and out again before the last event")
async def status_counts(server: ComfyUi) -> None:
    await server.idle()
    _, seen = await run(server, plain(fresh(), color=color()))
    counts = [m["data"]["status"]["exec_info"]["queue_remaining"] for m in seen if m["type"] == "status"]
    check("the counts", [1, 1, 0], counts)


@case("progress_state is a snapshot of all nodes met so far, each with its state")
async def progress_state(server: ComfyUi) -> None:
    prompt_id, seen = await run(server, plain(fresh(), color=color()))
    states = [message["data"]["nodes"] for message in of(seen, prompt_id, "progress_state")]
    node = {
        "value": float,
        "max": float,
        "state": OneOf("running", "finished", "pending"),
        "node_id": str,
        "prompt_id": prompt_id,
        "display_node_id": str,
        "parent_node_id": None,
        "real_node_id": str,
    }
    for state in states:
        check("a snapshot", dict.fromkeys(state, node), state)
    check("the last one", Only({name: {"state": "finished", "value": 1.0} for name in "123"}), states[-1])
    check("the first one", Only({"1": {"state": "running", "value": 0.0, "max": 1.0}}), states[0])


@case("the history is written before the executing without a node")
async def history_at_the_end(server: ComfyUi) -> None:
    prompt_id, _ = await run(server, plain(fresh()))
    check("history", {prompt_id: {"status": {"completed": True}}}, await server.history(prompt_id))


@case("a rerun is wholly cached: all nodes are named, executed comes with the old file, no node executes")
async def cached_rerun(server: ComfyUi) -> None:
    prompt = plain(fresh(), color=color())
    first = await server.run(prompt)
    prompt_id, seen = await run(server, prompt)
    (cached,) = of(seen, prompt_id, "execution_cached")
    check("execution_cached", ["1", "2", "3"], sorted(cached["data"]["nodes"]))
    (executed,) = of(seen, prompt_id, "executed")
    check("executed", first["outputs"]["3"], executed["data"]["output"])
    check("executing", [None], [message["data"]["node"] for message in of(seen, prompt_id, "executing")])
    check("the outputs of the history", first["outputs"], (await server.finished(prompt_id))["outputs"])


@case("only what changed, and what depends on it, runs again")
async def partly_cached_rerun(server: ComfyUi) -> None:
    shade = color()
    await server.run(plain(fresh(), color=shade))
    prompt_id, seen = await run(server, plain(fresh(), color=shade))
    (cached,) = of(seen, prompt_id, "execution_cached")
    check("execution_cached", ["1", "2"], sorted(cached["data"]["nodes"]))
    check("executing", ["3", None], [message["data"]["node"] for message in of(seen, prompt_id, "executing")])


@case("the cache keeps what the last prompt used, and no more")
async def cache_of_one_prompt(server: ComfyUi) -> None:
    prompt = plain(fresh(), color=color())
    for item in (prompt, plain(fresh(), color=color())):
        await server.run(item)
    entry = await server.run(prompt)
    check("execution_cached", [], dict(entry["status"]["messages"])["execution_cached"]["nodes"])


@case("events go to the client that asked, and to no other; status goes to all")
async def routing(server: ComfyUi) -> None:
    await server.idle()
    other = fresh()
    async with server.events(other) as events:
        await run(server, plain(fresh(), color=color()))
        await pause()
        seen: Messages = []
        while not await _drained(events, seen):
            pass
    check("what the other one sees", ["status"], sorted({message["type"] for message in seen}))


async def _drained(events: Events, seen: Messages) -> bool:
    try:
        async with asyncio.timeout(0.2):
            seen.append(await events.next())
    except TimeoutError:
        return True
    return False


@case("of a prompt without a client_id everybody gets progress_state, and nobody the rest")
async def prompt_without_client(server: ComfyUi) -> None:
    await server.idle()
    async with server.events(fresh()) as events:
        await server.run(plain(fresh(), color=color()))
        await pause()
        seen: Messages = []
        while not await _drained(events, seen):
            pass
    check("the events", ["progress_state", "status"], sorted({message["type"] for message in seen}))


@case("a client that comes back is told the running node, without a prompt's id, and then gets the rest")
async def reconnect(server: ComfyUi) -> None:
    name = fresh()
    async with server.events(name) as events:
        prompt_id = await server.submit(await server.busy(), client_id=name)
        await events.until("executing", node="b0", prompt_id=prompt_id)
    async with server.events(name) as events:
        hello = await events.next()
        check("after the greeting", {"type": "executing", "data": Only({"node": str})}, hello)
        await server.command("/interrupt", {})
        await events.until("executing", node=None, prompt_id=prompt_id)
    async with server.events(name) as events:
        check("nothing is replayed after the end", True, await silent(events))


@case("of two sockets with one clientId the newer gets everything; the older stays open and silent")
async def two_sockets_of_one_client(server: ComfyUi) -> None:
    name = fresh()
    async with server.events(name) as older, server.events(name) as newer:
        prompt_id = await server.submit(plain(fresh()), client_id=name)
        await newer.until("executing", node=None, prompt_id=prompt_id)
        check("the older one is silent", True, await silent(older))
        check("the older one is closed", False, older.websocket.closed)


@case("feature flags are answered when they come first")
async def feature_flags(server: ComfyUi) -> None:
    flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
    async with server.events(fresh()) as events:
        await events.websocket.send_json(flags)
        answer = {"type": "feature_flags", "data": {"supports_preview_metadata": True, "max_upload_size": int}}
        check("the answer", answer, await events.next())
        await events.websocket.send_str("no json")
        await events.websocket.send_json(flags)
        check("the second time", True, await silent(events))


@case("a sampler reports each step", Mark.NEEDS_MODEL)
async def sampler_progress(server: ComfyUi) -> None:
    prompt_id, seen = await run(server, await server.sampling("a fish", steps=3))
    steps = [message["data"] for message in of(seen, prompt_id, "progress")]
    shape = [{"value": n, "max": 3, "prompt_id": prompt_id, "node": "3"} for n in (1, 2, 3)]
    check("progress", shape, steps)
    states = [m["data"]["nodes"]["3"] for m in of(seen, prompt_id, "progress_state") if "3" in m["data"]["nodes"]]
    check("progress_state", {"value": 3, "max": 3, "state": "finished"}, states[-1])


@case("a batch gives as many files, numbered on", Mark.NEEDS_MODEL)
async def batch(server: ComfyUi) -> None:
    entry = await server.run(await server.sampling("a bird", steps=1, batch_size=3))
    files = entry["outputs"]["9"]["images"]
    check("the files", Each({"filename": str, "subfolder": "", "type": "output"}), files)
    check("how many", 3, len({item["filename"] for item in files}))


@case("a picture of usual size and quality is made", Mark.NEEDS_MODEL, Mark.NEEDS_GPU)
async def usual_picture(server: ComfyUi) -> None:
    entry = await server.run(await server.sampling("a lake", steps=20, width=512, height=512))
    check("status", {"completed": True}, entry["status"])
    check("the files", Each({"filename": str}, least=1), entry["outputs"]["9"]["images"])


@case("another seed runs the sampler again, and not the loader", Mark.NEEDS_MODEL)
async def loader_is_cached(server: ComfyUi) -> None:
    prompt = await server.sampling("a horse", steps=1)
    await server.run(prompt)
    prompt["3"]["inputs"]["seed"] += 1
    entry = await server.run(prompt)
    cached = dict(entry["status"]["messages"])["execution_cached"]["nodes"]
    check("execution_cached", ["4", "5", "6", "7"], sorted(cached))


@case("previews are binary frames: kind and image type as big-endian integers, then the image", Mark.NEEDS_MODEL)
async def previews(server: ComfyUi) -> None:
    name = fresh()
    async with server.events(name) as events:
        prompt_id = await server.submit(await server.sampling("a cow", steps=3), client_id=name)
        await events.until("executing", node=None, prompt_id=prompt_id)
    if not events.frames:
        raise NotApplicableError("previews are off; start the server with --preview-method latent2rgb")
    kind, image = struct.unpack(">II", events.frames[0][:8])
    check("kind and image type", [1, OneOf(1, 2)], [kind, image])


@case("previews come with metadata once the client's flags ask for it", Mark.NEEDS_MODEL)
async def previews_with_metadata(server: ComfyUi) -> None:
    name = fresh()
    async with server.events(name) as events:
        await events.websocket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        await events.until("feature_flags")
        prompt_id = await server.submit(await server.sampling("a hen", steps=3), client_id=name)
        await events.until("executing", node=None, prompt_id=prompt_id)
    if not events.frames:
        raise NotApplicableError("previews are off; start the server with --preview-method latent2rgb")
    kind, length = struct.unpack(">II", events.frames[0][:8])
    check("kind", 4, kind)
    metadata = json.loads(events.frames[0][8 : 8 + length])
    check("the metadata", {"node_id": "3", "prompt_id": prompt_id, "image_type": ANY}, metadata)
