"""How ComfyUI takes prompts, lines them up, runs them one at a time, and remembers them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from tests.conformance.case import case, check
from tests.conformance.comfyui.client import ComfyUi, color, fresh, span
from tests.conformance.shapes import ANY, NOTHING, UUID, Each, Only
from tests.support.workflows import plain


@case("POST /prompt answers 200 with an id, a number and no node errors")
async def prompt_accepted(server: ComfyUi) -> None:
    answer = await server.post("/prompt", {"prompt": plain(fresh())})
    check("POST /prompt", {"prompt_id": UUID, "number": int, "node_errors": NOTHING}, answer)
    await server.finished(answer["prompt_id"])


@case("a prompt may bring its own id")
async def own_prompt_id(server: ComfyUi) -> None:
    name = fresh()
    check("POST /prompt", {"prompt_id": name}, await server.post("/prompt", {"prompt": plain(name), "prompt_id": name}))
    check("history", True, (await server.finished(name))["status"]["completed"])


@case("numbers count up by one")
async def numbers_count_up(server: ComfyUi) -> None:
    numbers = [(await server.post("/prompt", {"prompt": plain(fresh())}))["number"] for _ in range(3)]
    check("the numbers", [numbers[0], numbers[0] + 1, numbers[0] + 2], numbers)
    await server.idle()


@case("the content type of POST /prompt is not looked at")
async def content_type_ignored(server: ComfyUi) -> None:
    body = json.dumps({"prompt": plain(fresh())})
    reply = await server.send("POST", "/prompt", data=body, headers={"Content-Type": "text/plain"})
    check("POST /prompt", {"status": 200, "body": {"prompt_id": str}}, reply.shown())
    await server.idle()


@case("unknown inputs, _meta and unknown fields are ignored")
async def unknown_fields_ignored(server: ComfyUi) -> None:
    prompt = plain(fresh())
    prompt["1"] |= {"_meta": {"title": "Empty"}, "is_changed": ["x"]}
    prompt["1"]["inputs"]["no_such_input"] = 7
    entry = await server.run(prompt, no_such_field=True)
    check("status", {"status_str": "success", "completed": True}, entry["status"])


@case('"64" and 64.7 are taken for a whole number, and "nan" for a number, which comes back as NaN')
async def numbers_are_converted(server: ComfyUi) -> None:
    prompt = plain(fresh()).node("4", "ImageBlur", image=["2", 0], blur_radius=1, sigma="nan")
    prompt["1"]["inputs"] |= {"width": "64", "height": 64.7}
    prompt["3"]["inputs"]["images"] = ["4", 0]
    entry = await server.run(prompt)
    check("status", {"completed": True}, entry["status"])
    check("the prompt in the history", {"width": 64, "height": 64}, entry["prompt"][2]["1"]["inputs"])
    check("the number that is none", "nan", str(entry["prompt"][2]["4"]["inputs"]["sigma"]))


@case("an item of the queue is number, id, prompt, extra data and outputs")
async def queue_items(server: ComfyUi) -> None:
    prompt, waiting = await server.busy(), plain(fresh())
    running = await server.submit(prompt, client_id="me")
    later = await server.submit(waiting, extra_data={"note": 7})
    await server.running(running)
    queue = await server.get("/queue")
    check("queue_running", [[ANY, running, dict, {"client_id": "me"}, ["out"]]], queue["queue_running"])
    check("queue_pending", [[ANY, later, waiting, {"note": 7}, ["3"]]], queue["queue_pending"])
    check("GET /prompt", {"exec_info": {"queue_remaining": 2}}, await server.get("/prompt"))
    await server.command("/interrupt", {})
    await server.idle()


@case("extra data gets the time of its arrival in ms, and the keys of the paid service are not shown again")
async def extra_data(server: ComfyUi) -> None:
    await server.only_today()
    told = {"api_key_comfy_org": "secret", "auth_token_comfy_org": "secret", "note": 7}
    entry = await server.run(plain(fresh()), extra_data=told)
    check("extra data in the history", Only({"note": 7, "create_time": int}), entry["prompt"][3])


@case("prompts run one at a time, in the order of their arrival")
async def one_at_a_time(server: ComfyUi) -> None:
    ids = [await server.submit(plain(fresh(), color=color(), width=512, height=512)) for _ in range(4)]
    spans = [span(await server.finished(prompt_id)) for prompt_id in ids]
    check("each begins after the one before has ended", sorted(spans), spans)
    overlaps = [(a, b) for a, b in pairwise(spans) if b[0] < a[1]]
    check("overlaps", [], overlaps)


@case("front: true takes a negative number and jumps the queue")
async def front_jumps_the_queue(server: ComfyUi) -> None:
    running = await server.submit(await server.busy())
    await server.running(running)
    last = await server.submit(plain(fresh()))
    answer = await server.post("/prompt", {"prompt": plain(fresh()), "front": True})
    check("its number is negative", True, answer["number"] < 0)
    check("the order of what waits", [answer["prompt_id"], last], (await server.queue())[1])
    await server.command("/interrupt", {})
    first = span(await server.finished(answer["prompt_id"]))
    check("it runs first", True, first[1] <= span(await server.finished(last))[0])


@case("a prompt may bring its number; the lowest runs first")
async def own_number(server: ComfyUi) -> None:
    running = await server.submit(await server.busy())
    await server.running(running)
    names = [fresh() for _ in range(3)]
    for number, name in ((7e6, names[2]), (5e6, names[0]), (6e6, names[1])):
        answer = await server.post("/prompt", {"prompt": plain(fresh()), "number": number, "prompt_id": name})
        check("POST /prompt", {"number": number}, answer)
    check("the order of what waits", names, (await server.queue())[1])
    await server.command("/interrupt", {})
    spans = [span(await server.finished(name)) for name in names]
    check("the order in which they ran", sorted(spans), spans)
    await server.command("/history", {"delete": names})


@case("the same id twice is two runs, of which the history keeps the later")
async def same_id_twice(server: ComfyUi) -> None:
    name = fresh()
    prefixes = [fresh(), fresh()]
    for prefix in prefixes:
        check(
            "POST /prompt",
            {"prompt_id": name},
            await server.post("/prompt", {"prompt": plain(prefix), "prompt_id": name}),
        )
    await server.idle()
    for prefix in prefixes:
        reply = await server.send("GET", "/view", params={"filename": f"{prefix}_00001_.png"})
        check("the file of each run", 200, reply.status)
    entry = await server.finished(name)
    check("history", prefixes[1], entry["prompt"][2]["3"]["inputs"]["filename_prefix"])


@case("partial_execution_targets picks the outputs that run")
async def partial_execution(server: ComfyUi) -> None:
    prompt = plain(fresh()).node("4", "PreviewImage", images=["1", 0])
    entry = await server.run(prompt, partial_execution_targets=["4"])
    check("outputs", Only({"4": {"images": Each(dict, least=1)}}), entry["outputs"])


@case("the history of an unknown, waiting or running prompt is 200 with an empty object")
async def history_before_the_end(server: ComfyUi) -> None:
    check("unknown", NOTHING, await server.history(fresh()))
    running, waiting = await server.submit(await server.busy()), await server.submit(plain(fresh()))
    await server.running(running)
    check("running", NOTHING, await server.history(running))
    check("waiting", NOTHING, await server.history(waiting))
    await server.command("/interrupt", {})
    await server.idle()


@case("the history of a prompt holds the prompt, the outputs, the status with its messages, and meta")
async def history_of_a_success(server: ComfyUi) -> None:
    prefix = fresh()
    prompt = plain(prefix, color=color())
    prompt_id = await server.submit(prompt, client_id="me")
    times = {"prompt_id": prompt_id, "timestamp": int}
    shape = {
        "prompt": [int, prompt_id, prompt, {"client_id": "me"}, ["3"]],
        "outputs": Only(
            {"3": Only({"images": [{"filename": f"{prefix}_00001_.png", "subfolder": "", "type": "output"}]})}
        ),
        "status": {
            "status_str": "success",
            "completed": True,
            "messages": [
                ["execution_start", times],
                ["execution_cached", {"nodes": [], **times}],
                ["execution_success", times],
            ],
        },
        "meta": Only({"3": {"node_id": "3", "display_node": "3", "parent_node": None, "real_node_id": "3"}}),
    }
    entry = await server.finished(prompt_id)
    check("history", shape, entry)
    check("timestamps are milliseconds", True, span(entry)[0] > 10**12)


@case("GET /history cuts by max_items and offset; POST /history deletes")
async def history_is_cut_and_deleted(server: ComfyUi) -> None:
    ids = [await server.submit(plain(fresh())) for _ in range(3)]
    for prompt_id in ids:
        await server.finished(prompt_id)
    check("max_items=2", ids[1:], list(await server.get("/history?max_items=2")))
    everything: dict[str, Any] = await server.get("/history")
    check("the end of it all", ids, list(everything)[-3:])
    place = len(everything) - 3
    check("with an offset", ids[:2], list(await server.get(f"/history?max_items=2&offset={place}")))
    await server.command("/history", {"delete": [ids[0], "unknown"]})
    check("after the deletion", NOTHING, await server.history(ids[0]))


@case("POST /free answers with nothing, and empties the cache")
async def free_empties_the_cache(server: ComfyUi) -> None:
    prompt = plain(fresh(), color=color())
    await server.run(prompt)
    await server.command("/free", {"unload_models": True, "free_memory": True})
    # The worker frees when it next wakes.
    await server.run(plain(fresh()))
    entry = await server.run(prompt)
    check("cached", [], dict(entry["status"]["messages"])["execution_cached"]["nodes"])
