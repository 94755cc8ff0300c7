"""The only place that knows queue names, filter policies, redrive and visibility settings.

`local/` applies this with boto3, `cloud/` turns it into CDK constructs; neither decides anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from contract.objects import (
    AGENTS,
    DEADLINES,
    ENDED,
    IDEMPOTENCY,
    INPUTS,
    LISTS,
    PAYLOADS,
    RECORDS,
    REQUESTS,
    USAGE,
    WEBHOOKS,
)
from contract.webhooks import FILTER_POLICY

if TYPE_CHECKING:  # the agent needs names from here, and neither the deployment's schema nor YAML
    from contract.config import Config, RuntimeConfig

LOCAL_ACCOUNT: Final = "000000000000"
"""The account that LocalStack plays."""

VISIBILITY_TIMEOUT: Final = 60
"""Seconds. Short, because the agent's heartbeat renews it: so long does a killed agent's task wait for the next one."""

WEBHOOKS_VISIBILITY: Final = 120
"""Seconds; longer than a look at one task's webhook with its attempts takes."""

RETENTION: Final = 14 * 24 * 3600
"""Seconds; the most that SQS allows, since a queue with no GPU behind it must not forget."""

RECEIVE_WAIT: Final = 20
"""Seconds of a long poll; the most that SQS allows."""

MAX_RECEIVE_COUNT: Final = 100
"""Receives before SQS itself moves a message to the dead-letter queue.

A backstop only. Receives are no attempts: prefetching, draining and waiting for a runtime all receive without running.
Attempts are counted in the task's record (`MAX_ATTEMPTS`)."""

EXPIRY: Final = RETENTION - 12 * 3600
"""Seconds after which a submission that has not ended never will: the API ends it before SQS forgets its message."""

MAX_ATTEMPTS: Final = 3
"""Runs that may fail for transient reasons before the task fails for good."""

RECORD_DAYS: Final = 30
"""Days after which records, ended submissions, payloads, idempotency notes, uploaded inputs, kept requests, lists of
tasks and ledgers of webhooks expire; longer than `RETENTION`, in which a message may still come for any of them."""

USAGE_DAYS: Final = 400
"""Days after which the usage expires: a year's bill can be made a month after it."""


_NO_XML: Final = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""What XML 1.0 has no character for."""


_PARTITIONS: Final = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
"""By how the names of their regions start; all others are in `aws`."""

_BUCKET_NAME: Final = 63
"""Characters that a bucket's name may have."""


@dataclass(frozen=True)
class Queue:
    """The queue of one runtime, with its dead-letter queue and its subscription to the task topic."""

    runtime: str
    name: str
    dead_letter_name: str
    visibility_timeout: int
    retention: int
    receive_wait: int
    max_receive_count: int
    filter_policy: dict[str, Any]


