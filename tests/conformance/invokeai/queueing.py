"""What InvokeAI's queue says of itself, and in which order it runs what is in it."""

from __future__ import annotations

import re

from tests.conformance.case import Mark, case, check
from tests.conformance.invokeai.client import QUEUE, InvokeAi, color, fresh, images_of
from tests.conformance.shapes import ANY, UUID
from tests.support.graphs import Graph, diffusion, plain, resized

_NO_ITEMS = dict.fromkeys(("pending", "in_progress", "waiting", "completed", "failed", "canceled", "total"), 0)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}")


@case("GET /app/version names the version, which is 6")
async def version(server: InvokeAi) -> None:
    check("GET version", {"version": re.compile(r"6\.\d+\.\d+.*")}, await server.get("/api/v1/app/version"))


@case("a GET of an unknown address answers 200 with the page, and any other method 405")
async def unknown_addresses(server: InvokeAi) -> None:
    for path in ("/nowhere", "/api/v1/nowhere"):
        reply = await server.send("GET", path)
        check(f"GET {path}", (200, True), (reply.status, reply.headers["Content-Type"].startswith("text/html")))
        for method in ("POST", "PUT", "DELETE"):
            await server.refuses(method, path, 405, {"detail": "Method Not Allowed"})


@case("a known address answers another method with 405")
async def other_methods(server: InvokeAi) -> None:
    await server.refuses("DELETE", f"{QUEUE}/enqueue_batch", 405, {"detail": "Method Not Allowed"})
    await server.refuses("PUT", f"{QUEUE}/status", 405, {"detail": "Method Not Allowed"})


@case("enqueue_batch answers with the batch, its graph completed by defaults, and the ids of its items")
async def enqueue(server: InvokeAi) -> None:
    answer = await server.enqueue(plain(), origin="an origin", destination="a destination")
    batch = {"batch_id": UUID, "origin": "an origin", "destination": "a destination", "runs": 1, "workflow": None}
    node = {"id": "blank", "type": "blank_image", "mode": "RGB", "is_intermediate": False, "use_cache": True}
    graph = {"id": UUID, "edges": [], "nodes": {"blank": node}}
    expected = {"queue_id": "default", "enqueued": 1, "requested": 1, "priority": 0, "item_ids": [int]}
    check("POST enqueue_batch", {**expected, "batch": {**batch, "data": None, "graph": graph}}, answer)
    await server.ended(answer["item_ids"][0])


@case("a batch keeps the id that it comes with; of a second one of that id, the items of both are named, newest first")
async def own_batch_id(server: InvokeAi) -> None:
    name = fresh()
    first = await server.enqueue(plain(), batch_id=name)
    check("the id", name, first["batch"]["batch_id"])
    second = await server.enqueue(plain(), batch_id=name)
    check("the items", 2, len(second["item_ids"]))
    check("the second item comes first", first["item_ids"][0], second["item_ids"][1])
    await server.ended(second["item_ids"][0])


@case("runs: 2 makes two items")
async def two_runs(server: InvokeAi) -> None:
    answer = await server.enqueue(plain(), runs=2)
    check("POST enqueue_batch", {"enqueued": 2, "requested": 2, "item_ids": [int, int]}, answer)
    check("newest first", sorted(answer["item_ids"], reverse=True), answer["item_ids"])
    for item_id in answer["item_ids"]:
        check("its status", "completed", (await server.ended(item_id))["status"])


@case("an item that waits has neither begun nor results; what is null is left out")
async def waiting_item(server: InvokeAi) -> None:
    async with server.paused():
        item_id = await server.submit(plain(), origin="o", destination="d")
        item = await server.item(item_id)
    names = {"item_id": item_id, "batch_id": UUID, "session_id": UUID, "origin": "o", "destination": "d"}
    about = {"status": "pending", "priority": 0, "queue_id": "default", "user_id": "system", "created_at": _TIME}
    session = {"id": item["session_id"], "results": {}, "errors": {}, "executed": [], "executed_history": []}
    check("GET item", {**names, **about, "session": session}, item)
    unset = {"started_at", "completed_at", "error_type", "error_message", "error_traceback", "workflow"}
    check("what is null", set(), unset & set(item))
    await server.ended(item_id)


