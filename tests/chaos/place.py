"""Topics, queues and buckets of a trial, and what lies in them at its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from contract.objects import PAYLOADS, RECORDS, is_reserved_key
from contract.task import RuntimeType
from local.provision import provision
from tests.chaos.plan import RETENTION, Plan
from tests.support.deployment import Deployment, deploy

_CONFIG: Final = """
stackName: {{stack}}
modelBucketArn: arn:aws:s3:::{{stack}}-models
APIGW: {{{{throttle: {{{{rateLimit: 1000, burstLimit: 1000}}}}}}}}
modelsRuntime:
"""
_PERSISTS: Final = 60.0
"""Seconds within which AWS does what is asked of it here, frozen on purpose or not."""


@dataclass(frozen=True)
class TrialDeployment(Deployment):
    """A deployment whose queues are known by heart: a frozen AWS must not keep agents from being started."""

    urls: dict[str, str] = field(default_factory=dict)
    away: str = ""
    """The runtime whose queue keeps messages for `RETENTION` seconds only."""
    given: frozenset[str] = frozenset()
    """Keys of the objects that lie in the bucket from the start."""

    def queue_url(self, runtime: str) -> str:
        return self.urls[runtime]

    def delete_queue(self, runtime: str) -> None:
        """Deletes the queue of a runtime, as somebody does by mistake."""
        _persist(lambda: self.clients.sqs.delete_queue(QueueUrl=self.urls[runtime]))

    def restore(self) -> None:
        """Makes what is missing."""

        def make() -> None:
            for _ in provision(self.place, self.clients):
                pass
            self.clients.sqs.set_queue_attributes(
                QueueUrl=self.urls[self.away], Attributes={"MessageRetentionPeriod": str(RETENTION)}
            )

        _persist(make)

    def waiting(self) -> dict[str, tuple[int, int]]:
        """Returns for each runtime how many messages are visible, and how many are held; those undelivered, too."""
        undelivered = self.clients.sqs.get_queue_url(QueueName=self.place.undelivered)["QueueUrl"]
        return {runtime: self.queue_counts(url) for runtime, url in [*self.urls.items(), ("nobody", undelivered)]}


def provision_trial(endpoint: str, plan: Plan) -> TrialDeployment:
    """Returns a new deployment with a plan's runtimes."""
    lines = [
        f"- {{{{name: {runtime.name}, type: {runtime.type}"
        + (", dynamicModel: true" if runtime.type is RuntimeType.SDWEBUI else "")
        + "}}\n"
        for runtime in plan.runtimes
    ]
    made = deploy(endpoint, config=_CONFIG.format() + "".join(lines))
    urls = {runtime.name: made.queue_url(runtime.name) for runtime in plan.runtimes}
    deployment = TrialDeployment(
        made.config,
        made.place,
        made.clients,
        made.callbacks,
        urls=urls,
        away=plan.away.name,
        given=frozenset(made.object_keys()),
    )
    deployment.restore()
    return deployment


def leftovers(deployment: TrialDeployment) -> dict[str, Any]:
    """Returns what lies in the bucket, the service's own notes left out, and in the queues."""
    s3, bucket = deployment.clients.s3, deployment.place.output_bucket
    objects: dict[str, str] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        objects |= {item["Key"]: item["ETag"].strip('"') for item in page.get("Contents", [])}
    records = [json.loads(deployment.object(key)) for key in objects if key.startswith(RECORDS)]
    letters = [letter for runtime in deployment.urls for letter in _letters(deployment, runtime)]
    return {
        "objects": {
            key: etag
            for key, etag in objects.items()
            if key not in deployment.given and (key.startswith(PAYLOADS) or not is_reserved_key(key))
        },
        "records": records,
        "dead_letters": letters,
        "waiting": deployment.waiting(),
    }


def _letters(deployment: TrialDeployment, runtime: str) -> list[dict[str, str]]:
    letters: dict[str, dict[str, str]] = {}
    url = deployment.dead_letter_url(runtime)
    while messages := deployment.clients.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=600
    ).get("Messages", []):
        for message in messages:
            attributes: dict[str, Any] = dict(message.get("MessageAttributes", {}))
            letters[message["MessageId"]] = {
                "submission": attributes.get("submission", {}).get("StringValue", ""),
                "reason": attributes.get("reason", {}).get("StringValue", ""),
                "body": message["Body"][:2000],
            }
    return list(letters.values())


def _persist(call: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PERSISTS
    while True:
        try:
            call()
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return
