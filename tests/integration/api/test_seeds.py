"""The reference documents' own requests are accepted and answered to the letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.conftest import Api

SEEDS = Path(__file__).parents[2] / "seeds"


def seed(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SEEDS / f"{name}.json").read_text())
    return document


@pytest.mark.parametrize("name", ["text-to-image", "image-to-image", "extra-single-image", "pipeline"])
async def test_v1alpha2_answers_and_the_message_reaches_the_queue(api: Api, name: str) -> None:
    request = seed(f"v1alpha2-{name}")
    metadata = request["task"]["metadata"]

    answer = await api.client.post("/v1alpha2", json=request)

    assert answer.status_code == 200
    assert answer.json() == {
        "id_task": metadata["id"],
        "runtime": metadata["runtime"],
        "output_location": f"s3://{api.deployment.place.output_bucket}/output/{metadata['id']}",
    }
    message = api.message(metadata["runtime"], metadata["id"])
    assert message["content"] == request["task"]["content"]
    assert {key: message["metadata"][key] for key in metadata} == metadata
    assert message["metadata"]["submission"]
    record = json.loads(api.deployment.object(f".tasks/{metadata['id']}.json"))
    assert record["current"]["status"] == "queued"
    assert record["current"]["submission"] == message["metadata"]["submission"]


@pytest.mark.parametrize(
    ("name", "prefix"), [("text-to-image", "outputs"), ("image-to-image", "outputs")], ids=["t2i", "i2i"]
)
async def test_v1alpha1_answers_and_its_content_is_passed_on_as_it_is(api: Api, name: str, prefix: str) -> None:
    request = seed(f"v1alpha1-{name}")
    routing = request["alwayson_scripts"]

    answer = await api.client.post("/v1alpha1", json=request)

    assert answer.status_code == 200
    assert answer.json() == {
        "id_task": routing["id_task"],
        "sd_model_checkpoint": routing["sd_model_checkpoint"],
        "output_location": f"s3://{api.deployment.place.output_bucket}/{prefix}/{routing['id_task']}",
    }
    message = api.message("sdruntime", routing["id_task"])
    assert message["content"] == request
    assert message["metadata"]["tasktype"] == name


async def test_v1alpha1_with_another_checkpoint_goes_to_the_dynamic_runtime_only(api: Api) -> None:
    request = seed("v1alpha1-text-to-image")
    request["alwayson_scripts"] |= {"sd_model_checkpoint": "other.safetensors", "id_task": "dynamic"}

    answer = await api.client.post("/v1alpha1", json=request)

    assert answer.json()["sd_model_checkpoint"] == "other.safetensors"
    assert api.message("dynamicruntime", "dynamic")["metadata"]["runtime"] == "dynamicruntime"
    assert api.messages("sdruntime") == []


async def test_task_answers_an_id_by_which_it_can_be_asked_for(api: Api) -> None:
    answer = await api.client.post("/task", json=seed("task-text-to-image"))

    assert answer.status_code == 200
    assert list(answer.json()) == ["taskId"]
    task_id = answer.json()["taskId"]
    message = api.message("sdruntime", task_id)
    assert message["content"] == {"prompt": "your prompt here", "steps": 20}

    query = await api.client.get("/task", params={"taskId": task_id})

    assert query.status_code == 200
    state = query.json()
    assert state["submitTime"].endswith("Z")
    assert state == {
        "taskId": task_id,
        "taskStatus": "waiting",
        "submitTime": state["submitTime"],
        "processTime": None,
        "processRes": {"cnt": 0, "images": [], "error": ""},
    }


async def test_every_example_of_the_openapi_document_is_accepted(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()
    accepted = 0
    for path, operations in document["paths"].items():
        if "requestBody" not in operations.get("post", {}):
            continue
        media = operations["post"]["requestBody"]["content"].get("application/json", {})  # or an upload
        for example in media.get("examples", {}).values():
            answer = await api.client.post(path, json=example["value"])
            assert answer.status_code in {200, 202}, answer.text
            accepted += 1
    assert accepted >= 12
    for runtime in ("sdruntime", "dynamicruntime", "comfyruntime"):
        api.messages(runtime)
