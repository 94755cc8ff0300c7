"""Each dialect becomes the same kind of task, and what cannot become one is refused by the name of its field."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import examples
from api.errors import ApiError
from api.requests import MAX_CONTEXT_BYTES, TASK_APIS, MetadataV1, from_task, from_v1, from_v1alpha1, from_v1alpha2
from api.unknown_keys import warning_headers
from contract.config import Config, parse_config
from contract.task import TaskType
from tests.unit.api.strategies import JSON_VALUES, attempt

SEEDS = Path(__file__).parents[2] / "seeds"
MODEL = "v1-5-pruned-emaonly.safetensors"


def config(*runtimes: str) -> Config:
    listed = "".join(f"- {runtime}\n" for runtime in runtimes)
    return parse_config(f"modelBucketArn: arn:aws:s3:::models\nmodelsRuntime:\n{listed}")


STATIC = "{name: sdruntime, type: sdwebui, modelFilename: " + MODEL + "}"
DYNAMIC = "{name: dynamicruntime, type: sdwebui, dynamicModel: true}"
COMFY = "{name: comfyruntime, type: comfyui}"
ALL = config(STATIC, DYNAMIC, COMFY)


def seed(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SEEDS / f"{name}.json").read_text())
    return document


def refusal(understand: Any, document: Any, known: Config = ALL) -> ApiError:
    with pytest.raises(ApiError) as caught:
        understand(document, known)
    assert caught.value.status == 400
    return caught.value


def test_the_examples_of_the_api_are_the_seeds() -> None:
    for name, example in examples.V1ALPHA2.items():
        assert example == seed(f"v1alpha2-{name}")
    for name, example in examples.V1ALPHA1.items():
        assert example == seed(f"v1alpha1-{name}")
    assert examples.TASK["text-to-image"] == seed("task-text-to-image")


@pytest.mark.parametrize("name", examples.V1ALPHA2)
def test_v1alpha2_is_taken_as_it_is(name: str) -> None:
    document = seed(f"v1alpha2-{name}")

    task = from_v1alpha2(document, ALL)

    metadata = document["task"]["metadata"]
    assert (task.task_id, task.runtime.name, task.task_type, task.prefix, task.context) == (
        metadata["id"],
        metadata["runtime"],
        metadata["tasktype"],
        "output",
        "",
    )
    assert task.content == document["task"]["content"]


@pytest.mark.parametrize("name", ["text-to-image", "image-to-image"])
def test_v1alpha1_keeps_its_whole_content_and_finds_the_runtime_by_checkpoint(name: str) -> None:
    document = seed(f"v1alpha1-{name}")

    task = from_v1alpha1(document, ALL)

    assert task.content == document
    assert (task.runtime.name, task.checkpoint, task.prefix) == ("sdruntime", MODEL, "outputs")
    assert task.task_type == name


def test_v1alpha1_falls_back_to_the_dynamic_runtime_and_says_what_there_is_without_one() -> None:
    document = seed("v1alpha1-text-to-image")
    document["alwayson_scripts"]["sd_model_checkpoint"] = "other.safetensors"

    assert from_v1alpha1(document, ALL).runtime.name == "dynamicruntime"
    error = refusal(from_v1alpha1, document, config(STATIC, COMFY))
    assert error.details[0]["allowed"] == [MODEL]


@pytest.mark.parametrize("field", ["task", "sd_model_checkpoint", "id_task"])
def test_v1alpha1_names_the_routing_field_that_is_missing(field: str) -> None:
    document = seed("v1alpha1-text-to-image")
    del document["alwayson_scripts"][field]

    assert refusal(from_v1alpha1, document).message == f"alwayson_scripts.{field}: is required and missing"


def test_v1alpha1_image_to_image_needs_an_image_from_somewhere() -> None:
    document = seed("v1alpha1-image-to-image")
    del document["alwayson_scripts"]["image_link"]

    assert refusal(from_v1alpha1, document).details[0]["field"] == "alwayson_scripts.image_link"
    assert from_v1alpha1(document | {"init_images": ["AAAA"]}, ALL).task_type is TaskType.IMAGE_TO_IMAGE


def test_v1alpha1_has_two_task_types() -> None:
    document = seed("v1alpha1-text-to-image")
    document["alwayson_scripts"]["task"] = "pipeline"

    assert refusal(from_v1alpha1, document).details[0]["allowed"] == ["text-to-image", "image-to-image"]


@pytest.mark.parametrize(("api", "task_type"), TASK_APIS.items())
@pytest.mark.parametrize("spelling", ["{}", "{}/"])
def test_task_finds_the_task_type_by_the_path(api: str, task_type: TaskType, spelling: str) -> None:
    workflow = seed("v1alpha2-pipeline")["task"]["content"]
    payload = {"prompt": workflow, "client_id": "x"} if task_type is TaskType.PIPELINE else {"prompt": "A dog"}

    task = from_task({"api": spelling.format(api), "payload": payload}, ALL)
    bare = from_task({"api": spelling.format(api).removeprefix("/"), "payload": payload}, ALL)

    assert task == bare
    assert (task.task_type, task.task_id, task.prefix) == (task_type, None, "output")
    assert task.runtime.name == ("comfyruntime" if task_type is TaskType.PIPELINE else "sdruntime")
    if task_type is TaskType.PIPELINE:
        assert task.content == workflow


def test_task_finds_the_runtime_by_the_checkpoint_that_the_payload_names() -> None:
    payload = {"prompt": "A dog", "override_settings": {"sd_model_checkpoint": "other.safetensors"}}

    task = from_task({"api": "/sdapi/v1/txt2img", "payload": payload}, ALL)

    assert (task.runtime.name, task.checkpoint) == ("dynamicruntime", "other.safetensors")


def test_what_a_request_says_of_a_link_is_checked_against_its_content() -> None:
    document = seed("v1alpha2-pipeline")
    document["task"]["metadata"]["inputs"] = {"fetch": ["/999/inputs/url"]}
    error = refusal(from_v1alpha2, document, ALL)
    assert error.details[0]["field"] == "task.metadata.inputs.fetch.0"
    assert "names nothing in the content" in error.message


def test_a_prompt_keeps_what_comfyui_takes_beside_its_workflow_and_no_place_in_the_queue() -> None:
    workflow = seed("v1alpha2-pipeline")["task"]["content"]
    besides = {"extra_data": {"api_key_comfy_org": "k"}, "partial_execution_targets": ["9"]}
    payload = {"prompt": workflow, **besides, "client_id": "x", "prompt_id": "y", "number": -1, "front": True}
    assert from_task({"api": "/prompt", "payload": payload}, config(STATIC, COMFY)).content == {
        "prompt": workflow,
        **besides,
    }


def test_task_says_which_paths_there_are_and_which_runtime_is_missing() -> None:
    assert refusal(from_task, {"api": "/sdapi/v1/options", "payload": {}}).details[0]["allowed"] == list(TASK_APIS)
    error = refusal(from_task, {"api": "/prompt", "payload": {"1": {"class_type": "A"}}}, config(STATIC))
    assert "comfyui" in error.message


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({}, "task.content"),
        ({"prompt": {}}, "task.content.prompt"),
        ({"3": []}, "task.content.3"),
        ({"3": {}}, "task.content.3.class_type"),
        ({"id": "x", "nodes": [{"type": "EmptyImage"}], "links": []}, "task.content.nodes"),
        ({"nodes": [], "links": []}, "task.content.nodes"),
    ],
)
def test_a_workflow_that_is_none_is_refused_by_the_node(content: dict[str, Any], field: str) -> None:
    document = seed("v1alpha2-pipeline")
    document["task"]["content"] = content

    assert refusal(from_v1alpha2, document).details[0]["field"] == field


@pytest.mark.parametrize("checkpoint", ["a\x00b", "\n", " ", "x" * 256, "ä" * 128])
def test_a_checkpoint_that_no_file_can_have_is_refused(checkpoint: str) -> None:
    document = seed("v1alpha2-text-to-image")
    document["task"]["content"]["alwayson_scripts"] = {"sd_model_checkpoint": checkpoint}

    assert "checkpoint" in refusal(from_v1alpha2, document).message


def test_a_context_may_be_any_json_up_to_its_limit() -> None:
    document = seed("v1alpha2-text-to-image")
    contexts: list[Any] = [None, 0, False, "", [], {"a": [1, None]}, "x" * (MAX_CONTEXT_BYTES - 2)]
    for context in contexts:
        document["task"]["metadata"]["context"] = context
        assert from_v1alpha2(document, ALL).context == context
    document["task"]["metadata"]["context"] = "x" * MAX_CONTEXT_BYTES
    assert refusal(from_v1alpha2, document).details[0]["field"] == "task.metadata.context"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"task": []}, "task: must be a JSON object"),
        (
            {"task": {"metadata": 1, "content": "x"}},
            "task.metadata: must be a JSON object; task.content: must be a JSON object",
        ),
    ],
)
def test_what_is_no_object_is_said_in_jsons_words(document: Any, message: str) -> None:
    assert refusal(from_v1, document).message == message


def test_only_v1_may_leave_the_id_out() -> None:
    document = seed("v1alpha2-text-to-image")
    del document["task"]["metadata"]["id"]

    assert from_v1(document, ALL).task_id is None
    assert refusal(from_v1alpha2, document).details[0]["field"] == "task.metadata.id"


NAMES = [
    "alwayson_scripts", "api", "content", "context", "id", "id_task", "metadata", "override_settings", "payload",
    "prefix", "prompt", "runtime", "save_dir", "sd_model_checkpoint", "task", "tasktype",
]  # fmt: skip
WORDS = ["sdruntime", "comfyruntime", "text-to-image", "image-to-image", "pipeline", "/prompt", "output", MODEL]
NEAR_MISSES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(WORDS) | JSON_VALUES,
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=30,
)


@given(NEAR_MISSES)
def test_whatever_is_sent_becomes_a_task_or_a_400_in_words(document: Any) -> None:
    for understand in (from_v1, from_v1alpha2, from_v1alpha1, from_task):
        outcome = attempt(understand, document, ALL)
        if isinstance(outcome, ApiError):
            assert outcome.status == 400
            assert outcome.message
            assert outcome.answer().body
        else:
            assert outcome.runtime in ALL.runtimes


@pytest.mark.parametrize("task_type", TaskType)
def test_a_runtime_of_ones_own_takes_every_type_of_task_and_any_content(task_type: TaskType) -> None:
    known = config(STATIC, "{name: own, type: http}")
    metadata: dict[str, Any] = {
        "id": "a",
        "runtime": "own",
        "tasktype": task_type.value,
        "prefix": "output",
        "context": {},
    }
    task = from_v1alpha2({"task": {"metadata": metadata, "content": {"anything": [1]}}}, known)
    assert (task.runtime.name, task.task_type, task.content, task.checkpoint) == (
        "own",
        task_type,
        {"anything": [1]},
        None,
    )


GRAPH: dict[str, Any] = {"nodes": {"a": {"id": "a", "type": "blank_image"}}, "edges": []}


def of_invokeai(content: Any) -> Any:
    metadata = {"id": "a", "runtime": "own", "tasktype": "pipeline", "prefix": "output", "context": {}}
    return {"task": {"metadata": metadata, "content": content}}


@pytest.mark.parametrize("content", [GRAPH, {"graph": GRAPH}, {"batch": {"graph": GRAPH, "runs": 1}}])
def test_an_invokeai_runtime_takes_graphs_bare_and_wrapped(content: dict[str, Any]) -> None:
    known = config(STATIC, "{name: own, type: invokeai}")
    assert from_v1alpha2(of_invokeai(content), known).content == content


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({}, "task.content.nodes"),
        ({"graph": {"nodes": []}}, "task.content.graph.nodes"),
        ({"batch": {"graph": {"nodes": {"a": {"id": "a"}}}}}, "task.content.batch.graph.nodes.a.type"),
    ],
)
def test_what_is_no_graph_is_refused_by_the_name_of_the_field(content: dict[str, Any], field: str) -> None:
    with pytest.raises(ApiError) as caught:
        from_v1alpha2(of_invokeai(content), config(STATIC, "{name: own, type: invokeai}"))
    assert field in str(caught.value.answer().body)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"path": "/v1/files", "body": {"prompt": "a dog"}}, "task.content.path: must be one of"),
        ({"path": "/v1/videos", "body": {}}, "task.content.body: must be the JSON object"),
        ({"size": "64x64"}, "task.content.prompt: is required"),
    ],
)
def test_a_pipeline_of_an_openai_runtime_reaches_no_other_route(content: dict[str, Any], field: str) -> None:
    with pytest.raises(ApiError) as caught:
        from_v1alpha2(of_invokeai(content), config(STATIC, "{name: own, type: openai}"))
    assert field in str(caught.value.answer().body)


def v1(**metadata: Any) -> dict[str, Any]:
    known = {"runtime": "sdruntime", "tasktype": "text-to-image", "prefix": "output"}
    return {"task": {"metadata": known | metadata, "content": {"prompt": "A dog"}}}


@pytest.mark.parametrize(
    ("document", "field", "said"),
    [
        (v1(callback="https://me.example"), "task.metadata.callback", "unknown key; known are id, runtime, tasktype"),
        (v1(contxt={}), "task.metadata.contxt", "unknown key; did you mean 'context'?"),
        ({"task": v1()["task"] | {"contents": {}}}, "task.contents", "unknown key; did you mean 'content'?"),
        (v1() | {"priority": 1}, "priority", "unknown key; known are task"),
    ],
)
def test_v1_refuses_a_key_that_nobody_reads_and_names_the_one_that_was_meant(
    document: Any, field: str, said: str
) -> None:
    (detail,) = refusal(from_v1, document).details
    assert detail["field"] == field
    assert detail["message"].startswith(said)


@pytest.mark.parametrize(
    ("metadata", "field", "said"),
    [
        ({"tags": {"a b": "x"}}, "tags.a b", "a tag's name has 1 to 32 letters"),
        ({"tags": {f"t{number}": "x" for number in range(9)}}, "tags", "must have at most 8 entries"),
        ({"environment": "3f2a"}, "environment", "must be a hash of 64 hexadecimal digits in lower case"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_words(metadata: dict[str, Any], field: str, said: str) -> None:
    (detail,) = refusal(from_v1, v1(**metadata)).details
    assert detail["field"] == f"task.metadata.{field}"
    assert detail["message"].startswith(said)


@pytest.mark.parametrize(
    ("understand", "document", "said"),
    [
        (from_v1alpha2, v1(id="a", webhook="b", contxt="c"), ["task.metadata.webhook: ", "task.metadata.contxt: "]),
        (from_v1alpha2, v1(id="a") | {"priority": 1}, ["priority: unknown key; known are task"]),
        (from_task, seed("task-text-to-image") | {"apis": 1}, ["apis: unknown key; did you mean 'api'?"]),
    ],
)
def test_the_references_routes_take_such_a_request_and_say_so(understand: Any, document: Any, said: list[str]) -> None:
    unknown = understand(document, ALL).unknown
    assert len(unknown) == len(said)
    assert all(sentence.startswith(start) for sentence, start in zip(unknown, said, strict=True))


@pytest.mark.parametrize("keys", [["runtim" * 1_000_000], [f"runtime{number}" for number in range(100_000)]])
def test_unknown_keys_take_little_time_and_make_no_long_answer(keys: list[str]) -> None:
    document = v1(id="a", **dict.fromkeys(keys, 1))
    began = time.process_time()
    refused = refusal(from_v1, document)
    (header,) = warning_headers(from_v1alpha2(document, ALL).unknown).values()
    assert time.process_time() - began < 1
    assert "unknown key" in refused.message
    assert len(str(refused.details)) + len(refused.message) < 3000
    assert len(header) < 1000
    assert ("and 99995 more" in header) == (len(keys) > 1)


def test_in_v1alpha1_scripts_are_known_and_mistyped_routing_fields_are_not() -> None:
    document = seed("v1alpha1-text-to-image")
    assert from_v1alpha1(document, ALL).unknown == ()
    document["alwayson_scripts"] |= {"save_dri": "elsewhere", "controlnet": {"args": []}}
    assert from_v1alpha1(document, ALL).unknown == ("alwayson_scripts.save_dri: unknown key; did you mean 'save_dir'?",)


@given(keys=st.lists(st.text(), max_size=8))
def test_whatever_a_key_is_the_header_can_carry_it(keys: list[str]) -> None:
    metadata = {key: 1 for key in keys if key not in {"task", *MetadataV1.model_fields}}
    unknown = from_v1alpha2(v1(id="a") | {"x": 1} | metadata, ALL).unknown
    for value in warning_headers(unknown).values():
        assert value.isascii()
        assert value.isprintable()


@pytest.mark.parametrize("name", examples.V1ALPHA2)
def test_the_references_own_requests_have_no_key_that_nobody_reads(name: str) -> None:
    assert from_v1alpha2(seed(f"v1alpha2-{name}"), ALL).unknown == ()
