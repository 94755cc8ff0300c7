"""The reference design's requests, from HTTP to the image in S3 and the callback on SNS, and how long that takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from contract.objects import split_s3_url
from tests.journeys.journeys import JOURNEYS
from tests.journeys.target import Inbox, Target
from tests.support.deployment import Deployment
from tests.support.proxy import FaultProxy, everything
from tests.support.stack import Pod, Stack, task, unique
from tests.support.waiting import eventually

OTHER_MODEL = "dreamshaper_8.safetensors"
TRIES = 3
"""Other tests share the processors: a busy moment may pass, slowness does not."""


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
    times: list[tuple[float, float]] = []

    def ten_in_a_row_are_quick() -> bool:
        times.append(timed(made, "sdruntime"))
        to_answer, to_result = (statistics.median(column) for column in zip(*times[-10:], strict=True))
        return len(times) >= 10 and to_answer <= 0.3 and to_result <= 1.0

    eventually(ten_in_a_row_are_quick, within=45)


def test_with_the_usual_latency_they_are_there_a_second_after_the_gpu(stack: tuple[Stack, dict[str, Pod]]) -> None:
    made, pods = stack
    fake = made.start_fake(latency=1)
    pods["dynamicruntime"].agent.stop()
    made.start_pod("dynamicruntime", fake=fake)
    times: list[tuple[float, float]] = []

    def three_in_a_row_are_quick() -> bool:
        times.append(timed(made, "dynamicruntime"))
        durations = [job["duration"] for job in fake.jobs()]
        assert min(durations) > 0.3, "the fake's latency model is not in force"
        beyond = [to_result - duration for (_, to_result), duration in zip(times, durations, strict=True)]
        return len(times) >= 3 and statistics.median(beyond[-3:]) <= 1.0

    eventually(three_in_a_row_are_quick, within=45)


def test_the_gpu_does_not_wait_for_aws(stack: tuple[Stack, dict[str, Pod]], localstack: str) -> None:
    made, pods = stack
    pods["sdruntime"].agent.stop()
    found: list[list[float]] = []
    for _ in range(TRIES):
        found.append(pauses(made, localstack))
        # Any one call to AWS between two tasks would show as 0.2 s.
        if statistics.median(found[-1]) < 0.15:
            return
    raise AssertionError(f"pauses of {found} s")


def pauses(stack: Stack, localstack: str) -> list[float]:
    """Returns the seconds between two of eight tasks for which AWS is slow and the GPU idle."""
    fake = stack.start_fake(seconds_per_task=0.8)
    tasks = [stack.submit("sdruntime") for _ in range(8)]
    with FaultProxy(localstack) as aws:
        aws.delay(everything, 0.2)
        pod = stack.start_pod("sdruntime", fake=fake, ready=False, AWS_ENDPOINT_URL=aws.url)
        for task_id in tasks:
            stack.deployment.callbacks.wait_for(task_id)
        pod.agent.stop()
    return [after["started"] - before["finished"] for before, after in pairwise(fake.jobs())]
