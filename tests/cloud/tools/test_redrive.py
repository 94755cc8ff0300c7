"""Dead letters go back by reason, run again, and none is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from contract import dead_letters
from contract.identifiers import TaskRef, new_ulid
from contract.objects import record_key
from contract.record import Record, Status
from contract.redrive import (
    DeadLetter,
    Way,
    as_submission,
    count_by_reason,
    is_selected,
    next_submission,
    resubmitted,
    way_back,
)
from contract.task import SNS_MESSAGE_LIMIT, parse_task_message
from tests.cloud.tools.conftest import Run
from tests.support.deployment import Deployment
from tests.support.proxy import FaultProxy, operations
from tests.support.stack import Stack, unique
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def stack(module_deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API, and a runtime whose GPU breaks on a word in the prompt."""
    with Stack(module_deployment, tmp_path_factory.mktemp("stack")) as made:
        made.start_api()
        yield made
        assert made.traces() == {}


@pytest.fixture
def redrive(run: Run, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    # LocalStack has no servers to sample from.
    monkeypatch.setattr(dead_letters, "_EMPTY_RECEIVES", 1)
    monkeypatch.setattr(dead_letters, "_LONG_POLL", 0)
    config = tmp_path / "config.yaml"
    document = stack.deployment.config.model_dump(mode="json", by_alias=True, exclude_none=True)
    config.write_text(json.dumps(document))

    def call(*arguments: str, endpoint: str = "") -> Result:
        return run(
            *("redrive", "--config", str(config), "--runtime", "dynamicruntime"),
            *arguments,
            AWS_ENDPOINT_URL=endpoint or stack.deployment.endpoint,
        )

    return call


def bury(stack: Stack, body: str, reason: str | None) -> None:
    """Puts a message into the dead-letter queue as an agent does; as SQS itself does, without a reason."""
    attributes: dict[str, Any] = {"reason": {"DataType": "String", "StringValue": reason}} if reason else {}
    stack.deployment.clients.sqs.send_message(
        QueueUrl=stack.deployment.dead_letter_url("dynamicruntime"), MessageBody=body, MessageAttributes=attributes
    )


def counts(stack: Stack) -> tuple[int, int]:
    """Messages of the queue and of the dead-letter queue, hidden ones too."""
    place = stack.deployment
    return (
        sum(place.queue_counts(place.queue_url("dynamicruntime"))),
        sum(place.queue_counts(place.dead_letter_url("dynamicruntime"))),
    )


def test_a_task_that_failed_for_good_runs_again_and_succeeds_however_large(
    stack: Stack, redrive: Callable[..., Result]
) -> None:
    fake = stack.start_fake("error:count=forever")
    pod = stack.start_pod("dynamicruntime", fake=fake)
    too_large_for_a_message = "blurred " * 40_000
    task_id = stack.submit("dynamicruntime", task_id=unique("again"), negative_prompt=too_large_for_a_message)
    first = stack.wait_status(task_id, Status.FAILED, within=60)
    assert first.dead_lettered
    stack.wait_drained("dynamicruntime", dead=1)
    pod.agent.stop()

    shown = redrive()
    assert shown.exit_code == 0, shown.output
    assert "dynamicruntime: 1" in shown.output
    assert counts(stack) == (0, 1), "to look must change nothing"
    assert f"would send back {task_id}" in redrive("--all", "--dry-run").output
    assert counts(stack) == (0, 1)

    result = redrive("--all")
    assert result.exit_code == 0, result.output
    assert counts(stack) == (1, 0)
    assert stack.status(task_id) is Status.QUEUED
    pod = stack.start_pod("dynamicruntime")
    again = stack.wait_status(task_id, Status.SUCCEEDED)
    assert again.submission != first.submission
    stack.wait_drained("dynamicruntime")
    eventually(lambda: not stack.deployment.object_keys(f".payloads/{task_id}/"))
    pod.agent.stop()


@pytest.mark.parametrize("known", [False, True])
def test_a_letter_that_fills_its_queue_to_the_limit_goes_back_whole(
    stack: Stack, redrive: Callable[..., Result], known: bool
) -> None:
    place, task_id = stack.deployment, unique("full")
    metadata = {"id": task_id, "runtime": "dynamicruntime", "tasktype": "text-to-image", "prefix": "p"}
    document: dict[str, Any] = {"metadata": metadata | {"submission": "theirs"}, "content": {"prompt": ""}}
    document["content"]["prompt"] = "x" * (SNS_MESSAGE_LIMIT - len(json.dumps(document)))
    if known:
        task = parse_task_message(json.dumps(document))
        failed = as_submission(task, datetime.now(UTC)).model_copy(update={"status": Status.FAILED})
        place.clients.s3.put_object(
            Bucket=place.place.output_bucket,
            Key=record_key(TaskRef(task_id)),
            Body=Record(id=task_id, current=failed).model_dump_json().encode(),
        )
    bury(stack, json.dumps(document), None)

    assert redrive("--all").exit_code == 0

    assert counts(stack) == (1, 0)
    pod = stack.start_pod("dynamicruntime")
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED, drained=True).error is None
    assert place.callbacks.wait_for(task_id).body["result"] is True
    pod.agent.stop()


