"""What the agent publishes is what SNS and SQS take."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast

from agent.callbacks import Callbacks
from contract.record import Status, Submission
from contract.task import TaskType


class Topic:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    async def publish(self, **arguments: Any) -> None:
        self.messages.append(arguments["Message"])


async def test_characters_that_sqs_refuses_are_escaped_in_the_context() -> None:
    topic = Topic()
    submission = Submission(
        submission="s",
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        context="a\uffff\ufffeb",
        status=Status.SUCCEEDED,
        submitted_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert await Callbacks(cast("Any", topic), "arn:aws:sns:us-east-1:000000000000:t", finishing=lambda: 1).publish(
        "t", submission
    )
    (message,) = topic.messages
    assert not {"\uffff", "\ufffe"} & set(message)
    assert json.loads(message)["context"] == "a\uffff\ufffeb"
