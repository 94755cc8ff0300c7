"""A workflow as people have it becomes a task by what the runtime itself tells of its nodes."""

from __future__ import annotations

import json
from typing import Any

import httpx

from contract.objects import catalogue_key
from contract.record import Status
from tests.support.editor import Drawing
from tests.support.processes import http
from tests.support.stack import Stack, unique
from tests.support.waiting import eventually
from tests.support.workflows import CHECKPOINT


def drawing() -> Drawing:
    return (
        Drawing()
        .node(4, "CheckpointLoaderSimple", CHECKPOINT)
        .node(6, "CLIPTextEncode", "a cat", links={"clip": (4, 1)}, title="What to draw")
        .node(7, "CLIPTextEncode", "ugly", links={"clip": (4, 1)})
        .node(5, "EmptyLatentImage", 64, 64, 1)
        .node(
            3,
            "KSampler",
            *(5, "randomize", 4, 8, "euler", "normal", 1),
            links={"model": (4, 0), "positive": (6, 0), "negative": (7, 0), "latent_image": (5, 0)},
        )
        .node(8, "VAEDecode", links={"samples": (3, 0), "vae": (4, 2)})
        .node(9, "SaveImage", "ComfyUI", links={"images": (8, 0)})
    )


def convert(stack: Stack, runtime: str, body: bytes) -> httpx.Response:
    answer: httpx.Response = http().post(
        f"{stack.api}/v1/runtimes/{runtime}/workflow", content=body, headers={"content-type": "application/json"}
    )
    return answer


def test_a_workflow_of_the_editor_is_converted_changed_and_run(stack: Stack, comfy_runtime: str) -> None:
    body = json.dumps(drawing()).encode()
    early = convert(stack, comfy_runtime, body)
    assert (early.status_code, early.json()["error"]["code"]) == (409, "nodes_unknown")

    stack.start_pod(comfy_runtime, fake=stack.start_fake(kind="comfyui")).wait_ready()
    deployment = stack.deployment
    eventually(lambda: deployment.object_keys(catalogue_key(comfy_runtime)))

    def converted() -> dict[str, Any]:
        answer = convert(stack, comfy_runtime, body)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    found = eventually(converted)
    assert found["warnings"] == []
    prompt = next(item for item in found["fields"] if item["role"] == "prompt")
    assert (prompt["label"], prompt["pointer"], prompt["default"]) == ("What to draw: text", "/6/inputs/text", "a cat")
    sampler = next(item for item in found["fields"] if item["input"] == "sampler_name")
    assert "dpmpp_2m" in sampler["choices"]

    task_id = unique("workflow")
    found["content"]["6"]["inputs"]["text"] = task_id
    metadata = {"id": task_id, "runtime": comfy_runtime, "tasktype": "pipeline", "prefix": "output", "context": ""}
    answer = stack.post("/v1/tasks", {"task": {"metadata": metadata, "content": found["content"]}})
    assert answer.status_code == 202, answer.text
    stack.wait_ended_once(task_id, Status.SUCCEEDED)


def test_what_cannot_be_converted_is_refused_with_the_way_out(stack: Stack, comfy_runtime: str) -> None:
    runtime = stack.spare_runtime("no comfyui")
    refused = [
        convert(stack, name, body)
        for name, body in (("nobody", b"{}"), (runtime, b"{}"), (comfy_runtime, b"{}"), (comfy_runtime, b'{"a":' * 500))
    ]
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in refused] == [
        (404, "unknown_runtime"),
        (409, "wrong_runtime"),
        (400, "invalid_workflow"),
        (400, "invalid_workflow"),
    ]
    assert comfy_runtime in refused[0].json()["error"]["message"]
    form = http().post(f"{stack.api}/v1/runtimes/{comfy_runtime}/workflow", content=b"{}")
    assert (form.status_code, form.json()["error"]["code"]) == (415, "unsupported_media_type")