@dataclass(frozen=True)
class Topology:
    """Every messaging and storage resource of a deployment, by name."""

    partition: str
    region: str
    account: str
    task_topic: str
    callback_topic: str
    output_bucket: str
    model_bucket: str
    undelivered: str
    """The queue of what SNS could not deliver to a runtime's queue."""
    webhooks: str
    """The queue of what calls for a look at a task's webhook."""
    webhooks_dead_letter: str
    expiring_prefixes: tuple[str, ...]
    expiry_days: int
    queues: tuple[Queue, ...]
    cors_origins: tuple[str, ...] = ()
    """Whose pages may read results by their links; see `bucket_cors`."""

    @property
    def task_topic_arn(self) -> str:
        """The ARN to which the API publishes."""
        return self._arn("sns", self.task_topic)

    @property
    def callback_topic_arn(self) -> str:
        """The ARN to which agents publish callbacks."""
        return self._arn("sns", self.callback_topic)

    def queue_arn(self, name: str) -> str:
        """Returns the ARN of a queue of this deployment."""
        return self._arn("sqs", name)

    @property
    def model_bucket_arn(self) -> str:
        """The ARN of the bucket that holds the models."""
        return f"arn:{self.partition}:s3:::{self.model_bucket}"

    @property
    def queue_names(self) -> list[str]:
        """The names of all queues that the deployment has."""
        own = [name for queue in self.queues for name in (queue.name, queue.dead_letter_name)]
        return [*own, self.undelivered, self.webhooks, self.webhooks_dead_letter]

    def queue(self, runtime: str) -> Queue:
        """Returns a runtime's queue.

        Raises:
            KeyError: there is no such runtime.
        """
        for queue in self.queues:
            if queue.runtime == runtime:
                return queue
        raise KeyError(runtime)

    def _arn(self, service: str, name: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{name}"


def topology(config: Config, *, region: str = "us-east-1", account: str = LOCAL_ACCOUNT) -> Topology:
    """Returns the resources that a config describes."""
    stack = config.stack_name
    return Topology(
        partition=config.partition or partition_of(region),
        region=region,
        account=account,
        task_topic=f"{stack}-tasks",
        callback_topic=f"{stack}-callbacks",
        # No runtime's name has an underscore, so that no runtime's queue can have this one.
        undelivered=f"{stack}_undelivered",
        webhooks=f"{stack}_webhooks",
        webhooks_dead_letter=f"{stack}_webhooks-dlq",
        output_bucket=config.cloud.output_bucket or _bucket(stack, "output", account, region),
        model_bucket=config.model_bucket or _bucket(stack, "models", account, region),
        expiring_prefixes=(
            RECORDS,
            ENDED,
            PAYLOADS,
            IDEMPOTENCY,
            INPUTS,
            LISTS,
            REQUESTS,
            WEBHOOKS,
            AGENTS,
            USAGE,
            DEADLINES,
        ),
        expiry_days=RECORD_DAYS,
        queues=tuple(
            Queue(
                runtime=runtime.name,
                name=f"{stack}-{runtime.name}",
                dead_letter_name=f"{stack}-{runtime.name}-dlq",
                visibility_timeout=VISIBILITY_TIMEOUT,
                retention=RETENTION,
                receive_wait=RECEIVE_WAIT,
                max_receive_count=MAX_RECEIVE_COUNT,
                filter_policy=filter_policy(runtime),
            )
            for runtime in config.runtimes
        ),
        cors_origins=config.api_gateway.cors_allowed_origins,
    )


def partition_of(region: str) -> str:
    """Returns the partition of a region: `aws`, `aws-cn` or `aws-us-gov`."""
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


def name_within(limit: int, stack: str, *, before: str = "", after: str = "") -> str:
    """Returns `before`, a stack's name and `after`; a name that is too long ends in a digest of itself instead."""
    room = limit - len(before) - len(after)
    if len(stack) > room:
        digest = hashlib.sha256(stack.encode()).hexdigest()[:8]
        stack = f"{stack[: room - 9].rstrip('-')}-{digest}"
    return f"{before}{stack}{after}"


def _bucket(stack: str, holds: str, account: str, region: str) -> str:
    """Returns the name of a bucket, which no other account, region or stack gives: all the world shares these names."""
    stack = stack.lower()
    if account == LOCAL_ACCOUNT:  # in an emulator, which is a world of its own
        return f"{stack}-models" if holds == "models" else f"{stack}-{holds}-{account}"
    return name_within(_BUCKET_NAME, stack, after=f"-{holds}-{account}-{region}")


def filter_policy(runtime: RuntimeConfig) -> dict[str, Any]:
    """Returns the SNS filter policy (scope: message attributes) of a runtime's queue."""
    by_name = {"runtime": [runtime.name]}
    if runtime.static_checkpoint is None:
        return by_name
    return {"$or": [by_name, {"sd_model_checkpoint": [runtime.static_checkpoint]}]}


def message_attributes(config: Config, runtime: RuntimeConfig, checkpoint: str | None) -> dict[str, str]:
    """Returns the attributes with which a task is published, such that exactly one queue takes it.

    A checkpoint that another static runtime holds is left out: with it, that runtime's queue would take the task too,
    and it would be generated twice.
    """
    attributes = {"runtime": runtime.name}
    held_elsewhere = any(
        other.name != runtime.name and other.static_checkpoint == checkpoint for other in config.runtimes
    )
    if checkpoint is not None and not held_elsewhere:
        attributes["sd_model_checkpoint"] = checkpoint
    return attributes


def takes(queue: Queue, attributes: Mapping[str, str]) -> bool:
    """Tells whether a queue's filter policy lets a message with these attributes in (as `filter_policy` writes it)."""
    ways = queue.filter_policy.get("$or", [queue.filter_policy])
    return any(all(attributes.get(name) in wanted for name, wanted in way.items()) for way in ways)


def string_attributes(values: Mapping[str, str]) -> dict[str, Any]:
    """Returns message attributes as SNS and SQS take them, all of the type `String`.

    They refuse empty values and characters that XML does not have: the former are left out, a space stands for the
    latter (Amazon SQS, "Message attribute components").
    """
    return {
        name: {"DataType": "String", "StringValue": _NO_XML.sub(" ", value)} for name, value in values.items() if value
    }


def message_group(tenant: str) -> dict[str, Any]:
    """Returns what SNS and SQS are told of whose message it is, so that one tenant's flood does not delay the others.

    A tenant's name is a legal group. SNS hands it on to the queues (Amazon SNS, Publish, "MessageGroupId"), which then
    are fair (Amazon SQS, "Amazon SQS fair queues"). A message of the shared space has none.
    """
    return {"MessageGroupId": tenant} if tenant else {}


def subscription_attributes(place: Topology, queue: Queue) -> dict[str, Any]:
    """Returns the attributes of a queue's subscription; policies as mappings, to be encoded as JSON."""
    return {
        "RawMessageDelivery": "true",
        "FilterPolicyScope": "MessageAttributes",
        "FilterPolicy": queue.filter_policy,
        "RedrivePolicy": {"deadLetterTargetArn": place.queue_arn(place.undelivered)},
    }


def queue_attributes(place: Topology, queue: Queue) -> dict[str, Any]:
    """Returns the SQS attributes of a runtime's queue; policies as mappings, to be encoded as JSON."""
    return {
        "VisibilityTimeout": str(queue.visibility_timeout),
        "MessageRetentionPeriod": str(queue.retention),
        "ReceiveMessageWaitTimeSeconds": str(queue.receive_wait),
        "SqsManagedSseEnabled": "true",
        "RedrivePolicy": {
            "deadLetterTargetArn": place.queue_arn(queue.dead_letter_name),
            "maxReceiveCount": queue.max_receive_count,
        },
        "Policy": _admits_task_topic(place, queue.name),
    }


def undelivered_attributes(place: Topology) -> dict[str, Any]:
    """Returns the SQS attributes of the queue of what SNS could not deliver; its policy as a mapping."""
    return {
        "MessageRetentionPeriod": str(RETENTION),
        "SqsManagedSseEnabled": "true",
        "Policy": _admits_task_topic(place, place.undelivered),
    }


def webhooks_attributes(place: Topology) -> dict[str, Any]:
    """Returns the SQS attributes of the queue of webhooks; policies as mappings."""
    return {
        "VisibilityTimeout": str(WEBHOOKS_VISIBILITY),
        "MessageRetentionPeriod": str(RETENTION),
        "ReceiveMessageWaitTimeSeconds": str(RECEIVE_WAIT),
        "SqsManagedSseEnabled": "true",
        "RedrivePolicy": {
            "deadLetterTargetArn": place.queue_arn(place.webhooks_dead_letter),
            "maxReceiveCount": MAX_RECEIVE_COUNT,
        },
        "Policy": _admits(place, place.webhooks, "CallbackTopicMaySend", place.callback_topic_arn),
    }


def webhooks_dead_letter_attributes() -> dict[str, Any]:
    """Returns the SQS attributes of the dead-letter queue of webhooks: of deliveries that were given up."""
    return {"MessageRetentionPeriod": str(RETENTION), "SqsManagedSseEnabled": "true"}


def webhooks_subscription_attributes() -> dict[str, Any]:
    """Returns the attributes of the subscription of the queue of webhooks to the callback topic; policies as mappings.

    What SNS cannot deliver there needs no place to go: the anchor, which the API sends, finds the end all the same.
    """
    return {
        "RawMessageDelivery": "true",
        "FilterPolicyScope": "MessageAttributes",
        "FilterPolicy": FILTER_POLICY,
    }


def _admits_task_topic(place: Topology, name: str) -> dict[str, Any]:
    return _admits(place, name, "TaskTopicMaySend", place.task_topic_arn)


def _admits(place: Topology, name: str, sid: str, topic_arn: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": sid,
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": place.queue_arn(name),
                "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
            }
        ],
    }


