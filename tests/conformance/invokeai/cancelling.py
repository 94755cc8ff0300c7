"""How items of InvokeAI's queue are cancelled and deleted, and which ones are left alone."""

from __future__ import annotations

import asyncio

from tests.conformance.case import Case, case, check
from tests.conformance.invokeai.client import QUEUE, InvokeAi, fresh, images_of
from tests.support.graphs import plain


@case("an item that waits is cancelled, and never begins; what runs goes on")
async def cancel_waiting(server: InvokeAi) -> None:
    running, waiting = await server.submit(server.busy()), await server.submit(plain())
    await server.running(running)
    answer = await server.put(f"{QUEUE}/i/{waiting}/cancel")
    check("PUT cancel", {"item_id": waiting, "status": "canceled", "started_at": None}, answer)
    check("what ran", "completed", (await server.ended(running))["status"])
    await server.idle()
    check("its results", {}, (await server.item(waiting))["session"]["results"])


@case("an item that runs is called cancelled at once, and stops between two nodes; what it made is named")
async def cancel_running(server: InvokeAi) -> None:
    graph = server.busy()
    item_id = await server.submit(graph)
    await server.running(item_id)
    check("PUT cancel", {"status": "canceled"}, await server.put(f"{QUEUE}/i/{item_id}/cancel"))
    counts = (await server.status())["queue"]
    check("the queue", {"in_progress": 0, "item_id": None}, counts)
    await server.idle()
    item = await server.item(item_id)
    check("the status", "canceled", item["status"])
    check("it did not run to its end", True, len(images_of(item)) < len(graph["nodes"]))


@case("the processor is busy with an item that was cancelled until the node has ended, and the next one waits so long")
async def cancelled_but_not_over(server: InvokeAi) -> None:
    first = await server.submit(plain(3000, 3000, use_cache=False, is_intermediate=True))
    second = await server.submit(plain())
    await server.running(first)
    await server.put(f"{QUEUE}/i/{first}/cancel")
    status = await server.status()
    if status["processor"]["is_processing"]:
        check("nothing is in progress, or the next one", True, status["queue"]["item_id"] in {None, second})
    check("the second", "completed", (await server.ended(second))["status"])


@case("an item that has ended stays as it is when it is cancelled")
async def cancel_completed(server: InvokeAi) -> None:
    item = await server.completed(plain())
    check("PUT cancel", {"status": "completed"}, await server.put(f"{QUEUE}/i/{item['item_id']}/cancel"))


@case("cancel_by_batch_ids cancels what has not ended of these batches, and says how many there were")
async def cancel_by_batch(server: InvokeAi) -> None:
    running = await server.enqueue(server.busy())
    waiting, other = await server.enqueue(plain()), await server.submit(plain())
    await server.running(running["item_ids"][0])
    names = [running["batch"]["batch_id"], waiting["batch"]["batch_id"], "unknown"]
    answer = await server.put(f"{QUEUE}/cancel_by_batch_ids", {"batch_ids": names})
    check("PUT cancel_by_batch_ids", {"canceled": 2}, answer)
    for item_id in (*running["item_ids"], *waiting["item_ids"]):
        check("the item", "canceled", (await server.item(item_id))["status"])
    check("the other", "completed", (await server.ended(other))["status"])


@case("cancel_by_batch_ids of what is unknown or has ended cancels nothing")
async def cancel_by_unknown_batch(server: InvokeAi) -> None:
    answer = await server.enqueue(plain())
    await server.ended(answer["item_ids"][0])
    names = {"batch_ids": [answer["batch"]["batch_id"], "unknown"]}
    check("PUT cancel_by_batch_ids", {"canceled": 0}, await server.put(f"{QUEUE}/cancel_by_batch_ids", names))


@case("cancel_by_destination cancels the items of a destination, and no others")
async def cancel_by_destination(server: InvokeAi) -> None:
    name = fresh()
    running, waiting = await server.submit(server.busy(), destination=name), await server.submit(plain())
    await server.running(running)
    path = f"{QUEUE}/cancel_by_destination"
    check("PUT cancel_by_destination", {"canceled": 1}, await server.put(path, params={"destination": name}))
    check("the item", "canceled", (await server.item(running))["status"])
    check("the other", "completed", (await server.ended(waiting))["status"])
    check("PUT cancel_by_destination", {"canceled": 0}, await server.put(path, params={"destination": name}))


@case("a deleted item is unknown")
async def delete_completed(server: InvokeAi) -> None:
    item = await server.completed(plain())
    path = f"{QUEUE}/i/{item['item_id']}"
    check("DELETE", None, await server.delete(path))
    words = f"Queue item with id {item['item_id']} not found in queue default"
    await server.refuses("GET", path, 404, {"detail": words})
    check("its image stays", 200, (await server.send("GET", f"/api/v1/images/i/{images_of(item)['blank']}")).status)


@case("an item that is deleted while it runs stops, and the next one runs")
async def delete_running(server: InvokeAi) -> None:
    running, waiting = await server.submit(server.busy()), await server.submit(plain())
    await server.running(running)
    check("DELETE", None, await server.delete(f"{QUEUE}/i/{running}"))
    check("the next one", "completed", (await server.ended(waiting))["status"])


@case("deleting by destination takes its items in every state")
async def delete_by_destination(server: InvokeAi) -> None:
    name = fresh()
    ended = (await server.completed(plain(), destination=name))["item_id"]
    async with server.paused():
        waiting = await server.submit(plain(), destination=name)
        check("DELETE", {"deleted": 2}, await server.delete(f"{QUEUE}/d/{name}"))
        check("DELETE again", {"deleted": 0}, await server.delete(f"{QUEUE}/d/{name}"))
    for item_id in (ended, waiting):
        await server.refuses("GET", f"{QUEUE}/i/{item_id}", 404, {"detail": str})


@case("several cancellations at once do what one does")
async def cancel_many_times(server: InvokeAi) -> None:
    item_id = await server.submit(server.busy())
    await server.running(item_id)
    answers = await asyncio.gather(*(server.put(f"{QUEUE}/i/{item_id}/cancel") for _ in range(4)))
    check("PUT cancel", [{"status": "canceled"}] * 4, answers)
    await server.idle()


def _unknown(name: str, method: str, path: str) -> Case:
    async def refused(server: InvokeAi) -> None:
        detail = "Queue item with id 999999999 not found in queue default"
        await server.refuses(method, QUEUE + path, 404, {"detail": detail})

    return Case(f"{name}-an-unknown-item", f"{method} {path} is 404 with the id and the queue", refused)


UNKNOWN = (
    _unknown("shows", "GET", "/i/999999999"),
    _unknown("cancels", "PUT", "/i/999999999/cancel"),
    _unknown("deletes", "DELETE", "/i/999999999"),
)
