"""Every task reaches exactly one queue, and every derived name fits the limits of its service."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.config import Config, RuntimeConfig
from contract.topology import EXPIRY, RETENTION, message_attributes, queue_attributes, takes, topology

CHECKPOINTS = [f"model-{number}.safetensors" for number in range(4)]


@st.composite
def configs(draw: st.DrawFn) -> Config:
    count = draw(st.integers(1, 5))
    checkpoints = draw(st.permutations(CHECKPOINTS))
    runtimes = []
    for number in range(count):
        kind = draw(st.sampled_from(["static", "plain", "dynamic", "comfyui"]))
        document: dict[str, Any] = {"name": f"r{number}", "type": "comfyui" if kind == "comfyui" else "sdwebui"}
        if kind == "static" and number < len(checkpoints):
            document["modelFilename"] = checkpoints[number]
        if kind == "dynamic":
            document["dynamicModel"] = True
        runtimes.append(document)
    return Config.model_validate({"modelBucketArn": "arn:aws:s3:::my-models", "modelsRuntime": runtimes})


@given(configs(), st.data())
def test_every_task_reaches_its_own_queue_and_no_other(config: Config, data: st.DataObject) -> None:
    runtime: RuntimeConfig = data.draw(st.sampled_from(config.runtimes))
    checkpoint = data.draw(st.none() | st.sampled_from([*CHECKPOINTS, "unknown.safetensors"]))
    attributes = message_attributes(config, runtime, checkpoint)
    takers = [queue.runtime for queue in topology(config).queues if takes(queue, attributes)]
    assert takers == [runtime.name]


def test_the_longest_names_fit_sqs_and_s3() -> None:
    config = Config.model_validate(
        {
            "stackName": "S" * 40,
            "modelBucketArn": "arn:aws:s3:::my-models",
            "modelsRuntime": [{"name": "r" * 34, "type": "sdwebui"}],
        }
    )
    place = topology(config)
    assert max(map(len, place.queue_names)) <= 80
    assert len(place.output_bucket) <= 63
    assert place.output_bucket == place.output_bucket.lower()


ACCOUNT = "123456789012"


@pytest.mark.parametrize("stack", ["a", "S" * 28, "S" * 40, "s" * 39 + "t", "s" * 39 + "u"])
@pytest.mark.parametrize("region", ["us-east-1", "ap-southeast-5", "us-gov-west-1"])
def test_buckets_that_no_setting_names_have_stack_account_and_region(stack: str, region: str) -> None:
    runtimes = [{"name": "r", "type": "sdwebui"}]
    place = topology(
        Config.model_validate({"stackName": stack, "modelsRuntime": runtimes}), region=region, account=ACCOUNT
    )
    for name, holds in ((place.model_bucket, "models"), (place.output_bucket, "output")):
        assert len(name) <= 63
        assert name == name.lower()
        assert name.endswith(f"-{holds}-{ACCOUNT}-{region}")
    others = [
        topology(Config.model_validate({"stackName": other, "modelsRuntime": runtimes}), region=region, account=ACCOUNT)
        for other in ("s" * 39 + "v", "b")
    ]
    assert place.model_bucket not in {other.model_bucket for other in others}
    assert place.partition == ("aws-us-gov" if region.startswith("us-gov") else "aws")


def test_a_config_without_a_model_bucket_is_that_of_the_local_stack_as_before() -> None:
    place = topology(Config.model_validate({"modelsRuntime": [{"name": "r", "type": "sdwebui"}]}))
    assert (place.model_bucket, place.output_bucket) == ("darkroom-models", "darkroom-output-000000000000")


def test_only_our_task_topic_may_send_to_a_queue() -> None:
    config = Config.model_validate(
        {"modelBucketArn": "arn:aws-cn:s3:::my-models", "modelsRuntime": [{"name": "r", "type": "sdwebui"}]}
    )
    place = topology(config, region="cn-northwest-1", account="123456789012")
    (statement,) = queue_attributes(place, place.queue("r"))["Policy"]["Statement"]
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": "arn:aws-cn:sns:cn-northwest-1:123456789012:darkroom-tasks"}
    }
    assert statement["Action"] == "sqs:SendMessage"


def test_no_runtimes_queue_can_be_that_of_what_cannot_be_delivered() -> None:
    config = Config.model_validate(
        {"modelBucketArn": "arn:aws:s3:::my-models", "modelsRuntime": [{"name": "undelivered", "type": "comfyui"}]}
    )
    place = topology(config)
    assert len(set(place.queue_names)) == len(place.queue_names)


def test_a_task_expires_while_sqs_still_has_its_message() -> None:
    assert RETENTION - 24 * 3600 < EXPIRY < RETENTION