def test_a_letter_goes_back_for_its_own_tenants_task(stack: Stack, redrive: Callable[..., Result]) -> None:
    place, task_id = stack.deployment, unique("tenants")
    metadata = {"id": task_id, "runtime": "dynamicruntime", "tasktype": "text-to-image", "prefix": "p"}
    body = json.dumps({"metadata": metadata | {"submission": "hers", "tenant": "alice"}, "content": {}})
    ended = as_submission(parse_task_message(body), datetime.now(UTC)).model_copy(update={"status": Status.FAILED})
    refs = [TaskRef(task_id, "alice"), TaskRef(task_id, "bob"), TaskRef(task_id)]
    for ref in refs:
        record = Record(id=ref.id, tenant=ref.tenant, current=ended)
        place.clients.s3.put_object(
            Bucket=place.place.output_bucket, Key=record_key(ref), Body=record.model_dump_json().encode()
        )
    bury(stack, body, None)

    assert redrive("--all").exit_code == 0

    hers, *others = (Record.model_validate_json(place.object(record_key(ref))) for ref in refs)
    assert (hers.current.status, hers.tenant) == (Status.QUEUED, "alice")
    assert [record.current for record in others] == [ended, ended]
    stack.deployment.clients.sqs.purge_queue(QueueUrl=stack.deployment.queue_url("dynamicruntime"))


def test_a_task_that_sqs_itself_has_buried_waits_anew(stack: Stack, redrive: Callable[..., Result]) -> None:
    place, task_id, long_ago = stack.deployment, unique("buried"), datetime.now(UTC) - timedelta(days=13)
    metadata = {"id": task_id, "runtime": "dynamicruntime", "tasktype": "text-to-image", "prefix": "p"}
    body = json.dumps({"metadata": metadata | {"submission": "theirs"}, "content": {"prompt": "x"}})
    waiting = as_submission(parse_task_message(body), long_ago)
    place.clients.s3.put_object(
        Bucket=place.place.output_bucket,
        Key=record_key(TaskRef(task_id)),
        Body=Record(id=task_id, current=waiting).model_dump_json().encode(),
    )
    bury(stack, body, None)

    assert redrive("--all").exit_code == 0

    record = stack.record(task_id)
    assert record is not None
    assert record.current.status is Status.QUEUED
    assert record.current.sent_at is not None
    assert record.current.sent_at > long_ago + timedelta(days=12)
    pod = stack.start_pod("dynamicruntime")
    stack.wait_ended_once(task_id, Status.SUCCEEDED)
    pod.agent.stop()


