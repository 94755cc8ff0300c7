"""What ComfyUI does when a node fails in the middle of a run."""

from __future__ import annotations

import re
from typing import Any

from tests.conformance.case import case, check
from tests.conformance.comfyui.client import ComfyUi, color, fresh
from tests.conformance.comfyui.files import loading
from tests.conformance.shapes import ANY, NOTHING, Each, Only
from tests.support.workflows import plain


async def _fail(server: ComfyUi, prompt: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs a prompt that must fail; returns its event and its history."""
    name = fresh()
    async with server.events(name) as events:
        answer = await server.post("/prompt", {"prompt": prompt, "client_id": name})
        prompt_id = answer["prompt_id"]
        seen = await events.until("executing", node=None, prompt_id=prompt_id)
    kinds = [message["type"] for message in seen if message["type"] in {"execution_error", "execution_success"}]
    check("the endings", ["execution_error"], kinds)
    (data,) = [message["data"] for message in seen if message["type"] == "execution_error"]
    return data, await server.finished(prompt_id)


@case("an input that is no image fails when it is loaded, with the exception and the node")
async def unreadable_image(server: ComfyUi) -> None:
    name = f"{fresh()}.png"
    await server.upload(b"no image", name)
    prompt = loading(name)
    data, entry = await _fail(server, prompt)
    shape = {
        "prompt_id": str,
        "node_id": "1",
        "node_type": "LoadImage",
        "executed": [],
        "exception_message": re.compile(r"(?s)cannot identify image file .*" + re.escape(name) + r"'\n?"),
        "exception_type": "PIL.UnidentifiedImageError",
        "traceback": Each(str, least=1),
        "current_inputs": {"image": [name]},
        "current_outputs": Each(str),
        "timestamp": int,
    }
    check("execution_error", shape, data)
    check("the status in the history", {"status_str": "error", "completed": False}, entry["status"])
    check("the last message", ["execution_error", ANY], entry["status"]["messages"][-1])
    check("the outputs", NOTHING, entry["outputs"])


@case("a folder's name passes the check of a file, and fails when it is loaded")
async def folder_as_a_file(server: ComfyUi) -> None:
    data, _ = await _fail(server, loading(""))
    # Since PyAV opens pictures it raises an error of its own.
    kind = "av.error.IsADirectoryError" if await server.is_of_today() else "IsADirectoryError"
    check("execution_error", {"node_type": "LoadImage", "exception_type": kind}, data)


@case("an animation of one picture is not said to be animated (0.3: it is said not to be)")
async def animation_of_one_picture(server: ComfyUi) -> None:
    inputs = {"filename_prefix": fresh(), "fps": 6, "lossless": True, "quality": 80, "method": "default"}
    one: Any = {"images": [{"filename": str}], "animated": [False]}
    if await server.is_of_today():
        one = Only({"images": [{"filename": str}]})
    for size, expected in ((1, one), (2, {"images": [{"filename": str}], "animated": [True]})):
        prompt = plain(fresh(), batch_size=size).node("3", "SaveAnimatedWEBP", images=["2", 0], **inputs)
        output = (await server.run(prompt))["outputs"]["3"]
        check("the output", expected, output)


@case("saving outside the output folder fails when it runs, with a plain Exception")
async def saving_outside(server: ComfyUi) -> None:
    data, _ = await _fail(server, plain("../../../evil", color=color()))
    message = re.compile(r"(?s)\*\*\*\* ERROR: Saving image outside the output folder is not allowed\..*")
    check(
        "execution_error", {"node_type": "SaveImage", "exception_type": "Exception", "exception_message": message}, data
    )
    check("executed", ["1", "2"], sorted(data["executed"]))


@case("what was saved before a later node failed is not in the history's outputs")
async def outputs_of_a_failed_prompt(server: ComfyUi) -> None:
    name = f"{fresh()}.png"
    await server.upload(b"no image", name)
    prompt = plain(fresh(), color=color()).node("8", "LoadImage", image=name)
    prompt.node("9", "SaveImage", images=["8", 0], filename_prefix=fresh())
    _, entry = await _fail(server, prompt)
    check("the outputs", NOTHING, entry["outputs"])


@case("after a failure the next prompt runs as ever")
async def failure_leaves_no_trace(server: ComfyUi) -> None:
    await _fail(server, plain("../../../evil", color=color()))
    check("status", {"completed": True}, (await server.run(plain(fresh(), color=color())))["status"])


@case("what ran before a failure stays cached")
async def failure_keeps_the_cache(server: ComfyUi) -> None:
    prompt = plain("../../../evil", color=color())
    await _fail(server, prompt)
    prompt["3"]["inputs"]["filename_prefix"] = fresh()
    entry = await server.run(prompt)
    cached = dict(entry["status"]["messages"])["execution_cached"]["nodes"]
    check("execution_cached", ["1", "2"], sorted(cached))
