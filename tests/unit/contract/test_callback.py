"""A callback travels as JSON that SNS and SQS take, whatever the context holds and however many images there are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.callback import CALLBACK_LIMIT, EncodedCallback, callback_for, encode_callback
from contract.identifiers import MAX_PREFIX_BYTES, MAX_TASK_ID_BYTES, TaskRef
from contract.objects import answer_key, ended_key, image_key, s3_url
from contract.record import Failure, Status, Submission
from contract.task import SNS_MESSAGE_LIMIT, TaskType
from contract.topology import string_attributes

BUCKET = "outputbucket"
ALPHABETS = ["a", '"', "\\", "\x01", "\ufffe", "\uffff", "é", "字", "\U0001f436", "\x7f"]
"""Each costs another number of bytes in JSON than in memory."""
OOM = Failure(code="out_of_memory", message="the GPU has too little memory")


def ended(**changes: Any) -> Submission:
    return Submission(
        submission="01J00000000000000000000000",
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        status=Status.SUCCEEDED,
        submitted_at=datetime(2026, 1, 1, tzinfo=UTC),
        output_url="s3://outputbucket/output/t/t-abcd.out",
    ).model_copy(update=changes)


def images(count: int, prefix: str = "output", task_id: str = "t") -> list[str]:
    name = "01J00000000000000000000000"
    task = TaskRef(task_id)
    return [s3_url(BUCKET, image_key(prefix, task, name, number, "png")) for number in range(1, count + 1)]


def read(encoded: EncodedCallback) -> dict[str, Any]:
    document = json.loads(encoded.message)
    assert isinstance(document, dict)
    return document


def test_a_callback_is_the_documented_json_without_characters_that_sqs_refuses() -> None:
    submission = ended(image_url=["s3://b/k"], output_url="", context={"a": "\ufffe\uffff\x01"})

    encoded = encode_callback(TaskRef("ü"), submission, bucket=BUCKET)

    assert not {"\ufffe", "\uffff", "\x01"} & set(encoded.message)
    assert read(encoded) == {
        "id": "ü",
        "result": True,
        "image_url": ["s3://b/k"],
        "output_url": "",
        "context": {"a": "\ufffe\uffff\x01"},
    }
    assert encoded.attributes.keys() == {"id", "runtime", "result", "submission", "status"}


@pytest.mark.parametrize(
    ("status", "error", "attributes"),
    [
        (Status.SUCCEEDED, None, {"result": "true", "status": "succeeded"}),
        (Status.FAILED, OOM, {"result": "false", "status": "failed", "error_code": "out_of_memory"}),
        (Status.CANCELLED, None, {"result": "false", "status": "cancelled"}),
    ],
)
def test_its_attributes_tell_what_became_of_the_task_and_its_json_only_where_that_is_wanted(
    status: Status, error: Failure | None, attributes: dict[str, str]
) -> None:
    submission = ended(status=status, error=error)

    documented = encode_callback(TaskRef("t"), submission, bucket=BUCKET)
    telling = encode_callback(TaskRef("t"), submission, bucket=BUCKET, with_error=True)

    for encoded in (documented, telling):
        found = {name: encoded.attributes.get(name) for name in ("result", "status", "error_code")}
        assert {name: value for name, value in found.items() if value} == attributes
    assert read(documented).keys() == {"id", "result", "image_url", "output_url", "context"}
    assert read(telling) == read(documented) | {"status": status.value, "error": error and error.model_dump()}


def test_a_context_that_has_no_room_is_left_out_and_the_callback_says_so() -> None:
    submission = ended(image_url=images(4000), context="\ufffe" * 20_000)

    encoded = encode_callback(TaskRef("t"), submission, bucket=BUCKET)

    assert read(encoded) == {
        "id": "t",
        "result": True,
        "image_url": images(4000),
        "output_url": submission.output_url,
        "context": None,
        "truncated": ["context"],
        "image_count": 4000,
        "record_url": "s3://outputbucket/.tasks/t.json",
        "submission_url": s3_url(BUCKET, ended_key(TaskRef("t"), submission.submission)),
    }
    assert encoded.attributes["truncated"] == "true"


@pytest.mark.parametrize(("context", "cut"), [(None, ["image_url"]), ({"abc": 123}, ["context", "image_url"])])
def test_images_that_have_no_room_are_left_out_from_the_end(context: Any, cut: list[str]) -> None:
    document = read(encode_callback(TaskRef("t"), ended(image_url=images(9000), context=context), bucket=BUCKET))

    shown = document["image_url"]
    assert shown == images(9000)[: len(shown)]
    assert 1000 < len(shown) < 9000
    assert document["context"] is None
    assert document["truncated"] == cut
    assert document["image_count"] == 9000


@given(
    letter=st.sampled_from(ALPHABETS),
    context=st.integers(0, 90_000),
    count=st.integers(0, 2500),
    id_letter=st.sampled_from(["a", '"', "é", "字"]),
    id_bytes=st.integers(1, MAX_TASK_ID_BYTES),
    prefix_bytes=st.integers(1, MAX_PREFIX_BYTES),
    submission=st.text(st.sampled_from([*ALPHABETS, "s"]), min_size=1, max_size=100),
    tenant=st.sampled_from(["", "t" * 63]),
    error=st.one_of(st.none(), st.tuples(st.sampled_from(ALPHABETS), st.integers(1, 90_000))),
    with_error=st.booleans(),
)
def test_a_callback_always_fits_and_is_cut_only_as_far_as_it_must_be(
    letter: str,
    context: int,
    count: int,
    id_letter: str,
    id_bytes: int,
    prefix_bytes: int,
    submission: str,
    tenant: str,
    error: tuple[str, int] | None,
    with_error: bool,
) -> None:
    task_id = id_letter * max(1, id_bytes // len(id_letter.encode()))
    prefix = "p" * prefix_bytes
    task = TaskRef(task_id, tenant)
    made = ended(
        submission=submission,
        prefix=prefix,
        image_url=images(count, prefix, task_id),
        output_url=s3_url(BUCKET, answer_key(prefix, task, submission)),
        context=letter * context,
        error=error and Failure(code=error[0] * error[1], message=error[0] * error[1]),
    )

    encoded = encode_callback(task, made, bucket=BUCKET, with_error=with_error)

    # As SNS counts, whatever became of characters that it refuses in attributes.
    sent = string_attributes(encoded.attributes)
    size = len(encoded.message.encode()) + sum(
        len(f"{name}{item['DataType']}{item['StringValue']}".encode()) for name, item in sent.items()
    )
    assert size <= encoded.bytes <= CALLBACK_LIMIT < SNS_MESSAGE_LIMIT
    assert len(sent) <= 10  # more than that, and SNS drops a message that is delivered raw
    document, whole = read(encoded), callback_for(task_id, made).model_dump()
    if with_error:
        told = document.pop("error"), document.pop("status")
        assert told[1] == "succeeded"
        assert (told[0] is None) == (error is None)
    if not encoded.truncated:
        assert document == whole
        return
    shown, cut = document["image_url"], document["truncated"]
    assert {name: document[name] for name in whole.keys() - cut} == {name: whole[name] for name in whole.keys() - cut}
    assert shown == made.image_url[: len(shown)]
    assert document["image_count"] == count
    if "image_url" in cut:
        assert len(shown) < count
        another = len(json.dumps(made.image_url[len(shown)], ensure_ascii=False).encode())
        assert encoded.bytes + another + 1 > CALLBACK_LIMIT
