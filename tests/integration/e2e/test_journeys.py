"""The reference design's requests, from HTTP to the image in S3 and the callback on SNS, and how long that takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest

from contract.objects import split_s3_url
from tests.journeys.journeys import JOURNEYS
from tests.journeys.target import Inbox, Target
from tests.support.deployment import Deployment
from tests.support.stack import Pod, Stack, task, unique

OTHER_MODEL = "dreamshaper_8.safetensors"


@pytest.fixture(scope="module")
def stack(
    module_deployment: Deployment, web: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, dict[str, Pod]]]:
    """The stack of the reference: an API, and one pod for each of its three runtimes."""
    with Stack(module_deployment, tmp_path_factory.mktemp("stack")) as made:
        pods = {}
        for runtime in module_deployment.config.runtimes:
            held = runtime.model_filename or "v1-5-pruned-emaonly.safetensors"
            models = f"{held},{OTHER_MODEL}" if runtime.dynamic_model else held
            fake = made.start_fake(kind=runtime.type, models=models, ready=False)
            pods[runtime.name] = made.start_pod(runtime.name, fake=fake, ready=False, INPUT_ALLOWED_ORIGINS=web)
        made.start_api()
        for pod in pods.values():
            pod.wait_ready()
        yield made, pods
        assert made.traces() == {}


@pytest.fixture(scope="module")
def target(stack: tuple[Stack, dict[str, Pod]], web: str) -> Target:
    made, _ = stack
    return Target(
        api=made.api, aws=made.deployment.endpoint, sample_image=f"{web}/picture.png", config=made.deployment.config
    )


@pytest.fixture(scope="module")
def inbox(target: Target) -> Iterator[Inbox]:
    with Inbox.open(target) as opened:
        yield opened


@pytest.mark.parametrize("name", JOURNEYS)
def test_a_request_of_the_reference_comes_back_as_images_and_a_callback(
    name: str, target: Target, inbox: Inbox
) -> None:
    JOURNEYS[name](target, inbox)


def timed(stack: Stack, runtime: str) -> tuple[float, float]:
    """Returns seconds that the API took to answer, and seconds from there until image and callback are there."""
    task_id = unique("timed")
    begin = time.monotonic()
    answer = stack.post("/v1alpha2", {"task": task(task_id, runtime, steps=8, width=512, height=512)})
    accepted = time.monotonic()
    assert answer.status_code == 200, answer.text
    callback = stack.deployment.callbacks.wait_for(task_id)
    for url in [*callback.body["image_url"], callback.body["output_url"]]:
        assert stack.deployment.object(split_s3_url(url)[1])
    return accepted - begin, time.monotonic() - accepted


def test_with_no_latency_image_and_callback_are_there_within_a_second(stack: tuple[Stack, dict[str, Pod]]) -> None:
    made, _ = stack
    times = [timed(made, "sdruntime") for _ in range(10)]
    assert statistics.median(to_answer for to_answer, _ in times) <= 0.5
    assert statistics.median(to_result for _, to_result in times) <= 1.0


def test_with_the_usual_latency_they_are_there_a_second_after_the_gpu(stack: tuple[Stack, dict[str, Pod]]) -> None:
    made, pods = stack
    fake = made.start_fake(latency=1)
    pods["dynamicruntime"].agent.stop()
    made.start_pod("dynamicruntime", fake=fake)
    times = [timed(made, "dynamicruntime") for _ in range(3)]
    durations = [job["duration"] for job in fake.jobs()]
    assert min(durations) > 0.3, "the fake's latency model is not in force"
    beyond = [to_result - duration for (_, to_result), duration in zip(times, durations, strict=True)]
    assert statistics.median(beyond) <= 1.0
