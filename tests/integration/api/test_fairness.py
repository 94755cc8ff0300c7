"""A queue is told whose each task is, however the task comes there: fair queues go by it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiobotocore.session import AioSession

from contract.identifiers import new_ulid
from contract.publications import Publications
from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_tasks import request
from tests.support.deployment import Deployment
from tests.support.waiting import eventually_async

RUNTIME = "sdruntime"
KEYS = {"alice": "a-key", "bob": "b-key"}
Groups = dict[str, str | None]


async def groups(deployment: Deployment, url: str, count: int) -> Groups:
    """Takes so many tasks from a queue; returns the message group of each by its id."""
    sqs, found = deployment.clients.sqs, Groups()

    async def take() -> bool:
        # In a thread, and without a long poll: the API's sweeps share this loop.
        answer = await asyncio.to_thread(
            sqs.receive_message,
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=0,
            MessageSystemAttributeNames=["MessageGroupId"],
        )
        for message in answer.get("Messages", []):
            await asyncio.to_thread(sqs.delete_message, QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            found[json.loads(message["Body"])["metadata"]["id"]] = message.get("Attributes", {}).get("MessageGroupId")
        return len(found) >= count

    await eventually_async(take)
    return found


def body_of(task_id: str, tenant: str) -> str:
    metadata = {"id": task_id, "runtime": RUNTIME, "tasktype": "text-to-image", "prefix": "p"}
    return json.dumps({"metadata": {**metadata, "submission": new_ulid(), "tenant": tenant}, "content": {}})


async def submit(api: Api, task_id: str, key: str = "") -> None:
    headers = {"x-api-key": key} if key else {}
    answer = await api.client.post("/v1/tasks", json=request(task_id), headers=headers)
    assert answer.status_code == 202, answer.text


async def test_the_group_of_a_task_is_its_tenant_also_when_it_is_sent_again(start_api: StartApi) -> None:
    api = await start_api(api_keys=",".join(f"{name}={key}" for name, key in KEYS.items()), undelivered_sweep_seconds=1)
    deployment, sqs = api.deployment, api.deployment.clients.sqs
    url, dead = deployment.queue_url(RUNTIME), deployment.dead_letter_url(RUNTIME)
    undelivered = sqs.get_queue_url(QueueName=deployment.place.undelivered)["QueueUrl"]

    await asyncio.gather(*(submit(api, f"of-{name}", key) for name, key in KEYS.items()))
    sqs.send_message(QueueUrl=undelivered, MessageBody=body_of("undelivered", "bob"))
    letter = sqs.send_message(QueueUrl=dead, MessageBody=body_of("buried", "alice"))["MessageId"]
    answer = await api.client.post(
        "/v1/dead-letters/redrive",
        json={"runtime": RUNTIME, "message_ids": [letter]},
        headers={"x-api-key": KEYS["alice"]},
    )

    assert answer.json()["sent_back"] == [letter]
    assert await groups(deployment, url, 4) == {
        "of-alice": "alice",
        "of-bob": "bob",
        "undelivered": "bob",
        "buried": "alice",
    }


async def test_without_tenants_there_is_no_group(start_api: StartApi) -> None:
    shared = await start_api(api_keys="Any Name=a-key", api_keys_shared=True)
    await submit(shared, "shared", "a-key")
    await submit(await start_api(), "open")
    url = shared.deployment.queue_url(RUNTIME)
    assert await groups(shared.deployment, url, 2) == {"shared": None, "open": None}


async def test_each_message_of_a_batch_has_its_own_group(
    module_deployment: Deployment, aws_session: AioSession
) -> None:
    deployment = module_deployment
    access: dict[str, Any] = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    async with aws_session.create_client(
        "sns", endpoint_url=deployment.endpoint, region_name="us-east-1", **access
    ) as sns:
        publications = Publications(sns, deployment.place.task_topic_arn, seconds=30)
        wanted = {f"batch-{number}": tenant for number, tenant in enumerate(["alice", "bob", "alice", ""])}
        # The first goes alone; the others come while it is under way, and go together.
        await asyncio.gather(
            *(
                publications.publish(body_of(name, tenant), {"runtime": RUNTIME}, tenant=tenant)
                for name, tenant in wanted.items()
            )
        )
    found = await groups(deployment, deployment.queue_url(RUNTIME), 4)
    assert found == {name: tenant or None for name, tenant in wanted.items()}
