"""The callback that ends every task, exactly as the reference design publishes it, and never too long for SNS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic_core import to_json

from contract.identifiers import TaskRef
from contract.objects import ended_key, record_key, s3_url
from contract.record import Status, Submission
from contract.task import SNS_MESSAGE_LIMIT, escape_for_sqs, message_bytes
from contract.webhooks import FLAG

CALLBACK_LIMIT: Final = SNS_MESSAGE_LIMIT - 2 * 1024
"""Bytes of a callback, attributes counted; the rest is left to what SNS adds on the way to a subscriber."""

_MOST_OF_A_CODE: Final = 100
_MOST_OF_A_MESSAGE: Final = 2000
"""Characters of a failure that travel: a runtime may word it as long as it likes."""


class Callback(BaseModel):
    """The message on the callback topic. `image_url` and `output_url` are `s3://` addresses."""

    model_config = ConfigDict(frozen=True)

    id: str
    result: bool
    image_url: list[str]
    output_url: str
    context: JsonValue = None


class ShortenedCallback(Callback):
    """A callback that would have been too long: first `context` is left out, then the end of `image_url`."""

    truncated: list[str]
    """The fields that are not whole: `context`, `image_url` or both."""
    image_count: int
    """How many images there are."""
    record_url: str
    """The `s3://` address of the task's record, which has both whole, as `GET /v1/tasks/{id}` has."""
    submission_url: str
    """Where both are whole instead once the id was submitted again so often, or with so many images, that the record
    has no room for this submission any more."""


@dataclass(frozen=True)
class EncodedCallback:
    """A callback as it is published."""

    message: str
    """JSON."""
    attributes: dict[str, str]
    """See `callback_attributes`; and `truncated`, with the value `true`, where something was cut."""

    @property
    def bytes(self) -> int:
        """Its size as SNS counts it."""
        return message_bytes(self.message, self.attributes)

    @property
    def truncated(self) -> bool:
        """Whether something was cut."""
        return "truncated" in self.attributes


def callback_for(task_id: str, submission: Submission) -> Callback:
    """Returns the callback that a terminal submission deserves; the same one however often it is asked.

    Raises:
        ValueError: the submission has not ended.
    """
    if not submission.status.terminal:
        raise ValueError(f"task {task_id} has not ended: it is {submission.status}")
    return Callback(
        id=task_id,
        result=submission.status is Status.SUCCEEDED,
        image_url=submission.image_url,
        output_url=submission.output_url,
        context=submission.context,
    )


def callback_attributes(callback: Callback, submission: Submission, tenant: str) -> dict[str, str]:
    """Returns the SNS message attributes that let subscribers filter and de-duplicate.

    Args:
        callback: what is published.
        submission: that has ended.
        tenant: whose task it is; empty: the shared space, and no such attribute.

    Returns:
        Nine at most, with `truncated` ten: SNS takes ten where delivery is raw (Amazon SNS, "Message attributes").
    """
    attributes = {
        "id": callback.id,
        "runtime": submission.runtime,
        "result": "true" if callback.result else "false",
        "submission": submission.submission,
        "status": submission.status.value,
    }
    if submission.webhook is not None:
        attributes[FLAG] = "true"
    if submission.error is not None:
        attributes["error_code"] = submission.error.code[:_MOST_OF_A_CODE]
    if submission.cost is not None and submission.cost.usd is not None:
        attributes["cost_usd"] = f"{submission.cost.usd:.9f}"
    return attributes | {"tenant": tenant} if tenant else attributes


def encode_callback(task: TaskRef, submission: Submission, *, bucket: str, with_error: bool = False) -> EncodedCallback:
    """Returns a terminal submission's callback as it is published, of at most `CALLBACK_LIMIT` bytes.

    Args:
        task: whose.
        submission: which has ended.
        bucket: where the task's record is.
        with_error: whether its JSON has `status` and `error` (`{"code", "message"}` or null) besides.

    Raises:
        ValueError: the submission has not ended.
    """
    callback = callback_for(task.id, submission)
    attributes = callback_attributes(callback, submission, task.tenant)
    added = _reason(submission) if with_error else {}
    whole = EncodedCallback(_encode(callback, added), attributes)
    if whole.bytes <= CALLBACK_LIMIT:
        return whole
    attributes = {**attributes, "truncated": "true"}
    dropped = [] if callback.context is None else ["context"]

    def shortened(images: list[str], truncated: list[str]) -> EncodedCallback:
        message = ShortenedCallback(
            id=callback.id,
            result=callback.result,
            image_url=images,
            output_url=callback.output_url,
            truncated=truncated,
            image_count=len(callback.image_url),
            record_url=s3_url(bucket, record_key(task)),
            submission_url=s3_url(bucket, ended_key(task, submission.submission)),
        )
        return EncodedCallback(_encode(message, added), attributes)

    without_context = shortened(callback.image_url, dropped)
    if without_context.bytes <= CALLBACK_LIMIT:
        return without_context
    truncated = [*dropped, "image_url"]
    room = CALLBACK_LIMIT - shortened([], truncated).bytes
    return shortened(callback.image_url[: _count_within(callback.image_url, room)], truncated)


def _reason(submission: Submission) -> dict[str, Any]:
    error = submission.error
    return {
        "status": submission.status.value,
        "error": error and {"code": error.code[:_MOST_OF_A_CODE], "message": error.message[:_MOST_OF_A_MESSAGE]},
    }


def _encode(callback: Callback, added: dict[str, Any]) -> str:
    document = to_json({**callback.model_dump(mode="json"), **added}).decode() if added else callback.model_dump_json()
    return escape_for_sqs(document)


def _count_within(texts: Iterable[str], room: int) -> int:
    """Returns how many texts, from the first on, take no more than so many bytes in a list, with a comma for each."""
    sizes = accumulate(len(escape_for_sqs(to_json(text).decode()).encode()) + 1 for text in texts)
    return sum(size <= room for size in sizes)
