"""The least that an agent can be, as a floor to compare with: one message at a time, every call after the other.

    python -m tests.bench.serial_peer

Environment: SQS_QUEUE_URL, API_BASE_URL (the runtime), SNS_TOPIC_ARN (callbacks), S3_BUCKET (results). It receives one
message, lets the runtime make it, uploads images and answer, publishes the callback and deletes the message. It keeps
no record, renews no visibility timeout and retries nothing.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any, Final

import boto3
from botocore.config import Config

_ROUTES: Final = {"text-to-image": "txt2img", "image-to-image": "img2img"}


def _post(url: str, document: dict[str, Any]) -> bytes:
    request = urllib.request.Request(
        url, data=json.dumps(document).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as response:
        body: bytes = response.read()
    return body


def _fetch(link: str) -> str:
    if not link.startswith(("http://", "https://")):
        return link
    with urllib.request.urlopen(link, timeout=60) as response:
        return base64.b64encode(response.read()).decode()


def _wait_for(url: str) -> None:
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)


def main() -> None:
    queue, topic, bucket = (os.environ[name] for name in ("SQS_QUEUE_URL", "SNS_TOPIC_ARN", "S3_BUCKET"))
    runtime = os.environ["API_BASE_URL"].rstrip("/") + "/sdapi/v1"
    config = Config(s3={"addressing_style": "path"}, read_timeout=40)
    sqs, sns, s3 = (
        boto3.client("sqs", config=config),
        boto3.client("sns", config=config),
        boto3.client("s3", config=config),
    )
    _wait_for(f"{runtime}/options")
    while True:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=1, WaitTimeSeconds=20)
        for message in found.get("Messages", []):
            task = json.loads(message["Body"])
            metadata, content = task["metadata"], task["content"]
            if "init_images" in content:
                content["init_images"] = [_fetch(link) for link in content["init_images"]]
            answer = _post(f"{runtime}/{_ROUTES[metadata['tasktype']]}", content)
            place = f"{metadata['prefix']}/{metadata['id']}/{metadata['id']}"
            urls = []
            for number, image in enumerate(json.loads(answer)["images"], 1):
                key = f"{place}-{number}.png"
                s3.put_object(Bucket=bucket, Key=key, Body=base64.b64decode(image), ContentType="image/png")
                urls.append(f"s3://{bucket}/{key}")
            s3.put_object(Bucket=bucket, Key=f"{place}.out", Body=answer, ContentType="application/json")
            callback = {
                "id": metadata["id"],
                "result": True,
                "image_url": urls,
                "output_url": f"s3://{bucket}/{place}.out",
                "context": metadata.get("context"),
            }
            sns.publish(TopicArn=topic, Message=json.dumps(callback))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


if __name__ == "__main__":
    try:
        main()
    except KeyError as missing:
        sys.exit(f"serial_peer: {missing} is not set")
    except KeyboardInterrupt:
        sys.exit(130)
