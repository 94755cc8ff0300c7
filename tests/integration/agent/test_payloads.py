"""A content that lies in S3 is bounded before it becomes objects, whoever has put it there."""

from __future__ import annotations

import pytest

from agent.errors import PermanentError
from agent.inputs.payloads import Payloads
from contract.bounds import MAX_VALUES
from contract.identifiers import TaskRef
from contract.objects import payload_key, s3_url
from contract.task import Metadata, TaskMessage, TaskType
from tests.support.deployment import Deployment


def message(deployment: Deployment, body: bytes) -> TaskMessage:
    bucket, key = deployment.place.output_bucket, payload_key(TaskRef("a"), "s")
    deployment.clients.s3.put_object(Bucket=bucket, Key=key, Body=body)
    metadata = Metadata(id="a", runtime="r", tasktype=TaskType.TEXT_TO_IMAGE, prefix="p")
    return TaskMessage(metadata=metadata, content_ref=s3_url(bucket, key))


async def test_what_would_take_all_memory_fails_the_task_and_the_rest_comes_as_it_is(
    module_deployment: Deployment,
) -> None:
    async with module_deployment.s3() as s3:
        payloads = Payloads(s3, module_deployment.place.output_bucket)
        for body, code, words in (
            (b'{"a":[' + b"[]," * MAX_VALUES + b"1]}", "payload_too_large", "201,000 values"),
            (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "payload_too_large", "110 levels"),
            (b"[1]", "payload_invalid", "not a JSON object"),
            (b"{", "payload_invalid", "not JSON"),
        ):
            with pytest.raises(PermanentError, match=words) as caught:
                await payloads.content_of(message(module_deployment, body))
            assert caught.value.code == code

        sound = b'{"seed":12345678901234567890123,"image":"' + b"[],{}" * 200_000 + b'"}'
        content = await payloads.content_of(message(module_deployment, sound))
        assert content == {"seed": 12345678901234567890123, "image": "[],{}" * 200_000}
