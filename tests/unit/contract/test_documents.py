"""Whole numbers of any size, and all that JSON can say, come through every encoding on a task's way unchanged."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.documents import read_json
from api.answers import json_answer
from api.body import parse_json
from api.digest import digest
from api.events import encode_event
from api.requests import from_v1
from contract.callback import encode_callback
from contract.config import Config, parse_config
from contract.documents import decode, encode, encode_sorted
from contract.identifiers import TaskRef
from contract.record import Record, Status, Submission
from contract.task import Metadata, TaskMessage, encode_task_message, parse_task_message
from tests.unit.api.strategies import JSON_VALUES

BIG = st.integers(-(10**300), 10**300) | st.sampled_from([2**63, -(2**63) - 1, 2**64, 12345678901234567890123])
CONTEXTS: st.SearchStrategy[Any] = JSON_VALUES | st.lists(BIG | JSON_VALUES, max_size=4) | BIG

CONFIG: Config = parse_config(
    "stackName: s\nmodelBucketArn: arn:aws:s3:::models\n"
    "modelsRuntime: [{name: web, type: sdwebui, dynamicModel: true}]\n"
)


def same(one: Any, other: Any) -> bool:
    """1 is not 1.0, nor is True."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(CONTEXTS, CONTEXTS)
@example([12345678901234567890123], {"seed": 2**64})
def test_context_and_content_come_back_as_they_were_sent(context: Any, value: Any) -> None:
    metadata = {"id": "a", "runtime": "web", "tasktype": "text-to-image", "prefix": "p", "context": context}
    body = json.dumps({"task": {"metadata": metadata, "content": {"value": value}}}).encode()

    request = from_v1(parse_json(body), CONFIG)
    message = encode_task_message(
        TaskMessage(
            metadata=Metadata(id="a", runtime="web", tasktype=request.task_type, prefix="p", context=request.context),
            content=request.content,
        )
    )
    task = parse_task_message(message)
    submission = Submission(
        submission="s",
        runtime="web",
        tasktype=request.task_type,
        prefix="p",
        context=task.metadata.context,
        submitted_at=datetime.now(UTC),
        status=Status.FAILED,
    )
    record = Record.model_validate_json(Record(id="a", current=submission).model_dump_json())
    callback = json.loads(encode_callback(TaskRef("a"), record.current, bucket="b").message)
    event = encode_event("failed", {"context": record.current.context}, "1").decode()

    assert same(callback["context"], context)
    assert same(json.loads(bytes(json_answer({"context": record.current.context}).body))["context"], context)
    assert same(json.loads(event.split("data: ", 1)[1])["context"], context)
    assert task.content is not None
    assert same(task.content["value"], value)
    assert same(read_json(encode(request.content)), {"value": value})


@given(CONTEXTS)
def test_what_is_encoded_is_decoded_and_times_are_written_alike(document: Any) -> None:
    assert same(decode(encode(document)), document)
    moment = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    for beside in (1, 2**70):
        assert json.loads(encode([moment, Status.QUEUED, beside])) == ["2026-01-02T03:04:05.678900Z", "queued", beside]


@given(st.dictionaries(st.text("abc", max_size=3), BIG | st.integers(), max_size=4))
def test_the_order_of_keys_does_not_change_a_digest(document: dict[str, Any]) -> None:
    assert digest(document) == digest(dict(reversed(document.items())))


@pytest.mark.parametrize("number", ["NaN", "1E400", "-Infinity", "1" * 400, "01", '"\\ud800"'])
def test_strict_means_strict_beside_a_long_number_too(number: str) -> None:
    for text in (number, f"[{2**70}, {number}]"):
        with pytest.raises(ValueError, match=r".+"):
            decode(text.encode())


def test_minus_zero_and_floats_keep_what_a_double_keeps() -> None:
    for text in ("-0.0", "1.0", "1e22", "0.1", "5e-324", "1.7976931348623157e308"):
        assert encode(decode(text.encode())) in {text.encode(), repr(float(text)).encode()}
        assert same(decode(f"[{2**70},{text}]".encode())[1], float(text))


@given(CONTEXTS)
def test_a_long_number_changes_nothing_about_how_the_rest_is_written(value: Any) -> None:
    long = 12345678901234567890123
    for write in (encode, encode_sorted):
        assert write([value, long]).removesuffix(b",%d]" % long) == write([value, {}]).removesuffix(b",{}]")


def test_what_a_runtime_answers_holds_no_number_that_cannot_be_reckoned_with() -> None:
    assert read_json('{"value": %s, "nan": NaN}' % ("9" * 4000))["value"] == float("inf")
    assert read_json('{"value": %s, "nan": NaN}' % ("9" * 308))["value"] == int("9" * 308)
