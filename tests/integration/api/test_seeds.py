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
