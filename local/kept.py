"""Sends again what LocalStack had been given to deliver, from the file that keeps it (`local/localstack/keep.py`)."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError
from pydantic import ValidationError

from contract.objects import record_key
from contract.record import Record
from contract.task import UnreadableMessageError, parse_task_message
from contract.topology import Topology, message_group
from local.clients import Clients
from local.folders import state_folder

CALLBACK_SECONDS: Final = 30
"""Before the end; a callback that was published then may have reached nobody, and is sent again."""


@dataclass(frozen=True)
class SentAgain:
    """How many messages were sent again."""

    tasks: int = 0
    callbacks: int = 0


def kept_path(port: int) -> Path:
    """Returns the file of the LocalStack that listens on a port."""
    return state_folder() / "localstack" / f"kept-{port}.sqlite3"


def send_again(path: Path, clients: Clients, place: Topology) -> SentAgain:
    """Publishes the messages of tasks that nobody was called back for, and the last callbacks; forgets the rest.

    A task's message may be in two queues then, or come when an agent has begun with it: as after any redelivery, the
    record decides.

    Raises:
        botocore.exceptions.BotoCoreError: LocalStack cannot be reached.
        botocore.exceptions.ClientError: it refuses a call.
    """
    if not path.is_file():
        return SentAgain()
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as database:
        topics = (place.task_topic_arn, place.callback_topic_arn)
        rows = database.execute(
            "SELECT id, topic, message, attributes, at FROM messages WHERE topic IN (?, ?) ORDER BY id", topics
        ).fetchall()
        last = max((at for *_, at in rows), default=0.0)
        called_back = {
            json.loads(attributes).get("submission", {}).get("StringValue")
            for _, topic, _, attributes, _ in rows
            if topic == place.callback_topic_arn
        }
        sent = dict.fromkeys(topics, 0)
        for number, topic, message, attributes, at in rows:
            if topic == place.task_topic_arn:
                wanted = _is_wanted(clients, place, message, called_back)
            else:
                wanted = at > last - CALLBACK_SECONDS
            if wanted:
                # It is kept anew while it is published, and only then forgotten.
                clients.sns.publish(
                    TopicArn=topic, Message=message, MessageAttributes=json.loads(attributes), **_group(message)
                )
                sent[topic] += 1
            database.execute("DELETE FROM messages WHERE id = ?", (number,))
    return SentAgain(sent[place.task_topic_arn], sent[place.callback_topic_arn])


def _is_wanted(clients: Clients, place: Topology, message: str, called_back: set[str | None]) -> bool:
    """Tells whether a task's message still has something to do: run it, or see to its callback."""
    try:
        metadata = parse_task_message(message).metadata
    except UnreadableMessageError:
        return True  # whoever published it: the agent says what is wrong with it
    if metadata.submission:
        return metadata.submission not in called_back
    # Somebody else published it: sent again it is another submission, and would run at each start.
    record = _record(clients, place, record_key(metadata.ref))
    return record is None or not record.current.status.terminal


def _group(message: str) -> dict[str, Any]:
    try:
        return message_group(parse_task_message(message).metadata.tenant)
    except UnreadableMessageError:
        return {}  # a callback, or nobody's


def _record(clients: Clients, place: Topology, key: str) -> Record | None:
    try:
        body: Any = clients.s3.get_object(Bucket=place.output_bucket, Key=key)["Body"]
        return Record.model_validate_json(body.read())
    except ValidationError:
        return None
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
            return None
        raise
