"""Callbacks on real SNS: those of tasks that end together go out together, and each arrives as it is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from aiobotocore.session import get_session

from agent.callbacks import Callbacks
from contract.identifiers import TaskRef
from contract.record import Status, Submission
from contract.task import TaskType
from tests.support.deployment import Deployment


def ended(number: int) -> Submission:
    return Submission(
        submission=f"submission-{number}",
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        context={"number": number},
        status=Status.SUCCEEDED,
        submitted_at=datetime(2026, 1, 1, tzinfo=UTC),
        image_url=[f"s3://bucket/{number}.png"],
    )


async def test_each_of_many_callbacks_arrives_with_its_own_body_and_attributes(deployment: Deployment) -> None:
    async with get_session().create_client(
        "sns",
        endpoint_url=deployment.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ) as sns:
        callbacks = Callbacks(sns, deployment.place.callback_topic_arn, bucket="b", finishing=lambda: 1)

        published = await asyncio.gather(
            *(callbacks.publish(TaskRef(f"task-{number}"), ended(number)) for number in range(12))
        )
        again = await callbacks.publish(TaskRef("task-0"), ended(0))

    assert published == [True] * 12
    assert again is False
    for number in range(12):
        heard = await asyncio.to_thread(deployment.callbacks.wait_for, f"task-{number}")
        assert heard.body["context"] == {"number": number}
        assert heard.attributes["submission"] == f"submission-{number}"
    assert len(deployment.callbacks.heard()) == 12
