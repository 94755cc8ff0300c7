"""An agent that dies or freezes in mid-task: another takes over, and the task ends once, with nothing stored twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from contract.record import Status
from tests.support.proxy import FaultProxy, Match, operations
from tests.support.stack import SHORT_VISIBILITY, Fake, Stack, unique
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("together")


@dataclass(frozen=True)
class Moment:
    """When an agent dies: before a call that it makes, told by the task's id."""

    call: Callable[[str], Match]
    attempts: int
    """Runs that the task then needs."""


def stores(part: str) -> Callable[[str], Match]:
    return lambda task_id: (
        lambda call: call.operation == "PutObject" and f"/output/{task_id}/" in call.resource and part in call.resource
    )


def ends_record(task_id: str) -> Match:
    return lambda call: (
        call.operation == "PutObject"
        and call.resource.endswith(f"/.tasks/{task_id}.json")
        and b'"status":"succeeded"' in call.body
    )


def about(task_id: str, *names: str) -> Match:
    return lambda call: operations(*names)(call) and task_id.encode() in call.body


MOMENTS = {
    "its first object": Moment(stores(""), attempts=2),
    "its image": Moment(stores(".png"), attempts=2),
    "its answer": Moment(stores(".out"), attempts=2),
    "the end of the record": Moment(ends_record, attempts=2),
    "its callback": Moment(lambda task_id: about(task_id, "Publish", "PublishBatch"), attempts=1),
    "the deletion of its message": Moment(
        lambda task_id: operations("DeleteMessage", "DeleteMessageBatch"), attempts=1
    ),
}


@pytest.fixture(scope="module")
def fakes(stack: Stack) -> tuple[Fake, Fake]:
    """Two runtimes for agents to which nothing happens while the GPU works; they may be shared."""
    return stack.start_fake(), stack.start_fake()


def test_a_task_whose_agents_all_die_fails_for_good(stack: Stack, runtime: str) -> None:
    fake = stack.start_fake("hang:count=forever")
    task_id = stack.submit(runtime)
    for attempt in (1, 2, 3):
        pod = stack.start_pod(runtime, fake=fake, VISIBILITY_TIMEOUT=SHORT_VISIBILITY)
        eventually(lambda attempt=attempt: attempts(stack, task_id) == attempt, within=60)  # type: ignore[misc]
        pod.agent.kill()
    stack.start_pod(runtime, ready=False)
    submission = stack.wait_ended_once(task_id, Status.FAILED)
    assert submission.dead_lettered
    assert submission.attempts == 3


def attempts(stack: Stack, task_id: str) -> int:
    record = stack.record(task_id)
    return record.current.attempts if record else 0


def test_a_frozen_agent_cannot_overwrite_what_another_has_ended(stack: Stack, runtime: str) -> None:
    # Another model draws another picture, so that an overwriting would be seen.
    frozen = stack.start_pod(
        runtime,
        fake=stack.start_fake(seconds_per_task=1, models="sd_xl_base_1.0.safetensors"),
        VISIBILITY_TIMEOUT=SHORT_VISIBILITY,
    )
    task_id = stack.submit(runtime)
    frozen.fake.wait_running(task_id)
    stack.wait_status(task_id, Status.RUNNING)
    frozen.agent.freeze()
    other = stack.start_pod(runtime)
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    before = {key: stack.deployment.object(key) for key in stack.deployment.object_keys(f"output/{task_id}/")}
    other.agent.kill()
    frozen.agent.thaw()
    # It is sound, and has done with the old task before it ends another one.
    later = stack.submit(runtime)
    stack.wait_ended_once(later, Status.SUCCEEDED)
    assert len(frozen.fake.runs(later)) == 1
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED) == submission
    assert submission.attempts == 2
    assert {key: stack.deployment.object(key) for key in before} == before


@pytest.mark.parametrize("name", MOMENTS)
def test_an_agent_that_is_killed_before(
    name: str, stack: Stack, runtime: str, localstack: str, fakes: tuple[Fake, Fake]
) -> None:
    moment, task_id = MOMENTS[name], unique("killed")
    with FaultProxy(localstack) as aws:
        gate = aws.hold(moment.call(task_id))
        first = stack.start_pod(runtime, fake=fakes[0], AWS_ENDPOINT_URL=aws.url, VISIBILITY_TIMEOUT=SHORT_VISIBILITY)
        stack.submit(runtime, task_id=task_id)
        gate.wait()
        first.agent.kill()
        gate.drop()
    stack.start_pod(runtime, fake=fakes[1], ready=False)
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert submission.attempts == moment.attempts
    assert submission.excused == 0


def test_an_agent_that_is_killed_while_the_gpu_works(stack: Stack, runtime: str) -> None:
    first = stack.start_pod(runtime, fake=stack.start_fake("hang"), VISIBILITY_TIMEOUT=SHORT_VISIBILITY)
    task_id = stack.submit(runtime)
    first.fake.wait_running(task_id)
    stack.wait_status(task_id, Status.RUNNING)
    first.agent.kill()
    second = stack.start_pod(runtime, ready=False)
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert submission.attempts == 2
    assert len(second.fake.runs(task_id)) == 1


@pytest.mark.parametrize("name", ["its image", "its answer", "the end of the record"])
def test_an_agent_that_is_overtaken_before(name: str, stack: Stack, runtime: str, localstack: str) -> None:
    task_id = unique("overtaken")
    with FaultProxy(localstack) as aws:
        # Its heartbeat and its writes are cut off from here on, as by a broken network.
        heartbeat = aws.hold(lambda call: call.operation.startswith("ChangeMessageVisibility"))
        gate = aws.hold(MOMENTS[name].call(task_id))
        late = stack.start_pod(
            runtime,
            fake=stack.start_fake(models="sd_xl_base_1.0.safetensors"),
            AWS_ENDPOINT_URL=aws.url,
            VISIBILITY_TIMEOUT=SHORT_VISIBILITY,
        )
        stack.submit(runtime, task_id=task_id)
        gate.wait()
        stack.start_pod(runtime)
        submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
        before = {key: stack.deployment.object(key) for key in stack.deployment.object_keys(f"output/{task_id}/")}
        gate.open()
        heartbeat.open()
        eventually(lambda: "task_overtaken" in late.agent.text())
        assert late.agent.is_alive()
        assert stack.wait_ended_once(task_id, Status.SUCCEEDED) == submission
        assert {key: stack.deployment.object(key) for key in before} == before
        late.agent.kill()


def test_an_agent_that_wakes_after_the_task_has_failed_leaves_no_object(
    stack: Stack, runtime: str, localstack: str
) -> None:
    task_id = unique("late")
    with FaultProxy(localstack) as aws:
        heartbeat = aws.hold(lambda call: call.operation.startswith("ChangeMessageVisibility"))
        gate = aws.hold(stores("")(task_id))
        late = stack.start_pod(runtime, AWS_ENDPOINT_URL=aws.url, VISIBILITY_TIMEOUT=SHORT_VISIBILITY)
        stack.submit(runtime, task_id=task_id)
        gate.wait()
        # The other one's runtime refuses the task for good: it stores nothing that could be in the late one's way.
        other = stack.start_pod(runtime, fake=stack.start_fake("error:status=422"))
        submission = stack.wait_ended_once(task_id, Status.FAILED)
        gate.open()
        heartbeat.open()
        eventually(lambda: "task_overtaken" in late.agent.text())
        assert stack.wait_ended_once(task_id, Status.FAILED) == submission
        assert late.agent.is_alive()
        late.agent.kill()
        other.agent.kill()
