"""ComfyUI: every refusal that is known of the real server, and that no prompt breaks the check."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_runtime.comfyui.execution import prompt_text, run_order, signatures
from fake_runtime.comfyui.files import Files
from fake_runtime.comfyui.node_types import Shelf
from fake_runtime.comfyui.nodes import NODE_CLASSES
from fake_runtime.comfyui.validation import Verdict, validate_prompt
from fake_runtime.comfyui.version import VERSIONS
from tests.support.workflows import Workflow, diffusion, plain
from tests.unit.fake_runtime.support import Server, serving


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf(["a.safetensors"], Files(Path(tempfile.mkdtemp()), 10), NODE_CLASSES)


def changed(node_id: str, **inputs: Any) -> Workflow:
    """The plain workflow with other inputs of a node; ... takes one away."""
    prompt = plain()
    prompt[node_id]["inputs"] |= inputs
    prompt[node_id]["inputs"] = {key: value for key, value in prompt[node_id]["inputs"].items() if value is not ...}
    return prompt


def load(name: str) -> Workflow:
    return plain().node("1", "LoadImage", image=name)


# name: (prompt, node, type of error, message, details)
NODE_ERRORS: dict[str, tuple[Workflow, str, str, str, str]] = {
    "checkpoint absent": (
        diffusion(checkpoint="v1-5.safetensors"),
        "4",
        "value_not_in_list",
        "Value not in list",
        "ckpt_name: 'v1-5.safetensors' not in ['a.safetensors']",
    ),
    "required input absent": (
        changed("1", width=...),
        "1",
        "required_input_missing",
        "Required input is missing",
        "width",
    ),
    "too large": (
        changed("1", width=99999),
        "1",
        "value_bigger_than_max",
        "Value 99999 bigger than max of 16384",
        "width",
    ),
    "too small": (changed("1", width=0), "1", "value_smaller_than_min", "Value 0 smaller than min of 1", "width"),
    "no number": (
        changed("1", width="abc"),
        "1",
        "invalid_input_type",
        "Failed to convert an input value to a INT value",
        "width, abc, invalid literal for int() with base 10: 'abc'",
    ),
    "wrong link type": (
        plain()
        .node("1", "EmptyLatentImage", width=64, height=64, batch_size=1)
        .node("3", "SaveImage", images=["1", 0], filename_prefix="x"),
        "3",
        "return_type_mismatch",
        "Return type mismatch between linked nodes",
        "images, received_type(LATENT) mismatch input_type(IMAGE)",
    ),
    "link of wrong length": (
        changed("2", image=["1"]),
        "2",
        "bad_linked_input",
        "Bad linked input, must be a length-2 list of [node_id, slot_index]",
        "image",
    ),
    "link to absent node": (
        changed("2", image=["77", 0]),
        "2",
        "exception_during_inner_validation",
        "Exception when validating inner node",
        "'77'",
    ),
    "link to absent slot": (
        changed("2", image=["1", 5]),
        "2",
        "exception_during_inner_validation",
        "Exception when validating inner node",
        "tuple index out of range",
    ),
    "output linked to absent node": (
        changed("3", images=["77", 0]),
        "3",
        "exception_during_validation",
        "Exception when validating node",
        "'77'",
    ),
    "file absent": (
        load("nosuch.png"),
        "1",
        "custom_validation_failed",
        "Custom validation failed for node",
        "image - Invalid image file: nosuch.png",
    ),
    "file outside": (
        load("../../../../etc/passwd"),
        "1",
        "custom_validation_failed",
        "Custom validation failed for node",
        "image - Invalid image file: ../../../../etc/passwd",
    ),
}


@pytest.mark.parametrize("case", NODE_ERRORS)
def test_node_errors_are_worded_as_the_original_words_them(shelf: Shelf, case: str) -> None:
    prompt, node_id, kind, message, details = NODE_ERRORS[case]
    verdict = validate_prompt(prompt, shelf)
    assert verdict.error is not None
    assert verdict.error["type"] == "prompt_outputs_failed_validation"
    assert verdict.error["message"] == "Prompt outputs failed validation"
    entry = verdict.node_errors[node_id]
    (error,) = entry["errors"]
    assert (error["type"], error["message"], error["details"]) == (kind, message, details)
    assert entry["class_type"] == prompt[node_id]["class_type"]
    assert entry["dependent_outputs"] == ["9" if "9" in prompt else "3"]
    # Only what is wrong with the output node itself is repeated at the top.
    own = node_id == entry["dependent_outputs"][0]
    assert verdict.error["details"] == (f"{message}: {details}" if own else "")


PROMPT_ERRORS: dict[str, tuple[Any, str, str, str]] = {
    "unknown class": (
        plain().node("2", "NoSuchNode"),
        "missing_node_type",
        "Node 'NoSuchNode' not found. The custom node may not be installed.",
        "Node ID '#2'",
    ),
    "no class": (
        {"1": {"inputs": {}}},
        "missing_node_type",
        "Node 'ID #1' has no class_type. The workflow may be corrupted or a custom node is missing.",
        "Node ID '#1'",
    ),
    "no output": (
        {"1": {"class_type": "EmptyImage", "inputs": {}}},
        "prompt_no_outputs",
        "Prompt has no outputs",
        "",
    ),
    "nothing": ({}, "prompt_no_outputs", "Prompt has no outputs", ""),
}


@pytest.mark.parametrize("case", PROMPT_ERRORS)
def test_prompt_errors_are_worded_as_the_original_words_them(shelf: Shelf, case: str) -> None:
    prompt, kind, message, details = PROMPT_ERRORS[case]
    verdict = validate_prompt(prompt, shelf)
    assert verdict.error is not None
    told = {name: value for name, value in verdict.error.items() if name != "extra_info"}
    assert told == {"type": kind, "message": message, "details": details}
    assert verdict.node_errors == {}


def test_a_circle_is_named_at_each_of_its_nodes(shelf: Shelf) -> None:
    verdict = validate_prompt(
        changed("1", image=["2", 0]) | {"1": {**plain()["2"], "inputs": {"image": ["2", 0]}}}, shelf
    )
    assert verdict.error is not None
    assert (verdict.error["type"], verdict.error["details"]) == ("prompt_outputs_failed_validation", "")
    for node_id in "12":
        (error,) = verdict.node_errors[node_id]["errors"]
        assert error["type"] == "dependency_cycle"
        assert error["details"] == "2 (ImageInvert) -> 1 (ImageInvert) -> 2 (ImageInvert)"
        assert error["extra_info"] == {"node_id": node_id, "cycle_nodes": ["2", "1"]}


def test_what_0_3_says_of_classes_and_circles_is_another_thing(shelf: Shelf) -> None:
    old = replace(shelf, version=VERSIONS["0.3.64"])
    verdict = validate_prompt(plain().node("2", "NoSuchNode"), old)
    assert verdict.error == {
        "type": "invalid_prompt",
        "message": "Cannot execute because node NoSuchNode does not exist.",
        "details": "Node ID '#2'",
        "extra_info": {},
    }
    assert validate_prompt(changed("2", image=["2", 0]), old).node_errors == {}
    assert validate_prompt([], old).error == {
        "type": "prompt_no_outputs",
        "message": "Prompt has no outputs",
        "details": "",
        "extra_info": {},
    }


def test_an_absent_choice_is_told_with_the_choices(shelf: Shelf) -> None:
    error = validate_prompt(diffusion(checkpoint="x"), shelf).node_errors["4"]["errors"][0]
    assert error["extra_info"]["input_name"] == "ckpt_name"
    assert error["extra_info"]["received_value"] == "x"
    assert error["extra_info"]["input_config"][0] == ["a.safetensors"]


def test_long_lists_of_choices_are_only_counted(shelf: Shelf) -> None:
    many = Shelf([f"{number}.safetensors" for number in range(42)], shelf.files, NODE_CLASSES)
    error = validate_prompt(diffusion(checkpoint="x"), many).node_errors["4"]["errors"][0]
    assert error["details"] == "ckpt_name: 'x' not in (list of length 42)"
    assert error["extra_info"]["input_config"] is None


@pytest.mark.parametrize(("given_value", "read"), [("64", 64), (64.7, 64), (True, 1)])
def test_lax_values_are_converted_as_the_original_converts_them(shelf: Shelf, given_value: Any, read: int) -> None:
    prompt = changed("1", width=given_value, height={"__value__": "8"}, unknown="ignored")
    prompt["1"]["_meta"] = {"title": "Empty"}
    assert validate_prompt(prompt, shelf).error is None
    assert (prompt["1"]["inputs"]["width"], prompt["1"]["inputs"]["height"]) == (read, 8)


async def test_a_refusal_comes_with_400_and_both_parts(comfyui: Server) -> None:
    status, body = await comfyui.send("POST", "/prompt", json={"prompt": changed("1", width=...)})
    assert status == 400
    assert set(body) == {"error", "node_errors"}


async def test_one_good_output_is_enough_and_the_others_errors_come_with_200(comfyui: Server) -> None:
    prompt = plain().node("4", "LoadImage", image="nosuch.png").node("5", "PreviewImage", images=["4", 0])
    answer = await comfyui.post("/prompt", {"prompt": prompt})
    assert answer["node_errors"]["4"]["dependent_outputs"] == ["5"]
    entry = await comfyui.finished(answer["prompt_id"])
    assert set(entry["outputs"]) == {"3"}
    assert entry["prompt"][4] == ["3"]


async def test_no_checkpoints_is_an_empty_list_of_choices(tmp_path: Path) -> None:
    async with serving(tmp_path, type="comfyui", models=["x"]) as comfyui:
        _, body = await comfyui.send("POST", "/prompt", json={"prompt": diffusion()})
    details = body["node_errors"]["4"]["errors"][0]["details"]
    assert details == "ckpt_name: 'v1-5-pruned-emaonly.safetensors' not in ['x']"


# --- any prompt at all

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
links = st.tuples(st.sampled_from("123") | leaves, st.integers(-2, 3) | leaves).map(list)
values = (
    leaves | links | st.lists(leaves, max_size=3) | st.dictionaries(st.just("__value__") | st.text(max_size=3), leaves)
)
NAMES = sorted({name for node in NODE_CLASSES.values() for name in (*node.required, *node.optional)})
nodes = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from(sorted(NODE_CLASSES)),
        "inputs": st.dictionaries(st.sampled_from(NAMES), values, max_size=6),
    }
)
prompts = st.dictionaries(st.sampled_from("123"), nodes | nodes | values, max_size=3)


def try_to_validate(prompt: Any, shelf: Shelf) -> Verdict | None:
    try:
        return validate_prompt(prompt, shelf)
    except (TypeError, AttributeError, LookupError):
        return None  # The route answers 500, as the original's does.


@settings(max_examples=150, deadline=None)
@given(prompts | values)
def test_any_prompt_gets_a_verdict(shelf: Shelf, prompt: Any) -> None:
    verdict = try_to_validate(prompt, shelf)
    if verdict is not None:
        assert bool(verdict.error) is not bool(verdict.outputs)


@st.composite
def graphs(draw: st.DrawFn) -> Workflow:
    """Chains and diamonds of picture nodes; links go back only, so there is no cycle."""
    prompt = Workflow().node("0", "EmptyImage", width=8, height=8, batch_size=1, color=draw(st.integers(0, 2)))
    for number in range(1, draw(st.integers(1, 8))):
        source, other = (str(draw(st.integers(0, number - 1))) for _ in range(2))
        if draw(st.booleans()):
            prompt.node(str(number), "ImageInvert", image=[source, 0])
        else:
            prompt.node(str(number), "ImageBatch", image1=[source, 0], image2=[other, 0])
    for number in range(draw(st.integers(1, 3))):
        source = str(draw(st.integers(0, len(prompt) - 1 - number)))
        prompt.node(f"out{number}", "SaveImage", images=[source, 0], filename_prefix=f"p{number}")
    return prompt


@given(graphs(), st.data())
def test_nodes_run_after_what_they_need_and_cached_ones_only_as_outputs(prompt: Workflow, data: st.DataObject) -> None:
    outputs = [node_id for node_id in prompt if node_id.startswith("out")]
    cached = frozenset(data.draw(st.sets(st.sampled_from(sorted(prompt)))))
    order = run_order(prompt, outputs, cached)
    assert len(set(order)) == len(order)
    assert set(outputs) <= set(order)
    assert all(node_id in outputs for node_id in order if node_id in cached)
    for position, node_id in enumerate(order):
        if node_id in cached:
            continue
        for value in prompt[node_id]["inputs"].values():
            if isinstance(value, list):
                assert value[0] in cached or value[0] in order[:position]


@given(graphs())
def test_a_signature_follows_all_that_is_upstream(prompt: Workflow) -> None:
    before = signatures(prompt, {})
    assert set(before) == set(prompt)
    prompt["0"]["inputs"]["color"] = 99
    after = signatures(prompt, {})
    assert all(before[node_id] != after[node_id] for node_id in prompt)
    assert signatures(prompt, {"0": "other bytes"})["0"] != after["0"]


def test_signatures_leave_out_what_hangs_on_nothing() -> None:
    prompt = plain().node("8", "ImageInvert", image=["77", 0]).node("9", "ImageInvert", image=["9", 0])
    assert set(signatures(prompt, {})) == {"1", "2", "3"}


def test_the_text_of_a_prompt_is_all_its_texts() -> None:
    assert prompt_text(diffusion("a cat")).split("\n")[:3] == ["v1-5-pruned-emaonly.safetensors", "a cat", "ugly"]
