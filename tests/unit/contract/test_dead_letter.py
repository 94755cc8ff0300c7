"""A dead letter is a message that SQS takes, however large its body is and whatever the reason says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contract.dead_letter import MOST_REASON, SQS_MESSAGE_LIMIT, fitting_attributes
from contract.task import SNS_MESSAGE_LIMIT, message_bytes
from contract.topology import string_attributes

KNOWN = {"task_id": "t", "submission": "s", "runtime": "sdruntime"}


@given(
    left=st.integers(0, 6000),
    limit=st.sampled_from([SNS_MESSAGE_LIMIT, SQS_MESSAGE_LIMIT]),
    reason=st.text(max_size=50).map(lambda text: text * 60),
    names=st.dictionaries(st.sampled_from(list(KNOWN)), st.text(max_size=100), max_size=3),
)
def test_body_and_attributes_never_are_more_than_a_queue_takes(
    left: int, limit: int, reason: str, names: dict[str, str]
) -> None:
    body = "a" * (limit - left)

    fitting = fitting_attributes(body, {**names, "reason": reason})

    assert message_bytes(body, fitting) <= limit
    assert reason.startswith(fitting.get("reason", ""))
    assert all(item["StringValue"] for item in string_attributes(fitting).values())


def test_what_has_room_is_told_whole_and_the_reason_is_cut_first() -> None:
    assert fitting_attributes("{}", KNOWN | {"reason": "why"}) == KNOWN | {"reason": "why"}
    assert fitting_attributes("{}", {"reason": "w" * 5000}) == {"reason": "w" * MOST_REASON}
    body = "a" * (SNS_MESSAGE_LIMIT - message_bytes("", KNOWN) - message_bytes("", {"reason": "12"}))
    assert fitting_attributes(body, KNOWN | {"reason": "1234"}) == KNOWN | {"reason": "12"}
    assert fitting_attributes("a" * SNS_MESSAGE_LIMIT, KNOWN | {"reason": "1234"}) == {}


def test_characters_that_sqs_refuses_in_attributes_become_spaces_and_empty_values_are_left_out() -> None:
    assert string_attributes({"a": "x\x00\x1f\ufffe\uffff\ty\U0001f436", "b": ""}) == {
        "a": {"DataType": "String", "StringValue": "x    \ty\U0001f436"}
    }