@case(
    "an item that has ended tells what each node put out, under ids of this run's own, in the order in which they ran"
)
async def completed_item(server: InvokeAi) -> None:
    item = await server.completed(resized(use_cache=False))
    check("GET item", {"status": "completed", "started_at": _TIME, "completed_at": _TIME}, item)
    session = item["session"]
    check("the nodes' order", ["blank", "resized"], session["executed_history"])
    first, second = session["results"]
    mapping = {first: "blank", second: "resized"}
    check("the mapping", mapping, session["prepared_source_mapping"])
    check("the mapping back", {"blank": [first], "resized": [second]}, session["source_prepared_mapping"])
    check("what ran", set(mapping) | set(mapping.values()), set(session["executed"]))
    output = {"image": {"image_name": re.compile(r"[0-9a-f-]{36}\.png")}, "type": "image_output"}
    expected = {first: {**output, "width": 64, "height": 48}, second: {**output, "width": 32, "height": 24}}
    check("the results", expected, session["results"])
    node = {"id": second, "type": "img_resize", "width": 32, "is_intermediate": False}
    check("the copy of a node", node, session["execution_graph"]["nodes"][second])


@case("the results of a run are shown when it has ended, and not before")
async def results_at_the_end(server: InvokeAi) -> None:
    item_id = await server.submit(server.busy())
    await server.running(item_id)
    item = await server.item(item_id)
    if item["status"] == "in_progress":
        check("the results meanwhile", {}, item["session"]["results"])
    check("the results at the end", False, not (await server.ended(item_id))["session"]["results"])


@case("a batch's status counts its items; that of an unknown batch is nought in all")
async def batch_status(server: InvokeAi) -> None:
    answer = await server.enqueue(plain(), runs=2, origin="o", destination="d")
    for item_id in answer["item_ids"]:
        await server.ended(item_id)
    name = answer["batch"]["batch_id"]
    expected = {**_NO_ITEMS, "completed": 2, "total": 2, "origin": "o", "destination": "d", "batch_id": name}
    check("GET batch status", expected, await server.get(f"{QUEUE}/b/{name}/status"))
    unknown = {**_NO_ITEMS, "origin": None, "destination": None, "batch_id": "unknown", "queue_id": "default"}
    check("GET batch status", unknown, await server.get(f"{QUEUE}/b/unknown/status"))


@case("a failed item counts as failed in its batch's status")
async def batch_status_of_a_failure(server: InvokeAi) -> None:
    answer = await server.enqueue(Graph().node("blur", "img_blur"))
    await server.ended(answer["item_ids"][0])
    status = await server.get(f"{QUEUE}/b/{answer['batch']['batch_id']}/status")
    check("GET batch status", {**_NO_ITEMS, "failed": 1, "total": 1}, status)


@case("items run one at a time, in the order in which they came")
async def one_at_a_time(server: InvokeAi) -> None:
    first, second = await server.submit(server.busy()), await server.submit(plain())
    await server.running(first)
    check("the queue meanwhile", {"in_progress": 1, "item_id": first}, (await server.status())["queue"])
    check("the second", "pending", (await server.item(second))["status"])
    early, late = await server.ended(first), await server.ended(second)
    check("the second begins when the first has ended", True, early["completed_at"] <= late["started_at"])


@case("a batch that is to be prepended runs before what waits")
async def prepended(server: InvokeAi) -> None:
    async with server.paused():
        last = await server.submit(plain())
        answer = await server.enqueue(plain(), prepend=True)
        check("its priority", 1, answer["priority"])
    first, second = await server.ended(answer["item_ids"][0]), await server.ended(last)
    # Milliseconds: two short runs may begin in the same one.
    check("the second begins when the first has ended", True, first["completed_at"] <= second["started_at"])