def test_only_letters_of_the_reason_go_back(stack: Stack, redrive: Callable[..., Result]) -> None:
    bury(stack, "no json", "unreadable: the body is not JSON")
    bury(stack, "no json either", "out of memory on GPU 0")
    bury(stack, "nor this", None)
    result = redrive("--reason", "Out Of Memory")
    assert "1/1 sent back" in result.output
    assert counts(stack) == (1, 2)
    assert redrive("--reason", "received too often", "--reason", "unreadable", "--limit", "1").exit_code == 0
    assert counts(stack) == (2, 1)
    redrive("--all")
    assert counts(stack) == (3, 0)
    stack.deployment.clients.sqs.purge_queue(QueueUrl=stack.deployment.queue_url("dynamicruntime"))


@pytest.mark.parametrize(("operation", "expected"), [("SendMessage", (0, 1)), ("DeleteMessage", (1, 1))])
def test_when_aws_fails_in_between_the_letter_is_still_there(
    stack: Stack, redrive: Callable[..., Result], operation: str, expected: tuple[int, int]
) -> None:
    bury(stack, "no json", "unreadable")
    with FaultProxy(stack.deployment.endpoint) as proxy:
        proxy.answer(operations(operation), status=400)
        result = redrive("--all", endpoint=proxy.url)
    assert result.exit_code == 1
    assert operation in result.output
    assert counts(stack) == expected
    redrive("--all")
    stack.deployment.clients.sqs.purge_queue(QueueUrl=stack.deployment.queue_url("dynamicruntime"))


def test_a_letter_whose_content_is_gone_stays_and_says_why(stack: Stack, redrive: Callable[..., Result]) -> None:
    reference = f"s3://{stack.deployment.place.output_bucket}/.payloads/gone/1.json"
    metadata = {"id": "gone", "runtime": "dynamicruntime", "tasktype": "text-to-image", "prefix": "output"}
    bury(stack, json.dumps({"metadata": metadata, "content_ref": reference}), "out of memory")
    result = redrive("--all")
    assert result.exit_code == 1
    assert "is gone; submit the task again" in result.output
    assert counts(stack) == (0, 1)
    stack.deployment.clients.sqs.purge_queue(QueueUrl=stack.deployment.dead_letter_url("dynamicruntime"))


def test_a_letter_whose_record_was_spoilt_is_one_line_and_the_others_go_back(
    stack: Stack, redrive: Callable[..., Result]
) -> None:
    place = stack.deployment
    metadata = {"id": "spoilt", "runtime": "dynamicruntime", "tasktype": "text-to-image", "prefix": "output"}
    place.clients.s3.put_object(Bucket=place.place.output_bucket, Key=record_key(TaskRef("spoilt")), Body=b"no record")
    bury(stack, json.dumps({"metadata": metadata, "content": {}}), "out of memory")
    bury(stack, "no json", "unreadable")
    result = redrive("--all")
    assert result.exit_code == 1
    assert f"stays: spoilt: its record s3://{place.place.output_bucket}/.tasks/spoilt.json cannot be" in result.output
    assert "1 dead letters stay" in result.output
    assert counts(stack) == (1, 1)
    place.clients.s3.delete_object(Bucket=place.place.output_bucket, Key=record_key(TaskRef("spoilt")))
    for url in (place.queue_url("dynamicruntime"), place.dead_letter_url("dynamicruntime")):
        place.clients.sqs.purge_queue(QueueUrl=url)


@contextmanager
def meanwhile[T](proxy: FaultProxy, operation: str, act: Callable[[], T]) -> Iterator[Future[T]]:
    """Does something while an operation is held on its way to AWS."""
    gate = proxy.hold(operations(operation))

    def wait_and_act() -> T:
        try:
            gate.wait(60)
            return act()
        finally:
            gate.open()

    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(wait_and_act)


def test_letters_that_are_not_taken_are_there_for_others_while_the_rest_is_moved(
    stack: Stack, redrive: Callable[..., Result]
) -> None:
    place = stack.deployment
    bury(stack, "taken", "out of memory")
    bury(stack, "left", "unreadable")

    def look() -> list[dict[str, Any]]:
        return stack.dead_letters("dynamicruntime")

    with FaultProxy(place.endpoint) as proxy, meanwhile(proxy, "SendMessage", look) as seen:
        assert "1/1 sent back" in redrive("--reason", "memory", endpoint=proxy.url).output
    assert [letter["body"] for letter in seen.result()] == ["left"]
    for url in (place.queue_url("dynamicruntime"), place.dead_letter_url("dynamicruntime")):
        place.clients.sqs.purge_queue(QueueUrl=url)


