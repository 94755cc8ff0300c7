"""The queue on real SQS semantics: what is handed back is there at once, and no heartbeat hides it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiobotocore.session import get_session

from agent.holdings import Delivery, Held, Holdings
from agent.task_queue import TaskQueue, delete_for_good
from tests.support.deployment import Deployment


@pytest.fixture
async def queue(deployment: Deployment) -> AsyncIterator[TaskQueue]:
    async with get_session().create_client(
        "sqs",
        endpoint_url=deployment.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ) as sqs:
        yield TaskQueue(sqs, deployment.queue_url("sdruntime"), visibility_timeout=60, finishing=lambda: 1)


async def receive(queue: TaskQueue, deployment: Deployment, *bodies: str) -> list[Held]:
    url, holdings = deployment.queue_url("sdruntime"), Holdings()
    for body in bodies:
        await asyncio.to_thread(deployment.clients.sqs.send_message, QueueUrl=url, MessageBody=body)
    found: list[Held] = []
    while len(found) < len(bodies):
        found += [held for delivery in await queue.receive(10) if (held := holdings.add(delivery))]
    return found


async def test_what_is_handed_back_is_visible_at_once_and_a_late_heartbeat_does_not_hide_it(
    queue: TaskQueue, deployment: Deployment
) -> None:
    held = await receive(queue, deployment, "a", "b")

    await asyncio.gather(queue.hand_back(held), queue.renew(held))

    assert deployment.queue_counts(deployment.queue_url("sdruntime")) == (2, 0)


async def test_more_than_ten_messages_are_renewed_in_batches(queue: TaskQueue, deployment: Deployment) -> None:
    held = await receive(queue, deployment, *(str(number) for number in range(23)))

    answers = await queue.renew(held)

    assert answers == {item.delivery.message_id: True for item in held}


async def test_a_message_that_is_gone_is_not_ours_and_deleting_it_again_is_no_error(
    queue: TaskQueue, deployment: Deployment
) -> None:
    (held,) = await receive(queue, deployment, "a")
    await delete_for_good(queue, held)

    await delete_for_good(queue, held)

    assert await queue.renew([held]) == {held.delivery.message_id: False}


async def test_messages_that_end_together_are_deleted_together_and_a_bad_receipt_among_them_is_no_error(
    queue: TaskQueue, deployment: Deployment
) -> None:
    held = await receive(queue, deployment, *(str(number) for number in range(12)))
    stranger = Held(Delivery("a message", "no receipt", "{}"))

    async with asyncio.timeout(10):
        await asyncio.gather(*(delete_for_good(queue, item) for item in [*held, stranger]))

    assert deployment.queue_counts(deployment.queue_url("sdruntime")) == (0, 0)


async def test_the_dead_letter_queue_is_found_by_the_redrive_policy(queue: TaskQueue, deployment: Deployment) -> None:
    reason = "unreadable: \x00 control characters and " + "length " * 500

    assert await queue.send_dead_letter("the body", {"reason": reason, "task_id": ""}, tenant="alice")

    (message,) = deployment.clients.sqs.receive_message(
        QueueUrl=deployment.dead_letter_url("sdruntime"),
        MessageAttributeNames=["All"],
        MessageSystemAttributeNames=["MessageGroupId"],
    )["Messages"]
    assert message["Body"] == "the body"
    assert message["Attributes"] == {"MessageGroupId": "alice"}
    assert set(message["MessageAttributes"]) == {"reason"}
    assert message["MessageAttributes"]["reason"]["StringValue"].startswith("unreadable:   control")


async def test_a_queue_without_a_dead_letter_queue_says_so(queue: TaskQueue, deployment: Deployment) -> None:
    url = deployment.queue_url("sdruntime")
    deployment.clients.sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})

    assert not await queue.send_dead_letter("the body", {"reason": "none"})


async def test_a_delivery_tells_how_often_and_since_when(queue: TaskQueue, deployment: Deployment) -> None:
    (held,) = await receive(queue, deployment, "a")
    await queue.hand_back([held])

    (again,) = await queue.receive(1)

    assert again.message_id == held.delivery.message_id
    assert (held.delivery.receive_count, again.receive_count) == (1, 2)
    assert again.sent_at == held.delivery.sent_at
    assert again.sent_at is not None
    # Twice nothing to speak of, by the clock of SQS; the second time it tells whole seconds only.
    assert 0 <= (held.delivery.waited or 0.0) <= (again.waited or 0.0) < 30
    assert held.delivery.waited is not None
