"""What LocalStack reports is what `contract/topology.py` says."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import httpx
import pytest

from contract.config import parse_config
from contract.topology import (
    bucket_lifecycle,
    dead_letter_attributes,
    queue_attributes,
    subscription_attributes,
    topology,
    undelivered_attributes,
)
from local.provision import Action, provision
from tests.support.deployment import CONFIG, Deployment
from tests.support.waiting import eventually


def decoded(attributes: Any, like: dict[str, Any]) -> dict[str, Any]:
    """Returns the attributes that `like` has; those that are mappings there as mappings."""
    return {
        name: attributes[name] if isinstance(value, str) else json.loads(attributes[name])
        for name, value in like.items()
    }


def subscriptions(deployment: Deployment) -> dict[str, str]:
    answer = deployment.clients.sns.list_subscriptions_by_topic(TopicArn=deployment.place.task_topic_arn)
    return {item["Endpoint"]: item["SubscriptionArn"] for item in answer["Subscriptions"]}


@pytest.mark.parametrize("runtime", ["sdruntime", "dynamicruntime", "comfyruntime"])
def test_a_queue_and_its_dead_letter_queue_have_the_attributes_of_the_topology(
    module_deployment: Deployment, runtime: str
) -> None:
    place, sqs = module_deployment.place, module_deployment.clients.sqs
    queue = place.queue(runtime)
    for url, wanted in [
        (module_deployment.queue_url(runtime), queue_attributes(place, queue)),
        (module_deployment.dead_letter_url(runtime), dead_letter_attributes(queue)),
    ]:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert decoded(found, wanted) == wanted
    assert found["QueueArn"] == place.queue_arn(queue.dead_letter_name)


def test_what_cannot_be_delivered_has_a_queue_that_lets_the_topic_in(module_deployment: Deployment) -> None:
    place, sqs = module_deployment.place, module_deployment.clients.sqs
    url = sqs.get_queue_url(QueueName=place.undelivered)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert decoded(found, undelivered_attributes(place)) == undelivered_attributes(place)


def test_exactly_the_queues_of_the_topology_are_subscribed_raw_and_filtered(module_deployment: Deployment) -> None:
    place, sns = module_deployment.place, module_deployment.clients.sns
    found = subscriptions(module_deployment)
    assert set(found) == {place.queue_arn(queue.name) for queue in place.queues}
    for queue in place.queues:
        wanted = subscription_attributes(place, queue)
        attributes = sns.get_subscription_attributes(SubscriptionArn=found[place.queue_arn(queue.name)])["Attributes"]
        assert decoded(attributes, wanted) == wanted


def test_the_buckets_are_there_and_the_output_bucket_forgets_what_it_should(module_deployment: Deployment) -> None:
    place, s3 = module_deployment.place, module_deployment.clients.s3
    assert {place.output_bucket, place.model_bucket} <= {item["Name"] for item in s3.list_buckets()["Buckets"]}
    found = s3.get_bucket_lifecycle_configuration(Bucket=place.output_bucket)
    assert found["Rules"] == bucket_lifecycle(place)["Rules"]


def test_a_second_run_changes_nothing(module_deployment: Deployment) -> None:
    changes = list(provision(module_deployment.place, module_deployment.clients))
    assert [change for change in changes if change.action is not Action.UNCHANGED] == []
    assert len(changes) == 11 + 3 * len(module_deployment.place.queues)


def test_what_differs_is_corrected_and_nothing_else(deployment: Deployment) -> None:
    text = CONFIG.format(stack=deployment.config.stack_name).replace("v1-5-pruned-emaonly", "another")
    wanted = topology(parse_config(text))
    queue = dataclasses.replace(wanted.queues[0], visibility_timeout=77)
    wanted = dataclasses.replace(wanted, queues=(queue, *wanted.queues[1:]), expiry_days=3)
    changes = [str(item) for item in provision(wanted, deployment.clients) if item.action is not Action.UNCHANGED]
    assert changes == [
        f"updated   lifecycle {wanted.output_bucket}",
        f"updated   queue {queue.name} (VisibilityTimeout)",
        f"updated   subscription {queue.name} (FilterPolicy)",
    ]
    assert all(item.action is Action.UNCHANGED for item in provision(wanted, deployment.clients))


def test_pages_of_the_origins_that_are_named_can_read_results_and_no_others(deployment: Deployment) -> None:
    page, place, s3 = "http://localhost:5173", deployment.place, deployment.clients.s3
    s3.put_object(Bucket=place.output_bucket, Key="a.png", Body=b"a picture")
    link = s3.generate_presigned_url("get_object", Params={"Bucket": place.output_bucket, "Key": "a.png"})
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}

    def allowed(origin: str) -> tuple[str | None, str | None]:
        read = httpx.get(link, headers={"Origin": origin})
        assert read.content == b"a picture"
        preflight = httpx.options(link, headers={"Origin": origin, **asked})
        name = "access-control-allow-origin"
        return read.headers.get(name), preflight.headers.get(name)

    assert allowed(page) == (None, None)
    open_to_it = dataclasses.replace(place, cors_origins=(page,))
    assert [str(item) for item in provision(open_to_it, deployment.clients) if item.action is not Action.UNCHANGED] == [
        f"updated   CORS {place.output_bucket}"
    ]
    assert all(item.action is Action.UNCHANGED for item in provision(open_to_it, deployment.clients))
    assert (allowed(page), allowed("http://evil.example")) == ((page, page), (None, None))
    assert f"updated   CORS {place.output_bucket}" in map(str, provision(place, deployment.clients))
    assert allowed(page) == (None, None)


def test_a_runtime_that_is_gone_takes_no_tasks_but_an_onlooker_stays(deployment: Deployment) -> None:
    place, sns = deployment.place, deployment.clients.sns
    onlooker = place.queue_arn("onlooker")
    deployment.clients.sqs.create_queue(QueueName="onlooker")
    sns.subscribe(TopicArn=place.task_topic_arn, Protocol="sqs", Endpoint=onlooker)
    fewer = dataclasses.replace(place, queues=place.queues[1:])
    changes = list(provision(fewer, deployment.clients))
    assert [change.name for change in changes if change.action is Action.REMOVED] == [place.queues[0].name]
    assert set(subscriptions(deployment)) == {onlooker} | {place.queue_arn(queue.name) for queue in fewer.queues}


def test_each_task_reaches_the_one_queue_that_its_attributes_name(deployment: Deployment) -> None:
    held = "v1-5-pruned-emaonly.safetensors"
    published: list[tuple[dict[str, str], str | None]] = [
        ({"runtime": "comfyruntime"}, "comfyruntime"),
        ({"runtime": "dynamicruntime", "sd_model_checkpoint": "other.safetensors"}, "dynamicruntime"),
        ({"sd_model_checkpoint": held}, "sdruntime"),
        ({"runtime": "sdruntime", "sd_model_checkpoint": held}, "sdruntime"),
        ({"runtime": "unknown", "sd_model_checkpoint": "other.safetensors"}, None),
        ({}, None),
    ]
    for number, (attributes, _) in enumerate(published):
        deployment.clients.sns.publish(
            TopicArn=deployment.place.task_topic_arn,
            Message=str(number),
            MessageAttributes={name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()},
        )
    arrived: dict[str, str] = {}

    def all_have_arrived() -> bool:
        for queue in deployment.place.queues:
            answer = deployment.clients.sqs.receive_message(
                QueueUrl=deployment.queue_url(queue.runtime), MaxNumberOfMessages=10, WaitTimeSeconds=0
            )
            for message in answer.get("Messages", []):
                assert message["Body"] not in arrived, "one task, two queues"
                arrived[message["Body"]] = queue.runtime
        return len(arrived) >= 4

    eventually(all_have_arrived)
    assert arrived == {str(number): runtime for number, (_, runtime) in enumerate(published) if runtime}


@pytest.mark.parametrize("together", [1, 3])
def test_what_sns_cannot_deliver_waits_with_its_attributes_in_the_queue_for_that(
    deployment: Deployment, together: int
) -> None:
    place, sqs = deployment.place, deployment.clients.sqs
    sqs.delete_queue(QueueUrl=deployment.queue_url("comfyruntime"))
    attributes: Any = {"runtime": {"DataType": "String", "StringValue": "comfyruntime"}}
    entries: Any = [
        {"Id": str(number), "Message": f"task {number}", "MessageAttributes": attributes} for number in range(together)
    ]
    if together == 1:
        deployment.clients.sns.publish(TopicArn=place.task_topic_arn, Message="task 0", MessageAttributes=attributes)
    else:
        deployment.clients.sns.publish_batch(TopicArn=place.task_topic_arn, PublishBatchRequestEntries=entries)
    url = sqs.get_queue_url(QueueName=place.undelivered)["QueueUrl"]
    found: dict[str, str] = {}

    def all_are_there() -> bool:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        for message in answer.get("Messages", []):
            found[message["Body"]] = message["MessageAttributes"]["runtime"]["StringValue"]
        return len(found) == together

    eventually(all_are_there)
    assert found == {f"task {number}": "comfyruntime" for number in range(together)}