@case("a paused processor begins nothing, and says so; resumed, it goes on")
async def pausing(server: InvokeAi) -> None:
    await server.idle()
    expected = {"is_started": False, "is_processing": False}
    check("PUT pause", expected, await server.put(f"{QUEUE}/processor/pause"))
    try:
        item_id = await server.submit(plain())
        check("GET status", {"processor": expected, "queue": {"pending": 1}}, await server.status())
        check("the item", "pending", (await server.item(item_id))["status"])
    finally:
        check("PUT resume", {"is_started": True}, await server.put(f"{QUEUE}/processor/resume"))
    check("the item", "completed", (await server.ended(item_id))["status"])


@case("an idle queue has no current item, and its status names none")
async def idle_queue(server: InvokeAi) -> None:
    await server.idle()
    check("GET current", None, await server.get(f"{QUEUE}/current"))
    names = dict.fromkeys(("item_id", "batch_id", "session_id"))
    counts = {"pending": 0, "in_progress": 0, "waiting": 0, "total": int, "user_pending": 0, "user_in_progress": 0}
    expected = {"queue": {**names, **counts}, "processor": {"is_started": True, "is_processing": False}}
    check("GET status", expected, await server.status())


@case("another queue has a status of its own, and no items")
async def another_queue(server: InvokeAi) -> None:
    item = await server.completed(plain())
    status = await server.get("/api/v1/queue/another/status")
    check("GET status", {"queue": {**_NO_ITEMS, "queue_id": "another"}}, status)
    words = f"404: Queue item with id {item['item_id']} not found in queue another"
    detail = {"detail": f"Unexpected error while fetching queue item: {words}"}
    await server.refuses("GET", f"/api/v1/queue/another/i/{item['item_id']}", 500, detail)


@case("list_all shows the items of a destination, the first to run first; none of one that is unknown")
async def listing(server: InvokeAi) -> None:
    name = fresh()
    ids = [(await server.completed(plain(), destination=name))["item_id"] for _ in range(2)]
    found = await server.get(f"{QUEUE}/list_all", params={"destination": name})
    check("GET list_all", [{"item_id": item_id, "session": dict, "error_type": None} for item_id in ids], found)
    check("GET list_all", [], await server.get(f"{QUEUE}/list_all", params={"destination": fresh()}))


@case("summaries show the items that are there, without their sessions")
async def summaries(server: InvokeAi) -> None:
    item = await server.completed(plain())
    found = await server.post(f"{QUEUE}/item_summaries_by_ids", {"item_ids": [item["item_id"], 999_999_999]})
    names = ("item_id", "status", "batch_id", "created_at", "started_at", "completed_at")
    check("POST item_summaries_by_ids", [{name: item[name] for name in names} | {"field_values": ANY}], found)
    check("a session", False, "session" in found[0])


@case("a node that ran before comes from the cache: the same image, under a new id of the node")
async def cached(server: InvokeAi) -> None:
    graph = plain(color=color())
    first, second = await server.completed(graph), await server.completed(graph)
    check("the image", images_of(first), images_of(second))
    different = set(first["session"]["results"]).isdisjoint(second["session"]["results"])
    check("the ids differ", True, different)


@case("use_cache: false makes the image anew, and save_image always does")
async def not_cached(server: InvokeAi) -> None:
    graph = plain(color=color()).node("saved", "save_image").edge("blank", "image", "saved")
    first, second = images_of(await server.completed(graph)), images_of(await server.completed(graph))
    check("the image from the cache", first["blank"], second["blank"])
    check("save_image made another", True, first["saved"] != second["saved"])
    graph = plain(color=color(), use_cache=False)
    first, second = images_of(await server.completed(graph)), images_of(await server.completed(graph))
    check("use_cache: false made another", True, first != second)