def dead_letter_attributes(queue: Queue) -> dict[str, Any]:
    """Returns the SQS attributes of a dead-letter queue."""
    return {"MessageRetentionPeriod": str(queue.retention), "SqsManagedSseEnabled": "true"}


def bucket_lifecycle(place: Topology) -> dict[str, Any]:
    """Returns the S3 lifecycle configuration of the output bucket."""
    # An agent writes its own anew every minute.
    own_days = {AGENTS: 1, USAGE: USAGE_DAYS}
    return {
        "Rules": [
            {
                "ID": f"expire-{prefix.strip('./')}",
                "Status": "Enabled",
                "Filter": {"Prefix": prefix},
                "Expiration": {"Days": own_days.get(prefix, place.expiry_days)},
                # Parts of an upload that nobody has ended.
                **({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}} if prefix == INPUTS else {}),
            }
            for prefix in place.expiring_prefixes
        ]
    }


def bucket_cors(place: Topology) -> dict[str, Any]:
    """Returns the CORS configuration of the output bucket: which pages may read a result by its link, or bring a part.

    A part's link is all that it takes to bring the part, from a page or from elsewhere: so any page may, and the
    console needs to be known by no address. (S3 applies the first rule that fits.)
    """
    parts = {
        "AllowedOrigins": ["*"],
        "AllowedMethods": ["PUT"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 600,
    }
    results = {
        "AllowedOrigins": list(place.cors_origins),
        "AllowedMethods": ["GET", "HEAD"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag", "Content-Length", "Content-Range", "Content-Disposition"],
        "MaxAgeSeconds": 600,
    }
    return {"CORSRules": [results, parts] if place.cors_origins else [parts]}
