#!/usr/bin/env bash
# MiniStack stores the RedrivePolicy of an SNS subscription and reads it back, but does not heed it: what it cannot
# deliver, since the queue is gone, is in no dead-letter queue. SNS itself, and LocalStack 2026.3.0, put it there.
# Needs uv. Exits 0 while it behaves so, 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
uv venv --quiet --python 3.13 "$folder/venv"
uv pip install --quiet --python "$folder/venv/bin/python" ministack==1.5.33 boto3==1.43.22
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
BIND_HOST=127.0.0.1 GATEWAY_PORT=$port "$folder/venv/bin/ministack" >"$folder/log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test "$folder/venv/bin/python" - "http://127.0.0.1:$port" <<'PYTHON'
import importlib.metadata
import json
import sys
import time

import boto3

endpoint = sys.argv[1]
print("ministack", importlib.metadata.version("ministack"))
sns, sqs = (boto3.client(name, endpoint_url=endpoint, region_name="us-east-1") for name in ("sns", "sqs"))
for _ in range(100):
    try:
        sqs.list_queues()
        break
    except Exception:
        time.sleep(0.2)


def queue(name):
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


letters, letters_arn = queue("letters")
work, work_arn = queue("work")
topic = sns.create_topic(Name="tasks")["TopicArn"]
policy = json.dumps({"deadLetterTargetArn": letters_arn})
attributes = {"RawMessageDelivery": "true", "RedrivePolicy": policy}
subscription = sns.subscribe(
    TopicArn=topic, Protocol="sqs", Endpoint=work_arn, Attributes=attributes, ReturnSubscriptionArn=True
)["SubscriptionArn"]
stored = sns.get_subscription_attributes(SubscriptionArn=subscription)["Attributes"].get("RedrivePolicy")
print("RedrivePolicy reads back as", stored)
sns.publish(TopicArn=topic, Message="while the queue is there")
arrived = sqs.receive_message(QueueUrl=work, WaitTimeSeconds=5).get("Messages", [])
sqs.delete_queue(QueueUrl=work)
sns.publish(TopicArn=topic, Message="after it is gone")
buried = sqs.receive_message(QueueUrl=letters, WaitTimeSeconds=5).get("Messages", [])
print("delivered while the queue was there:", len(arrived))
print("in the dead-letter queue after it was gone:", len(buried))
assert stored and len(arrived) == 1 and not buried
PYTHON