@case("an image that is deleted is gone from the cache, and made anew")
async def deleted_from_the_cache(server: InvokeAi) -> None:
    graph = plain(color=color())
    first = images_of(await server.completed(graph))
    await server.post("/api/v1/images/delete", {"image_names": list(first.values())})
    second = images_of(await server.completed(graph))
    check("another image", True, first != second)
    check("it is there", 200, (await server.send("GET", f"/api/v1/images/i/{second['blank']}/full")).status)


@case("the cache counts what it holds, and can be emptied")
async def cache_status(server: InvokeAi) -> None:
    await server.completed(plain(color=color()))
    path = "/api/v1/app/invocation_cache"
    shape = {"size": int, "hits": int, "misses": int, "enabled": True, "max_size": 512}
    check("GET status", shape, await server.get(f"{path}/status"))
    check("DELETE", None, await server.delete(path))
    check("GET status", {"size": 0, "hits": 0, "misses": 0}, await server.get(f"{path}/status"))


@case("a number goes where a real number is wanted")
async def numbers(server: InvokeAi) -> None:
    graph = plain(color=color()).node("number", "integer", value=3).node("blur", "img_blur")
    item = await server.completed(graph.edge("blank", "image", "blur").edge("number", "value", "blur", "radius"))
    check("the blurred image", True, "blur" in images_of(item))


@case("two edges may lead into one field")
async def two_edges_into_one_field(server: InvokeAi) -> None:
    graph = plain().node("other", "blank_image", width=8, height=8).node("blur", "img_blur")
    await server.completed(graph.edge("blank", "image", "blur").edge("other", "image", "blur"))


@case("a graph without nodes completes with nothing")
async def empty_graph(server: InvokeAi) -> None:
    check("the results", {}, (await server.completed(Graph()))["session"]["results"])


@case("fields that a node does not know are dropped; edges and the graph's id may be left out")
async def unknown_fields(server: InvokeAi) -> None:
    graph = plain(no_such_field=1)
    del graph["edges"]
    answer = await server.enqueue(graph, no_such_field=1)
    check("the field", False, "no_such_field" in answer["batch"]["graph"]["nodes"]["blank"])
    check("the status", "completed", (await server.ended(answer["item_ids"][0]))["status"])


@case("text to image goes through model, prompts, noise, sampling and decoding", Mark.NEEDS_MODEL)
async def text_to_image(server: InvokeAi) -> None:
    graph = diffusion(fresh(), steps=2)
    graph["nodes"]["model"]["model"] = await server.model()
    item = await server.completed(graph)
    check("the image", ["image"], list(images_of(item)))
    result = next(value for value in item["session"]["results"].values() if value["type"] == "latents_output")
    check("the latents", {"latents": {"latents_name": str}, "width": 64, "height": 64}, result)


@case("prune deletes what has ended, and leaves what waits")
async def prune(server: InvokeAi) -> None:
    await server.completed(plain())
    await server.idle()
    async with server.paused():
        item_id = await server.submit(plain())
        check("PUT prune", {"deleted": int}, await server.put(f"{QUEUE}/prune"))
        check("GET status", {"queue": {"pending": 1, "total": 1}}, await server.status())
    check("the item", "completed", (await server.ended(item_id))["status"])


@case("clear deletes all items, whatever their state")
async def clear(server: InvokeAi) -> None:
    running, waiting = await server.submit(server.busy()), await server.submit(plain())
    await server.running(running)
    check("PUT clear", {"deleted": int}, await server.put(f"{QUEUE}/clear"))
    check("GET list_all", [], await server.get(f"{QUEUE}/list_all"))
    for item_id in (running, waiting):
        await server.refuses("GET", f"{QUEUE}/i/{item_id}", 404, {"detail": str})
    await server.idle()