def test_a_letter_that_somebody_else_has_taken_meanwhile_is_not_sent_twice(
    stack: Stack, redrive: Callable[..., Result]
) -> None:
    place = stack.deployment
    bury(stack, "taken", "out of memory")

    def take() -> None:
        place.clients.sqs.purge_queue(QueueUrl=place.dead_letter_url("dynamicruntime"))

    with FaultProxy(place.endpoint) as proxy, meanwhile(proxy, "ChangeMessageVisibility", take):
        result = redrive("--all", endpoint=proxy.url)
    assert result.exit_code == 1
    assert "somebody else has taken it" in result.output
    assert counts(stack) == (0, 0)


def test_an_unknown_runtime_is_refused_with_the_known_ones(redrive: Callable[..., Result]) -> None:
    result = redrive("--runtime", "nobody")
    assert result.exit_code == 2
    assert "comfyruntime" in result.output


@pytest.mark.parametrize(
    ("status", "way"),
    [
        (Status.QUEUED, Way.AS_IT_IS),
        (Status.RUNNING, Way.AS_IT_IS),
        (Status.FAILED, Way.ANEW),
        (Status.SUCCEEDED, Way.TO_SETTLE),
        (Status.CANCELLED, Way.TO_SETTLE),
    ],
)
def test_only_a_task_that_has_failed_runs_anew(status: Status, way: Way) -> None:
    metadata = {"id": "a", "runtime": "r", "tasktype": "text-to-image", "prefix": "p", "submission": new_ulid()}
    task = parse_task_message(json.dumps({"metadata": metadata, "content": {}}))
    submission = as_submission(task, datetime.now(UTC)).model_copy(update={"status": status})
    assert way_back(Record(id="a", current=submission), task) is way
    assert way_back(None, task) is Way.AS_IT_IS


def test_a_task_that_runs_anew_keeps_its_tags_and_its_environment_but_not_its_time() -> None:
    metadata = {"id": "a", "runtime": "r", "tasktype": "text-to-image", "prefix": "p", "submission": new_ulid()}
    wanted = {"tags": {"team": "a"}, "environment": "e" * 64, "start_by": "2026-12-01T00:00:00Z"}
    task = parse_task_message(json.dumps({"metadata": {**metadata, **wanted}, "content": {}}))
    now = datetime.now(UTC)
    found = as_submission(resubmitted(task, new_ulid(), now), now)
    assert (found.tags, found.wants_environment, found.start_by) == ({"team": "a"}, "e" * 64, None)


def letter(reason: str, message_id: str = "1", sent_at: int = 1) -> DeadLetter:
    return DeadLetter(message_id, "receipt", "body", reason, sent_at)


def test_reasons_that_differ_by_their_task_alone_are_counted_together() -> None:
    letters = [letter("task 'a' took 31.5 s"), letter("task 'b' took 7 s"), letter("runtime is gone")]
    assert count_by_reason(letters) == [("task … took … s", 2), ("runtime is gone", 1)]


@given(st.text(max_size=30), st.lists(st.text(max_size=5), max_size=3))
def test_a_letter_is_selected_by_any_part_of_its_reason(reason: str, others: list[str]) -> None:
    assert is_selected(letter(reason), [])
    assert is_selected(letter(reason), [*others, reason[2:9]])
    assert is_selected(letter(reason), others) == (not others or any(o.casefold() in reason.casefold() for o in others))


@given(st.uuids(), st.uuids(), st.integers(0, 2**47))
def test_a_letters_new_submission_is_its_own_and_always_the_same(one: object, other: object, sent_at: int) -> None:
    mine = next_submission(letter("r", str(one), sent_at))
    assert mine == next_submission(letter("r", str(one), sent_at))
    assert len(mine) == 26
    assert one == other or mine != next_submission(letter("r", str(other), sent_at))
