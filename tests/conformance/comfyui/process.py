"""What becomes of prompts and sockets when ComfyUI's process starts and ends."""

from __future__ import annotations

from tests.conformance.case import Mark, case, check
from tests.conformance.comfyui.client import ComfyUi, color, fresh
from tests.conformance.shapes import NOTHING
from tests.support.workflows import plain


@case("SIGTERM in the middle of a run closes sockets without a word, and refuses connections", Mark.NEEDS_START)
async def terminated_while_running(server: ComfyUi) -> None:
    owner, name = server.owned(), fresh()
    async with server.events(name) as events:
        prompt_id = await server.submit(await server.busy(), client_id=name)
        await events.until("executing", node="b0", prompt_id=prompt_id)
        await owner.terminate()
        check("the close code", 1006, await events.closed())
    check("it listens", False, await server.listens())
    await server.start()


@case("after a restart queue and history are empty, and every old id is unknown", Mark.NEEDS_START)
async def restart_forgets(server: ComfyUi) -> None:
    owner = server.owned()
    done, running = await server.submit(plain(fresh())), await server.submit(await server.busy())
    waiting = await server.submit(plain(fresh()))
    await server.finished(done)
    await owner.terminate()
    await server.start()
    check("the queue", {"queue_running": [], "queue_pending": []}, await server.get("/queue"))
    check("the history", NOTHING, await server.get("/history"))
    for prompt_id in (done, running, waiting):
        check("an old id", NOTHING, await server.history(prompt_id))


@case("files stay over a restart, and their numbers go on", Mark.NEEDS_START)
async def restart_keeps_files(server: ComfyUi) -> None:
    owner, prefix = server.owned(), fresh()
    await server.run(plain(prefix, color=color()))
    await owner.terminate()
    await server.start()
    reply = await server.send("GET", "/view", params={"filename": f"{prefix}_00001_.png"})
    check("the file", 200, reply.status)
    entry = await server.run(plain(prefix, color=color()))
    check("the next file", f"{prefix}_00002_.png", entry["outputs"]["3"]["images"][0]["filename"])


@case("while it starts it refuses connections; what answers first can take work", Mark.NEEDS_START)
async def start(server: ComfyUi) -> None:
    await server.start_afresh()
    check("status", {"completed": True}, (await server.run(plain(fresh())))["status"])
