"""What the agent publishes is what SNS and SQS take."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from agent.aws import persist
from agent.callbacks import Callbacks
from contract.identifiers import TaskRef
from contract.record import Status, Submission
from contract.task import TaskType
from tests.support.waiting import until


class Topic:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.seconds = 0.0

    async def publish(self, **arguments: Any) -> None:
        self.messages.append(arguments["Message"])
        await asyncio.sleep(self.seconds)


ARN = "arn:aws:sns:us-east-1:000000000000:t"


def submission(**changes: Any) -> Submission:
    return Submission(
        submission="s",
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        status=Status.SUCCEEDED,
        submitted_at=datetime(2026, 1, 1, tzinfo=UTC),
        **changes,
    )


async def test_characters_that_sqs_refuses_are_escaped_in_the_context() -> None:
    topic = Topic()
    callbacks = Callbacks(cast("Any", topic), ARN, bucket="b", finishing=lambda: 1)
    assert await callbacks.publish(TaskRef("t"), submission(context="a\uffff\ufffeb"))
    (message,) = topic.messages
    assert not {"\uffff", "\ufffe"} & set(message)
    assert json.loads(message)["context"] == "a\uffff\ufffeb"


async def test_each_task_is_called_back_once_although_a_foreign_publisher_names_one_submission_for_several() -> None:
    topic = Topic()
    callbacks = Callbacks(cast("Any", topic), ARN, bucket="b", finishing=lambda: 1)

    tasks = (TaskRef("a"), TaskRef("b"), TaskRef("a", "alice"), TaskRef("a"), TaskRef("a", "alice"))
    published = [await callbacks.publish(task, submission()) for task in tasks]

    assert published == [True, True, True, False, False]
    assert [json.loads(message)["id"] for message in topic.messages] == ["a", "b", "a"]


async def test_a_callback_that_waits_for_those_before_it_is_published_once_however_slow_sns_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = Topic()
    # Of one call's time, two thirds: who comes during a call waits for more than one call's time in all.
    topic.seconds = 0.2
    monkeypatch.setitem(cast("Any", persist).__kwdefaults__, "seconds", 0.3)
    callbacks = Callbacks(cast("Any", topic), ARN, bucket="b", finishing=lambda: 0)
    first = asyncio.create_task(callbacks.publish(TaskRef("a"), submission()))
    await until(lambda: topic.messages)

    assert await callbacks.publish(TaskRef("b"), submission())

    await first
    assert [json.loads(message)["id"] for message in topic.messages] == ["a", "b"]
