"""Whatever is accepted fits into a message, at the latest by reference to its content."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import ApiError
from api.requests import MAX_CONTEXT_BYTES, MAX_RULES_BYTES, from_v1
from api.submit import Acceptance
from contract.config import parse_config
from contract.documents import encode
from contract.identifiers import MAX_TASK_ID_BYTES, new_ulid
from contract.task import SNS_MESSAGE_LIMIT, Metadata, TaskMessage, encode_task_message, message_bytes
from contract.topology import message_attributes

CONFIG = parse_config(
    "stackName: s\nmodelBucketArn: arn:aws:s3:::models\n"
    "modelsRuntime: [{name: r, type: sdwebui, dynamicModel: true}, {name: comfy, type: comfyui}]"
)
ALPHABETS = ["a", '"', "\x01", "\ufffe", "é", "字", "\U0001f436"]
TEXTS = st.builds(lambda letter, count: letter * count, st.sampled_from(ALPHABETS), st.integers(0, MAX_CONTEXT_BYTES))


def document(**metadata: Any) -> dict[str, Any]:
    known = {"runtime": "r", "tasktype": "text-to-image", "prefix": "p" * 400, "id": "i" * MAX_TASK_ID_BYTES}
    content = {"prompt": "x", "override_settings": {"sd_model_checkpoint": "c" * 255}}
    return {"task": {"metadata": known | metadata, "content": content}}


def links(letter: str, count: int, length: int) -> dict[str, Any]:
    """Returns a task with many links, each of which it speaks of by a long pointer."""
    names = [f"{number}{letter * length}"[:480] for number in range(count)]
    task = document(inputs={"keep": [f"/{name}" for name in names]})
    task["task"]["content"] |= dict.fromkeys(names, "https://example.com/")
    return task


@given(
    context=TEXTS,
    letter=st.sampled_from(ALPHABETS),
    count=st.integers(0, 50),
    length=st.integers(0, 480),
)
def test_what_is_accepted_fits_into_a_message_by_reference(context: str, letter: str, count: int, length: int) -> None:
    made = links(letter, count, length)
    made["task"]["metadata"]["context"] = context
    try:
        request = from_v1(made, CONFIG)
    except ApiError:
        return
    assert request.task_id is not None
    metadata = Metadata(
        id=request.task_id,
        tenant="t" * 63,
        runtime=request.runtime.name,
        tasktype=request.task_type,
        prefix=request.prefix,
        context=request.context,
        submission=new_ulid(),
        submitted_at=datetime.now(UTC),
        inputs=request.inputs,
        trace="Root=1-" + "0" * 393,
    )

    message = encode_task_message(TaskMessage(metadata=metadata, content_ref=f"s3://{'b' * 63}/{'k' * 900}"))

    assert message_bytes(message, message_attributes(CONFIG, request.runtime, request.checkpoint)) <= SNS_MESSAGE_LIMIT


class Bucket:
    """S3, as far as a content is put there."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    async def put_object(self, *, Key: str, **_: Any) -> None:  # noqa: N803
        self.kept.append(Key)


@pytest.mark.parametrize(
    ("limit", "size", "inline"),
    [
        (SNS_MESSAGE_LIMIT, 200_000, True),
        (SNS_MESSAGE_LIMIT, 300_000, False),
        (4 * SNS_MESSAGE_LIMIT, 300_000, True),
        (4 * SNS_MESSAGE_LIMIT, 1_030_000, True),
        (4 * SNS_MESSAGE_LIMIT, 1_048_576, False),
    ],
)
async def test_a_content_travels_inline_up_to_what_the_topic_takes(limit: int, size: int, inline: bool) -> None:
    bucket, nobody = Bucket(), cast("Any", None)
    aws = cast("Any", SimpleNamespace(s3=bucket, sns=None))
    acceptance = Acceptance(
        aws=aws,
        store=nobody,
        lists=nobody,
        callbacks=nobody,
        webhooks=nobody,
        deadlines=nobody,
        config=CONFIG,
        bucket="b",
        topic_arn="t",
        message_bytes=limit,
    )
    made = document()
    made["task"]["content"]["prompt"] = "x" * size
    request = from_v1(made, CONFIG)
    metadata = Metadata(
        id="i",
        runtime="r",
        tasktype=request.task_type,
        prefix="p",
        submission=new_ulid(),
        submitted_at=datetime.now(UTC),
    )
    message = await acceptance._message(metadata, request, encode(request.content))
    assert (bucket.kept == []) == inline
    assert message_bytes(message, message_attributes(CONFIG, request.runtime, request.checkpoint)) <= limit


def test_rules_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ApiError, match=f"at most {MAX_RULES_BYTES} bytes"):
        from_v1(links("\U0001f436", 50, 480), CONFIG)
    assert len(json.dumps(links("a", 50, 400))) < MAX_RULES_BYTES * 3
    from_v1(links("a", 50, 400), CONFIG)
