"""Task messages survive the way through SNS and SQS, and what is no task message is refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.task import (
    Metadata,
    TaskMessage,
    TaskType,
    UnreadableMessageError,
    encode_task_message,
    parse_task_message,
    requested_checkpoint,
)

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(max_size=10), JSON_VALUES, max_size=5)


def message(content: dict[str, Any], context: Any = None) -> TaskMessage:
    metadata = Metadata(
        id="test-t2i", runtime="sdruntime", tasktype=TaskType.TEXT_TO_IMAGE, prefix="output", context=context
    )
    return TaskMessage(metadata=metadata, content=content)


@given(OBJECTS, JSON_VALUES)
def test_a_message_reads_back_as_it_was_written(content: dict[str, Any], context: Any) -> None:
    sent = message(content, context)
    assert parse_task_message(encode_task_message(sent)) == sent


@given(OBJECTS, JSON_VALUES)
def test_snss_envelope_is_opened(content: dict[str, Any], context: Any) -> None:
    sent = message(content, context)
    envelope = {"Type": "Notification", "MessageId": "1", "Message": encode_task_message(sent)}
    assert parse_task_message(json.dumps(envelope)) == sent


@given(st.text(max_size=200) | JSON_VALUES.map(json.dumps))
def test_anything_else_is_refused_in_words(body: str) -> None:
    with pytest.raises(UnreadableMessageError) as caught:
        parse_task_message(body)
    assert str(caught.value)


@pytest.mark.parametrize("body", ["[" * 100_000, '{"Type":"Notification","Message":"x"}', '{"metadata":{}}', "\ud800"])
def test_hostile_bodies_are_refused_in_words(body: str) -> None:
    with pytest.raises(UnreadableMessageError):
        parse_task_message(body)


@pytest.mark.parametrize("context", ['"\\ud800"', '{"\\udfff": 1}'])
def test_a_context_that_no_record_can_hold_is_refused_and_named(context: str) -> None:
    body = (
        '{"metadata": {"id": "a", "runtime": "r", "tasktype": "text-to-image", "prefix": "p", '
        f'"context": {context}}}, "content": {{}}}}'
    )
    with pytest.raises(UnreadableMessageError, match=r"^metadata\.context: "):
        parse_task_message(body)


def test_a_message_has_its_content_either_inline_or_by_reference() -> None:
    both = json.loads(encode_task_message(message({"prompt": "A dog"}))) | {"content_ref": "s3://bucket/key"}
    with pytest.raises(UnreadableMessageError, match="either 'content' or 'content_ref'"):
        parse_task_message(json.dumps(both))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"alwayson_scripts": {"sd_model_checkpoint": "a"}}, "a"),
        ({"override_settings": {"sd_model_checkpoint": "b"}}, "b"),
        ({"alwayson_scripts": {"sd_model_checkpoint": "a"}, "override_settings": {"sd_model_checkpoint": "b"}}, "a"),
        ({"alwayson_scripts": []}, None),
        ({"override_settings": {"sd_model_checkpoint": 3}}, None),
        ({}, None),
    ],
)
def test_the_requested_checkpoint_is_found_in_both_places(content: dict[str, Any], expected: str | None) -> None:
    assert requested_checkpoint(content) == expected


def test_characters_that_sqs_refuses_travel_escaped() -> None:
    sent = message({"prompt": "a\ufffeb\uffffc\x00d\x1fe\U0001f436"})

    text = encode_task_message(sent)

    allowed = {*range(0x20, 0xD800), *range(0xE000, 0xFFFE), 0x1F436}
    assert {ord(character) for character in text} <= allowed
    assert parse_task_message(text) == sent
