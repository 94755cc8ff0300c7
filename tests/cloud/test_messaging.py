"""What CloudFormation makes of topics, queues and bucket is what the contract says, and what LocalStack reports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contract.topology import (
    Topology,
    bucket_cors,
    bucket_lifecycle,
    dead_letter_attributes,
    queue_attributes,
    subscription_attributes,
    topology,
    undelivered_attributes,
    webhooks_attributes,
    webhooks_dead_letter_attributes,
    webhooks_subscription_attributes,
)
from local.clients import Clients, make_clients
from local.provision import provision
from tests.cloud.synthesis import ACCOUNT, Synthesis


@pytest.fixture(scope="module")
def place(default: Synthesis) -> Topology:
    return topology(default.config, region=default.region, account=ACCOUNT)


@pytest.fixture(scope="module")
def reported(localstack: str, place: Topology) -> Clients:
    """Clients of a LocalStack that holds the same config."""
    clients = make_clients(localstack)
    assert list(provision(place, clients))
    return clients


def of_queue(default: Synthesis, place: Topology, name: str) -> dict[str, Any]:
    """A queue's attributes as SQS would report them, from its template."""
    template = default.templates[f"{default.config.stack_name}-messaging"]["Resources"]
    ids = {item["Properties"]["QueueName"]: key for key, item in template.items() if item["Type"] == "AWS::SQS::Queue"}
    arns = {logical_id: place.queue_arn(queue) for queue, logical_id in ids.items()}
    queue = template[ids[name]]["Properties"]
    attributes: dict[str, Any] = {
        key: str(value).lower() for key, value in queue.items() if key not in {"QueueName", "RedrivePolicy", "Tags"}
    }
    if "RedrivePolicy" in queue:
        target = arns[queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]]
        attributes["RedrivePolicy"] = {**queue["RedrivePolicy"], "deadLetterTargetArn": target}
    allowed = [
        statement
        for item in template.values()
        if item["Type"] == "AWS::SQS::QueuePolicy" and item["Properties"]["Queues"] == [{"Ref": ids[name]}]
        for statement in item["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    return attributes | ({"Policy": {"Version": "2012-10-17", "Statement": allowed}} if allowed else {})


def of_subscription(default: Synthesis, place: Topology, name: str) -> dict[str, Any]:
    """The attributes of a queue's subscription as SNS would report them, from its template."""
    template = default.templates[f"{default.config.stack_name}-messaging"]["Resources"]
    ids = {item["Properties"]["QueueName"]: key for key, item in template.items() if item["Type"] == "AWS::SQS::Queue"}
    (found,) = [
        item["Properties"]
        for item in template.values()
        if item["Type"] == "AWS::SNS::Subscription"
        and item["Properties"]["Endpoint"] == {"Fn::GetAtt": [ids[name], "Arn"]}
    ]

    def queue_of(logical_id: str) -> str:
        return place.queue_arn(template[logical_id]["Properties"]["QueueName"])

    topic = template[found["TopicArn"]["Ref"]]["Properties"]["TopicName"]
    assert topic == (place.callback_topic if name == place.webhooks else place.task_topic)
    return {
        "RawMessageDelivery": str(found["RawMessageDelivery"]).lower(),
        "FilterPolicyScope": found["FilterPolicyScope"],
        "FilterPolicy": found["FilterPolicy"],
        **(
            {
                "RedrivePolicy": {
                    "deadLetterTargetArn": queue_of(found["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0])
                }
            }
            if "RedrivePolicy" in found
            else {}
        ),
    }


@pytest.mark.parametrize("runtime", ["sdruntime", "dynamicruntime", "comfyruntime"])
def test_a_runtimes_queues_and_subscription_are_the_contracts(
    default: Synthesis, place: Topology, runtime: str
) -> None:
    queue = place.queue(runtime)
    assert of_queue(default, place, queue.name) == queue_attributes(place, queue)
    assert of_queue(default, place, queue.dead_letter_name) == dead_letter_attributes(queue)
    assert of_subscription(default, place, queue.name) == subscription_attributes(place, queue)


def test_the_queue_of_what_cannot_be_delivered_is_the_contracts(default: Synthesis, place: Topology) -> None:
    assert of_queue(default, place, place.undelivered) == undelivered_attributes(place)


def test_the_queues_and_the_subscription_of_webhooks_are_the_contracts(default: Synthesis, place: Topology) -> None:
    assert of_queue(default, place, place.webhooks) == webhooks_attributes(place)
    assert of_queue(default, place, place.webhooks_dead_letter) == webhooks_dead_letter_attributes()
    assert of_subscription(default, place, place.webhooks) == webhooks_subscription_attributes()


@pytest.mark.parametrize("runtime", ["sdruntime", "dynamicruntime", "comfyruntime"])
def test_a_runtimes_queues_and_subscription_are_what_localstack_reports(
    default: Synthesis, place: Topology, reported: Clients, runtime: str
) -> None:
    queue = place.queue(runtime)
    for name in (queue.name, queue.dead_letter_name, place.undelivered, place.webhooks, place.webhooks_dead_letter):
        wanted = of_queue(default, place, name)
        url = reported.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        found: Any = reported.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        for key in {"RedrivePolicy", "Policy"} & found.keys():
            found[key] = json.loads(found[key])
        assert {key: found.get(key) for key in wanted} == wanted
    (arn,) = [
        item["SubscriptionArn"]
        for item in reported.sns.list_subscriptions_by_topic(TopicArn=place.task_topic_arn)["Subscriptions"]
        if item["Endpoint"] == place.queue_arn(queue.name)
    ]
    subscription: dict[str, Any] = dict(reported.sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"])
    for key in ("FilterPolicy", "RedrivePolicy"):
        subscription[key] = json.loads(subscription[key])
    wanted = of_subscription(default, place, queue.name)
    assert {key: subscription.get(key) for key in wanted} == wanted


def test_there_is_nothing_besides_the_contracts_queues_and_topics(default: Synthesis, place: Topology) -> None:
    stack = f"{default.config.stack_name}-messaging"
    names = {item["QueueName"] for item in default.properties("AWS::SQS::Queue", stack)}
    assert names == set(place.queue_names)
    topics = {item["TopicName"] for item in default.properties("AWS::SNS::Topic", stack)}
    assert topics == {place.task_topic, place.callback_topic}
    assert len(default.properties("AWS::SNS::Subscription", stack)) == len(place.queues) + 1


def test_the_output_bucket_has_the_contracts_name_and_lifecycle(default: Synthesis, place: Topology) -> None:
    (bucket,) = default.properties("AWS::S3::Bucket", f"{default.config.stack_name}-messaging")
    assert bucket["BucketName"] == place.output_bucket
    rules = [
        {
            "ID": rule["Id"],
            "Status": rule["Status"],
            "Filter": {"Prefix": rule["Prefix"]},
            "Expiration": {"Days": rule["ExpirationInDays"]},
            **{name: value for name, value in rule.items() if name == "AbortIncompleteMultipartUpload"},
        }
        for rule in bucket["LifecycleConfiguration"]["Rules"]
    ]
    assert rules == bucket_lifecycle(place)["Rules"]


def test_the_output_bucket_has_the_contracts_rules_for_pages_of_other_origins(
    default: Synthesis, everything: Synthesis
) -> None:
    def rules(made: Synthesis) -> list[dict[str, Any]]:
        (bucket,) = made.properties("AWS::S3::Bucket", f"{made.config.stack_name}-messaging")
        return [
            {
                "AllowedOrigins": rule["AllowedOrigins"],
                "AllowedMethods": rule["AllowedMethods"],
                "AllowedHeaders": rule["AllowedHeaders"],
                "ExposeHeaders": rule["ExposedHeaders"],
                "MaxAgeSeconds": rule["MaxAge"],
            }
            for rule in bucket.get("CorsConfiguration", {}).get("CorsRules", [])
        ]

    for made in (default, everything):
        assert rules(made) == bucket_cors(topology(made.config))["CORSRules"]
    assert [rule["AllowedMethods"] for rule in rules(default)] == [["PUT"]]


def test_only_a_config_that_asks_for_it_raises_the_sizes_of_tasks_messages(
    default: Synthesis, everything: Synthesis
) -> None:
    def sizes(assembly: Synthesis, kind: str, key: str) -> dict[str, Any]:
        found = assembly.properties(kind, f"{assembly.config.stack_name}-messaging")
        return {item[key]: item.get("MaximumMessageSize") for item in found}

    assert set(sizes(default, "AWS::SNS::Topic", "TopicName").values()) == {None}
    # Callbacks may go to subscribers that take no more than 256 KiB.
    assert sizes(everything, "AWS::SNS::Topic", "TopicName") == {"studio-tasks": 2**20, "studio-callbacks": None}
    queues = sizes(everything, "AWS::SQS::Queue", "QueueName")
    place = topology(everything.config, region=everything.region, account=ACCOUNT)
    tasks = [name for queue in place.queues for name in (queue.name, queue.dead_letter_name)]
    assert {name: queues[name] for name in (*tasks, place.undelivered)} == dict.fromkeys(
        (*tasks, place.undelivered), 2**20
    )
