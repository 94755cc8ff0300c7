"""What SQS forgets and what SNS cannot deliver ends all the same, with a callback."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from contract.identifiers import TaskRef
from contract.objects import EXPIRY_SWEEP, record_key
from contract.record import Record, Status
from local.provision import provision
from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_errors import changed
from tests.support.deployment import Deployment
from tests.support.waiting import eventually_async, until


def record_of(deployment: Deployment, task_id: str) -> Record:
    return Record.model_validate_json(deployment.object(record_key(TaskRef(task_id))))


async def ended(api: Api, task_id: str, code: str) -> dict[str, Any]:
    """Waits for the end of a task and for its callback, and returns it as the API shows it."""

    async def has_ended() -> dict[str, Any]:
        shown: dict[str, Any] = (await api.client.get(f"/v1/tasks/{task_id}")).json()
        assert shown.get("status") == "failed", shown
        return shown

    shown = await eventually_async(has_ended)
    assert shown["error"]["code"] == code
    heard = (await until(lambda: api.deployment.callbacks.heard(task_id)))[0]
    assert (heard.body["result"], heard.attributes["submission"]) == (False, shown["submission"])
    await until(lambda: record_of(api.deployment, task_id).current.callback_sent)
    return shown


async def test_a_task_that_nobody_takes_expires_and_one_of_two_processes_calls_back(start_api: StartApi) -> None:
    short = {"expiry_seconds": 3, "expiry_sweep_seconds": 1}
    api = await start_api(**short)
    await start_api(**short)
    assert (await api.client.post("/v1alpha2", json=changed(id="waits"))).status_code == 200
    await ended(api, "waits", "expired")
    await asyncio.sleep(2)  # for two sweeps more
    assert len(api.deployment.callbacks.heard("waits")) == 1
    note = json.loads(api.deployment.object(EXPIRY_SWEEP))
    assert datetime.fromisoformat(note["written_until"]) > datetime.now(UTC) - timedelta(minutes=1)


async def test_a_task_whose_queue_is_gone_waits_until_it_is_back(start_api: StartApi) -> None:
    api = await start_api(undelivered_sweep_seconds=1)
    deployment = api.deployment
    deployment.clients.sqs.delete_queue(QueueUrl=deployment.queue_url("dynamicruntime"))
    body = changed(id="comes-back", runtime="dynamicruntime")
    assert (await api.client.post("/v1alpha2", json=body)).status_code == 200
    url = deployment.clients.sqs.get_queue_url(QueueName=deployment.place.undelivered)["QueueUrl"]
    await until(lambda: sum(deployment.queue_counts(url)) == 1)
    assert list(provision(deployment.place, deployment.clients))
    (message,) = await until(lambda: api.messages("dynamicruntime"))
    assert message["metadata"]["submission"] == record_of(deployment, "comes-back").current.submission
    await until(lambda: sum(deployment.queue_counts(url)) == 0)
    assert record_of(deployment, "comes-back").current.status is Status.QUEUED


async def test_a_task_whose_queue_stays_gone_fails_with_a_callback_and_so_does_a_strangers(
    start_api: StartApi,
) -> None:
    api = await start_api(undelivered_sweep_seconds=1, undelivered_tries=2)
    deployment = api.deployment
    deployment.clients.sqs.delete_queue(QueueUrl=deployment.queue_url("comfyruntime"))
    try:
        workflow = changed(id="no-queue", runtime="comfyruntime", tasktype="pipeline")
        workflow["task"]["content"] = {"1": {"class_type": "SaveImage", "inputs": {}}}
        answer = await api.client.post("/v1alpha2", json=workflow)
        assert answer.status_code == 200, answer.text
        metadata = {"id": "stranger", "runtime": "comfyruntime", "tasktype": "pipeline", "prefix": "output"}
        deployment.clients.sns.publish(
            TopicArn=deployment.place.task_topic_arn,
            Message=json.dumps({"metadata": metadata, "content": {}}),
            MessageAttributes={"runtime": {"DataType": "String", "StringValue": "comfyruntime"}},
        )
        await ended(api, "no-queue", "undeliverable")
        await ended(api, "stranger", "undeliverable")
        url = deployment.clients.sqs.get_queue_url(QueueName=deployment.place.undelivered)["QueueUrl"]
        await until(lambda: sum(deployment.queue_counts(url)) == 0)
    finally:
        assert list(provision(deployment.place, deployment.clients))
