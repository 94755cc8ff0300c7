"""What ComfyUI refuses before anything runs, and in which words."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.conformance.case import Case, case, check
from tests.conformance.comfyui.client import ComfyUi, color, fresh
from tests.conformance.comfyui.files import SERVER_ERROR
from tests.conformance.shapes import ANY, NOTHING, OneOf, Only
from tests.support.workflows import Workflow, diffusion, plain

_VALIDATION = {
    "type": "prompt_outputs_failed_validation",
    "message": "Prompt outputs failed validation",
    "details": str,
    "extra_info": NOTHING,
}


def _changed(node_id: str, **inputs: Any) -> Workflow:
    """Returns the plain workflow with other inputs of a node; ... takes one away."""
    prompt = plain()
    merged = {**prompt[node_id]["inputs"], **inputs}
    prompt[node_id]["inputs"] = {name: value for name, value in merged.items() if value is not ...}
    return prompt


def _node_refusal(
    name: str, prompt: Workflow, node: str, kind: str, message: Any, details: Any, extra: Any, output: str = "3"
) -> Case:
    """Makes a case of a 400 whose `node_errors` name one node.

    `details` at the top repeats the fault when it is the output node's own, and is empty otherwise.
    """
    own = node == output

    async def refused(server: ComfyUi) -> None:
        fault = {"type": kind, "message": message, "details": details, "extra_info": extra}
        at_node = {"errors": [fault], "dependent_outputs": [output], "class_type": prompt[node]["class_type"]}
        top = {**_VALIDATION, "details": str if own else ""}
        body = {"error": top, "node_errors": Only({node: at_node})}
        await server.refuses("POST", "/prompt", 400, body, json={"prompt": prompt})

    return Case(f"refuses-{name}", f"{name.replace('-', ' ')} is 400 with {kind} at the node", refused)


def _prompt_refusal(name: str, prompt: Any, kind: str, message: str, details: str) -> Case:
    async def refused(server: ComfyUi) -> None:
        error = {"type": kind, "message": message, "details": details, "extra_info": NOTHING}
        await server.refuses("POST", "/prompt", 400, {"error": error, "node_errors": NOTHING}, json={"prompt": prompt})

    return Case(f"refuses-{name}", f"{name.replace('-', ' ')} is 400 with {kind}", refused)


def _failure(name: str, path: str, data: bytes) -> Case:
    async def fails(server: ComfyUi) -> None:
        await server.refuses("POST", path, 500, SERVER_ERROR, data=data)

    return Case(f"fails-at-{name}", f"POST {path} with {data.decode() or 'no body'} is 500 in plain text", fails)


_TRACEBACK = {"exception_type": str, "traceback": list}

REFUSALS = (
    _node_refusal(
        "absent-checkpoint",
        diffusion(checkpoint="no-such.safetensors"),
        "4",
        "value_not_in_list",
        "Value not in list",
        re.compile(r"ckpt_name: 'no-such.safetensors' not in (\[.*\]|\(list of length \d+\))"),
        {"input_name": "ckpt_name", "input_config": ANY, "received_value": "no-such.safetensors"},
        "9",
    ),
    _node_refusal(
        "absent-required-input",
        _changed("1", width=...),
        "1",
        "required_input_missing",
        "Required input is missing",
        "width",
        {"input_name": "width"},
    ),
    _node_refusal(
        "too-large-a-value",
        _changed("1", width=99999),
        "1",
        "value_bigger_than_max",
        "Value 99999 bigger than max of 16384",
        "width",
        {"input_name": "width", "received_value": 99999, "input_config": ["INT", {"max": 16384}]},
    ),
    _node_refusal(
        "too-small-a-value",
        _changed("1", width=0),
        "1",
        "value_smaller_than_min",
        "Value 0 smaller than min of 1",
        "width",
        {"input_name": "width", "received_value": 0, "input_config": ["INT", {"min": 1}]},
    ),
    _node_refusal(
        "text-for-a-number",
        _changed("1", width="abc"),
        "1",
        "invalid_input_type",
        "Failed to convert an input value to a INT value",
        "width, abc, invalid literal for int() with base 10: 'abc'",
        {"input_name": "width", "received_value": "abc", "exception_message": str},
    ),
    _node_refusal(
        "null-for-a-number",
        _changed("1", width=None),
        "1",
        "invalid_input_type",
        "Failed to convert an input value to a INT value",
        re.compile(r"width, None, int\(\) argument must be .*"),
        {"input_name": "width", "received_value": None},
    ),
    _node_refusal(
        "choice-that-is-none",
        plain().node("2", "ImageScale", image=["1", 0], upscale_method="magic", width=8, height=8, crop="disabled"),
        "2",
        "value_not_in_list",
        "Value not in list",
        re.compile(r"upscale_method: 'magic' not in \[.*'lanczos'\]"),
        {"input_name": "upscale_method", "received_value": "magic"},
    ),
    _node_refusal(
        "link-of-another-type",
        plain()
        .node("1", "EmptyLatentImage", width=64, height=64, batch_size=1)
        .node("3", "SaveImage", images=["1", 0], filename_prefix="x"),
        "3",
        "return_type_mismatch",
        "Return type mismatch between linked nodes",
        "images, received_type(LATENT) mismatch input_type(IMAGE)",
        {"input_name": "images", "received_type": "LATENT", "linked_node": ["1", 0]},
    ),
    _node_refusal(
        "link-of-length-one",
        _changed("2", image=["1"]),
        "2",
        "bad_linked_input",
        "Bad linked input, must be a length-2 list of [node_id, slot_index]",
        "image",
        {"input_name": "image", "received_value": ["1"]},
    ),
    _node_refusal(
        "link-to-an-absent-node",
        _changed("2", image=["77", 0]),
        "2",
        "exception_during_inner_validation",
        "Exception when validating inner node",
        "'77'",
        {"input_name": "images", "linked_node": ["2", 0], **_TRACEBACK},
    ),
    _node_refusal(
        "link-to-an-absent-slot",
        _changed("2", image=["1", 5]),
        "2",
        "exception_during_inner_validation",
        "Exception when validating inner node",
        "tuple index out of range",
        {"input_name": "images", "linked_node": ["2", 0], **_TRACEBACK},
    ),
    _node_refusal(
        "output-linked-to-an-absent-node",
        _changed("3", images=["77", 0]),
        "3",
        "exception_during_validation",
        "Exception when validating node",
        "'77'",
        _TRACEBACK,
    ),
    _node_refusal(
        "absent-input-file",
        plain().node("1", "LoadImage", image="no-such.png"),
        "1",
        "custom_validation_failed",
        "Custom validation failed for node",
        "image - Invalid image file: no-such.png",
        {"input_name": "image"},
    ),
    _node_refusal(
        "number-as-a-file-name",
        plain().node("1", "LoadImage", image=7),
        "1",
        "exception_during_inner_validation",
        "Exception when validating inner node",
        "'int' object has no attribute 'endswith'",
        {"exception_type": "AttributeError", "linked_node": ["1", 0], "input_config": ["IMAGE", dict]},
    ),
    _prompt_refusal(
        "workflow-without-output",
        Workflow().node("1", "EmptyImage", width=8, height=8, batch_size=1, color=0),
        "prompt_no_outputs",
        "Prompt has no outputs",
        "",
    ),
    _prompt_refusal("empty-workflow", {}, "prompt_no_outputs", "Prompt has no outputs", ""),
)


async def _refuses_class(server: ComfyUi, prompt: Workflow, node: str, today: Any, before: str) -> None:
    expected: tuple[str, Any, Any] = ("invalid_prompt", before, NOTHING)
    if await server.is_of_today():
        expected = ("missing_node_type", str, {"node_id": node, **today})
    kind, message, extra = expected
    error = {"type": kind, "message": message, "details": f"Node ID '#{node}'", "extra_info": extra}
    await server.refuses("POST", "/prompt", 400, {"error": error, "node_errors": NOTHING}, json={"prompt": prompt})


@case("an unknown class is 400 with missing_node_type (invalid_prompt in 0.3) and the node")
async def refuses_unknown_class(server: ComfyUi) -> None:
    prompt = plain().node("2", "NoSuchNode")
    prompt["2"]["_meta"] = {"title": "Mine"}
    before = "Cannot execute because node NoSuchNode does not exist."
    await _refuses_class(server, prompt, "2", {"class_type": "NoSuchNode", "node_title": "Mine"}, before)


@case("an absent class is 400 with missing_node_type (invalid_prompt in 0.3) and the node")
async def refuses_absent_class(server: ComfyUi) -> None:
    before = "Cannot execute because a node is missing the class_type property."
    prompt = Workflow({"1": {"inputs": {}}})
    await _refuses_class(server, prompt, "1", {"class_type": None, "node_title": None}, before)


@case("a list in the place of a workflow is 500, and 400 with prompt_no_outputs in 0.3")
async def refuses_list_as_workflow(server: ComfyUi) -> None:
    if await server.is_of_today():
        await server.refuses("POST", "/prompt", 500, SERVER_ERROR, json={"prompt": []})
    else:
        await server.refuses("POST", "/prompt", 400, {"error": {"type": "prompt_no_outputs"}}, json={"prompt": []})


@case("an id that is no UUID in lower case with hyphens is 400 with invalid_prompt_id; 0.3 takes any text")
async def refuses_other_ids(server: ComfyUi) -> None:
    today = await server.is_of_today()
    for name in ("a", fresh().upper(), fresh().replace("-", "")):
        document = {"prompt": plain(fresh()), "prompt_id": name}
        if today:
            error = {"type": "invalid_prompt_id", "message": "prompt_id must be a valid UUID", "details": str}
            body = {"error": {**error, "extra_info": NOTHING}, "node_errors": NOTHING}
            await server.refuses("POST", "/prompt", 400, body, json=document)
        else:
            check("POST /prompt", {"prompt_id": name}, await server.post("/prompt", document))
    await server.idle()


@case("extra data that is null is 500 at once")
async def fails_at_extra_data_that_is_null(server: ComfyUi) -> None:
    # 0.3 takes it, and never runs anything again.
    await server.only_today()
    await server.refuses("POST", "/prompt", 500, SERVER_ERROR, json={"prompt": plain(), "extra_data": None})


FAILURES = (
    _failure("malformed-json", "/prompt", b"{"),
    _failure("an-empty-body", "/prompt", b""),
    _failure("null", "/prompt", b"null"),
    _failure("a-prompt-that-is-null", "/prompt", b'{"prompt": null}'),
    _failure("a-prompt-that-is-text", "/prompt", b'{"prompt": "text"}'),
    _failure("a-node-that-is-no-object", "/prompt", b'{"prompt": {"1": 7}}'),
    _failure("a-number-that-is-text", "/prompt", b'{"prompt": {}, "number": "abc"}'),
    _failure("freeing-without-a-body", "/free", b""),
    _failure("a-queue-command-without-a-body", "/queue", b""),
    _failure("a-history-command-without-a-body", "/history", b""),
    _failure("an-interrupt-with-a-list", "/interrupt", b"[]"),
)


def _no_prompt(name: str, data: bytes) -> Case:
    async def refused(server: ComfyUi) -> None:
        error = {"type": "no_prompt", "message": "No prompt provided", "details": str, "extra_info": NOTHING}
        await server.refuses("POST", "/prompt", 400, {"error": error, "node_errors": NOTHING}, data=data)

    return Case(f"refuses-{name}", f"POST /prompt with {data.decode()} is 400 with no_prompt", refused)


NO_PROMPTS = (_no_prompt("a-body-without-prompt", b"{}"), _no_prompt("a-list-as-body", b"[]"))


@case("a circle of links is 400; each of its nodes is named, with the path (0.3: no node and no details)")
async def refuses_a_circle(server: ComfyUi) -> None:
    prompt = plain().node("1", "ImageInvert", image=["2", 0])
    nodes: Any = NOTHING
    if await server.is_of_today():
        fault = {"type": "dependency_cycle", "details": "2 (ImageInvert) -> 1 (ImageInvert) -> 2 (ImageInvert)"}
        infos = {name: {"node_id": name, "cycle_nodes": ["2", "1"]} for name in "12"}
        nodes = Only(
            {
                name: {"errors": [{**fault, "extra_info": info}], "dependent_outputs": ["3"]}
                for name, info in infos.items()
            }
        )
    body = {"error": {**_VALIDATION, "details": ""}, "node_errors": nodes}
    await server.refuses("POST", "/prompt", 400, body, json={"prompt": prompt})


@case("every faulty output is named; a node that two outputs need names both")
async def refuses_with_all_outputs(server: ComfyUi) -> None:
    prompt = _changed("1", width=0).node("4", "PreviewImage", images=["1", 0])
    both = OneOf(["3", "4"], ["4", "3"])
    node = {"errors": [{"type": "value_smaller_than_min"}], "dependent_outputs": both, "class_type": "EmptyImage"}
    await server.refuses("POST", "/prompt", 400, {"node_errors": Only({"1": node})}, json={"prompt": prompt})


@case("one good and one bad output is 200 with node errors; only the good one runs")
async def accepts_the_good_part(server: ComfyUi) -> None:
    prompt = plain(fresh(), color=color()).node("4", "SaveImage", filename_prefix="x")
    answer = await server.post("/prompt", {"prompt": prompt})
    node = {"errors": [{"type": "required_input_missing", "details": "images"}], "class_type": "SaveImage"}
    check("POST /prompt", {"prompt_id": str, "node_errors": Only({"4": node})}, answer)
    entry = await server.finished(answer["prompt_id"])
    check("outputs", Only({"3": dict}), entry["outputs"])
    check("status", {"status_str": "success"}, entry["status"])


@case("a page of another site is refused with 403; the server's own page and no page are not")
async def refuses_foreign_pages(server: ComfyUi) -> None:
    await server.refuses("GET", "/queue", 403, "", headers={"Origin": "http://evil.example"})
    await server.refuses("GET", "/queue", 200, dict, headers={"Origin": server.url})


@case("what a browser says a page of another site sends is refused with 403, whatever the origin")
async def refuses_cross_site(server: ComfyUi) -> None:
    await server.only_today()
    await server.refuses("GET", "/queue", 403, "", headers={"Sec-Fetch-Site": "cross-site"})
    await server.refuses("GET", "/queue", 200, dict, headers={"Sec-Fetch-Site": "same-site"})


@case("partial_execution_targets that name no output leave none: 400 with prompt_no_outputs")
async def refuses_targets_that_are_none(server: ComfyUi) -> None:
    for targets in ([], ["no-such"], ["1"]):
        body = {"error": {"type": "prompt_no_outputs"}, "node_errors": NOTHING}
        document = {"prompt": plain(), "partial_execution_targets": targets}
        await server.refuses("POST", "/prompt", 400, body, json=document)


@case("an unknown route is 404 without a body; for another method than GET it is 405")
async def refuses_unknown_routes(server: ComfyUi) -> None:
    await server.refuses("GET", "/no-such-route", 404, "")
    await server.refuses("GET", "/upload/image", 404, "")
    await server.refuses("POST", "/no-such-route", 405, "405: Method Not Allowed")


@case("a wrong method is 405 in plain text")
async def refuses_wrong_methods(server: ComfyUi) -> None:
    for method, path in (("DELETE", "/queue"), ("PUT", "/prompt")):
        await server.refuses(method, path, 405, "405: Method Not Allowed")


@case("what is refused is not queued, and leaves no history")
async def refused_leaves_nothing(server: ComfyUi) -> None:
    await server.idle()
    name = fresh()
    body = json.dumps({"prompt": _changed("1", width=0), "prompt_id": name})
    reply = await server.send("POST", "/prompt", data=body)
    check("POST /prompt", 400, reply.status)
    check("the queue", {"exec_info": {"queue_remaining": 0}}, await server.get("/prompt"))
    check("the history", NOTHING, await server.history(name))
