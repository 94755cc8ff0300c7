"""The reference design's own requests, each with what must come of it."""

from __future__ import annotations

import base64
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from contract.objects import split_s3_url
from tests.journeys.target import Inbox, Target
from tests.support.stack import unique
from tests.support.waiting import eventually

SEEDS = Path(__file__).parents[1] / "seeds"
UNREACHABLE = "https://huggingface.co/datasets/huggingface/documentation-images/resolve/main/diffusers/cat.png"
"""The link of the reference's examples; replaced by a picture that the machine itself serves."""


def seed(name: str, target: Target) -> Any:
    """Returns a request of the reference's documentation, with a picture within reach."""
    text = (SEEDS / f"{name}.json").read_text()
    return json.loads(text.replace(UNREACHABLE, target.sample_image))


def check_images(target: Target, task_id: str, callback: dict[str, Any], count: int, prefix: str) -> list[Image.Image]:
    """Asserts that a callback's objects lie in S3 under the reference's names, and returns the images."""
    assert callback["result"] is True, callback
    s3 = target.client("s3")
    assert len(callback["image_url"]) == count, callback
    images: list[Image.Image] = []
    four = None
    for number, url in enumerate(callback["image_url"], 1):
        bucket, key = split_s3_url(url)
        assert bucket == target.bucket
        found = re.fullmatch(
            rf"{re.escape(prefix)}/{re.escape(task_id)}/{re.escape(task_id)}-(\w{{4}})-{number}\.png", key
        )
        assert found, key
        assert four in {None, found[1]}
        four = found[1]
        data = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        images.append(Image.open(io.BytesIO(data)))
        images[-1].load()
    bucket, key = split_s3_url(callback["output_url"])
    assert key == f"{prefix}/{task_id}/{task_id}-{four}.out"
    answer = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    assert answer
    stored = s3.list_objects_v2(Bucket=target.bucket, Prefix=f"{prefix}/{task_id}/")["Contents"]
    assert len(stored) == count + 1, "an object that no callback names"
    return images


def v1alpha2(
    name: str, edit: Callable[[dict[str, Any]], None] | None = None, count: int = 1
) -> Callable[[Target, Inbox], None]:
    """Returns the journey of a v1alpha2 request."""

    def journey(target: Target, inbox: Inbox) -> None:
        body = seed(f"v1alpha2-{name}", target)
        metadata = body["task"]["metadata"]
        metadata["id"] = task_id = unique(metadata["id"])
        metadata["context"] = {"abc": 123, "text": "grüße"}
        if edit is not None:
            edit(body["task"]["content"])
        answer = target.post("/v1alpha2", body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "id_task": task_id,
            "runtime": metadata["runtime"],
            "output_location": f"s3://{target.bucket}/output/{task_id}",
        }
        callback = inbox.wait(task_id)
        assert callback["context"] == metadata["context"]
        assert set(callback) == {"id", "result", "image_url", "output_url", "context"}
        check_images(target, task_id, callback, count, "output")

    return journey


def v1alpha1(name: str) -> Callable[[Target, Inbox], None]:
    """Returns the journey of a v1alpha1 request."""

    def journey(target: Target, inbox: Inbox) -> None:
        body = seed(f"v1alpha1-{name}", target)
        body["alwayson_scripts"]["id_task"] = task_id = unique(body["alwayson_scripts"]["id_task"])
        answer = target.post("/v1alpha1", body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "id_task": task_id,
            "sd_model_checkpoint": "v1-5-pruned-emaonly.safetensors",
            "output_location": f"s3://{target.bucket}/outputs/{task_id}",
        }
        check_images(target, task_id, inbox.wait(task_id), 1, "outputs")

    return journey


def task_api(target: Target, inbox: Inbox) -> None:
    """Submits to `/task` and asks until the task has finished, as the reference's client does."""
    answer = target.post("/task", seed("task-text-to-image", target))
    assert answer.status_code == 200, answer.text
    task_id = answer.json()["taskId"]
    inbox.wait(task_id)

    def ended() -> Any:
        found = target.get(f"/task?taskId={task_id}").json()
        assert found["taskStatus"] not in {"waiting", "running"}, found
        return found

    found = eventually(ended, every=0.2)
    assert found["taskStatus"] == "finished", found
    assert found["taskId"] == task_id
    assert found["processRes"]["cnt"] == 1
    assert len(found["processRes"]["images"]) == 1


def dynamic_model(target: Target, inbox: Inbox) -> None:
    """Asks the dynamic runtime for a model by v1alpha1: it is switched to, and an unknown one fails in words."""
    for checkpoint, works in [("dreamshaper_8.safetensors", True), ("no-such-model.safetensors", False)]:
        body = seed("v1alpha1-text-to-image", target)
        body["alwayson_scripts"] |= {"id_task": unique("dynamic"), "sd_model_checkpoint": checkpoint}
        answer = target.post("/v1alpha1", body)
        assert answer.status_code == 200, answer.text
        task_id = body["alwayson_scripts"]["id_task"]
        callback = inbox.wait(task_id, within=40)
        assert callback["result"] is works, callback
        record = target.get(f"/v1/tasks/{task_id}").json()
        if works:
            assert record["status"] == "succeeded"
            _, key = split_s3_url(callback["output_url"])
            answer_document = json.loads(target.client("s3").get_object(Bucket=target.bucket, Key=key)["Body"].read())
            assert "dreamshaper_8" in json.loads(answer_document["info"])["sd_model_name"]
        else:
            assert "no-such-model" in record["error"]["message"]


def large_inline_image(target: Target, inbox: Inbox) -> None:
    """Sends 8 MiB of base64 inline: it travels by reference, and the payload is gone afterwards."""
    side = 1450
    noise = Image.frombytes("RGB", (side, side), random.Random(1).randbytes(side * side * 3))
    buffer = io.BytesIO()
    noise.save(buffer, "PNG", compress_level=0)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    assert len(encoded) > 8 * 1024 * 1024
    body = seed("v1alpha2-image-to-image", target)
    body["task"]["metadata"]["id"] = task_id = unique("large")
    body["task"]["content"]["init_images"] = [encoded]
    answer = target.post("/v1alpha2", body)
    assert answer.status_code == 200, answer.text
    check_images(target, task_id, inbox.wait(task_id, within=40), 1, "output")
    s3, prefix = target.client("s3"), f".payloads/{task_id}/"
    eventually(lambda: not s3.list_objects_v2(Bucket=target.bucket, Prefix=prefix)["KeyCount"], every=0.2)


def _four(content: dict[str, Any]) -> None:
    content["batch_size"] = 4


def _workflow_of_three(content: dict[str, Any]) -> None:
    content["5"]["inputs"]["batch_size"] = 3


JOURNEYS: dict[str, Callable[[Target, Inbox], None]] = {
    "v1alpha2 text-to-image": v1alpha2("text-to-image"),
    "v1alpha2 text-to-image, four images": v1alpha2("text-to-image", _four, count=4),
    "v1alpha2 image-to-image by link": v1alpha2("image-to-image"),
    "v1alpha2 extra-single-image": v1alpha2("extra-single-image"),
    "v1alpha2 pipeline": v1alpha2("pipeline"),
    "v1alpha2 pipeline, three images": v1alpha2("pipeline", _workflow_of_three, count=3),
    "v1alpha1 text-to-image": v1alpha1("text-to-image"),
    "v1alpha1 image-to-image by link": v1alpha1("image-to-image"),
    "/task": task_api,
    "dynamic model": dynamic_model,
    "8 MiB inline": large_inline_image,
}
