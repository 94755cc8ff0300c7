"""The callback that ends every task, exactly as the reference design publishes it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue

from contract.record import Status, Submission
from contract.task import escape_for_sqs


class Callback(BaseModel):
    """The message on the callback topic. `image_url` and `output_url` are `s3://` addresses."""

    model_config = ConfigDict(frozen=True)

    id: str
    result: bool
    image_url: list[str]
    output_url: str
    context: JsonValue = None


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


def encode_callback(callback: Callback) -> str:
    """Returns the JSON text that is published."""
    return escape_for_sqs(callback.model_dump_json())


def callback_attributes(callback: Callback, submission: Submission, tenant: str) -> dict[str, str]:
    """Returns the SNS message attributes that let subscribers filter and de-duplicate.

    Args:
        callback: what is published.
        submission: that has ended.
        tenant: whose task it is; empty: the shared space, and no such attribute.
    """
    attributes = {
        "id": callback.id,
        "runtime": submission.runtime,
        "result": "true" if callback.result else "false",
        "submission": submission.submission,
    }
    return attributes | {"tenant": tenant} if tenant else attributes
