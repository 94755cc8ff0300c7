"""Sets the stage for one measurement: a deployment of its own, and a queue that is full before anybody looks."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from contract.config import Config, parse_config
from contract.identifiers import new_ulid
from contract.objects import record_key
from contract.record import Submission, submit
from contract.task import Metadata, RuntimeType, TaskMessage, encode_task_message
from contract.topology import Topology, topology
from local.clients import CREDENTIALS, Clients, make_clients
from local.provision import provision
from tests.bench.scenarios import Scenario

RUNTIMES: Final = {RuntimeType.SDWEBUI: "bench-sdwebui", RuntimeType.COMFYUI: "bench-comfyui"}

_CONFIG: Final = """
stackName: {stack}
modelBucketArn: arn:aws:s3:::{stack}-models
APIGW: {{throttle: {{rateLimit: 10000, burstLimit: 5000}}}}
modelsRuntime:
- {{name: bench-sdwebui, type: sdwebui, dynamicModel: true}}
- {{name: bench-comfyui, type: comfyui}}
"""
_THREADS: Final = 4
_BATCH: Final = 10
_BATCH_BYTES: Final = 200_000
"""Entries and bytes of one SendMessageBatch (Amazon SQS quotas: 10, and at least 262,144)."""


@dataclass(frozen=True)
class Stage:
    """One provisioned stack."""

    config: Config
    config_text: str
    place: Topology
    clients: Clients

    def queue_url(self, runtime: RuntimeType) -> str:
        """Returns the URL of the queue of a type of runtime."""
        return self.clients.sqs.get_queue_url(QueueName=self.place.queue(RUNTIMES[runtime]).name)["QueueUrl"]

    def left(self, queue_url: str) -> int:
        """Returns how many messages a queue still has, visible or held."""
        names: Any = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = self.clients.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def environment(self) -> dict[str, str]:
        """Returns the environment by which a process reaches AWS."""
        return CREDENTIALS | {
            "AWS_ENDPOINT_URL": self.clients.endpoint,
            "AWS_REGION": self.place.region,
            "AWS_DEFAULT_REGION": self.place.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def set_stage(endpoint: str) -> Stage:
    """Provisions a stack under a name that nobody else has."""
    text = _CONFIG.format(stack=f"bench{secrets.token_hex(4)}")
    config = parse_config(text)
    place = topology(config)
    clients = make_clients(endpoint, connections=_THREADS)
    for _ in provision(place, clients):
        pass
    return Stage(config, text, place, clients)


def task_id(scenario: Scenario, number: int) -> str:
    """Returns the id of a scenario's task; its prompt has it too, and so have the runtime's notes."""
    return f"bench-{scenario.key}-{number:06}"


def fill(
    stage: Stage,
    scenario: Scenario,
    *,
    records: bool,
    in_envelope: bool,
    inputs: str,
    progress: Callable[[int], None],
) -> None:
    """Puts every message of a scenario into its queue.

    Args:
        stage: whose queue.
        scenario: what the messages are.
        records: whether to write the records of the awaited tasks too, as the API does before it publishes.
        in_envelope: whether to wrap each message as SNS does without raw delivery.
        inputs: the origin of input images.
        progress: is told how many messages are in the queue.
    """
    url = stage.queue_url(scenario.runtime)

    def body(message: TaskMessage) -> str:
        text = encode_task_message(message)
        # https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
        return json.dumps({"Type": "Notification", "Message": text}) if in_envelope else text

    size = len(body(_message(scenario, 0, inputs)))
    numbers = itertools.batched(range(scenario.messages), min(_BATCH, max(1, _BATCH_BYTES // size)), strict=False)

    def send(batch: tuple[int, ...]) -> int:
        messages = [_message(scenario, number, inputs) for number in batch]
        if records:
            for message in messages[: max(0, scenario.tasks - batch[0])]:
                _write_record(stage, message)
        answer = stage.clients.sqs.send_message_batch(
            QueueUrl=url,
            Entries=[{"Id": str(index), "MessageBody": body(message)} for index, message in enumerate(messages)],
        )
        if len(answer.get("Successful", [])) != len(batch):
            raise RuntimeError(f"SQS does not take every message: {answer.get('Failed')}")
        return len(batch)

    with ThreadPoolExecutor(_THREADS) as pool:
        for done in itertools.accumulate(pool.map(send, numbers)):
            progress(done)


def _message(scenario: Scenario, number: int, inputs: str) -> TaskMessage:
    name = task_id(scenario, number)
    metadata = Metadata(
        id=name,
        runtime=RUNTIMES[scenario.runtime],
        tasktype=scenario.task_type,
        prefix="output",
        context={"number": number},
        submission=new_ulid(),
        submitted_at=datetime.now(UTC),
    )
    return TaskMessage(metadata=metadata, content=scenario.content(name, f"{inputs}/{name}.png"))


def _write_record(stage: Stage, message: TaskMessage) -> None:
    metadata = message.metadata
    new = Submission(
        submission=metadata.submission,
        runtime=metadata.runtime,
        tasktype=metadata.tasktype,
        prefix=metadata.prefix,
        context=metadata.context,
        submitted_at=metadata.submitted_at or datetime.now(UTC),
    )
    stage.clients.s3.put_object(
        Bucket=stage.place.output_bucket,
        Key=record_key(metadata.ref),
        Body=submit(None, metadata.ref, new).model_dump_json().encode(),
        ContentType="application/json",
    )
