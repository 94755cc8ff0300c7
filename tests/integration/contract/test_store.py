"""The record store on real S3 semantics: of many writers exactly one wins, and nobody's change is lost."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial

import pytest

from contract.callback import encode_callback
from contract.identifiers import TaskRef
from contract.objects import split_s3_url
from contract.record import (
    KEPT_EARLIER,
    KEPT_IMAGES,
    AlreadyEndedError,
    NotHolderError,
    Record,
    Status,
    Submission,
    TransitionError,
    end_unstarted,
    finish,
    note_callback,
    start,
    submit,
)
from contract.store import RecordStore
from contract.task import TaskType
from tests.support.deployment import Deployment

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new(name: str) -> Submission:
    return Submission(
        submission=name, runtime="sdruntime", tasktype=TaskType.TEXT_TO_IMAGE, prefix="output", submitted_at=NOW
    )


@pytest.fixture
async def store(deployment: Deployment) -> AsyncIterator[RecordStore]:
    async with deployment.s3() as s3:
        yield RecordStore(s3, deployment.place.output_bucket)


@pytest.fixture
def task() -> TaskRef:
    return TaskRef(f"task-{uuid.uuid4().hex[:8]}")


async def test_a_record_that_is_not_there_is_none(store: RecordStore, task: TaskRef) -> None:
    assert await store.read(task) is None


async def test_of_many_agents_that_finish_one_attempt_only_one_wins(store: RecordStore, task: TaskRef) -> None:
    await store.change(task, lambda record: submit(record, task, new("s")))
    await store.change(task, lambda record: start(record, "s", holder="agent", now=NOW))

    async def end(number: int) -> int | None:
        def transition(record: Record | None) -> Record:
            url = f"s3://bucket/{number}"
            return finish(record, "s", holder="agent", attempt=1, status=Status.SUCCEEDED, now=NOW, output_url=url)

        try:
            await store.change(task, transition)
        except AlreadyEndedError:
            return None
        return number

    winners = [number for number in await asyncio.gather(*(end(number) for number in range(20))) if number is not None]
    stored = await store.read(task)
    assert stored is not None
    assert len(winners) == 1
    assert stored.record.current.output_url == f"s3://bucket/{winners[0]}"


async def test_submissions_of_one_id_at_once_are_all_kept(store: RecordStore, task: TaskRef) -> None:
    names = [f"s{number}" for number in range(8)]
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(store.change(task, partial(submit, task=task, new=new(name))))
    stored = await store.read(task)
    assert stored is not None
    assert all(stored.record.find(name) for name in names)


async def test_an_agent_that_was_overtaken_cannot_finish_even_with_the_record_it_knew(
    store: RecordStore, task: TaskRef
) -> None:
    await store.change(task, lambda record: submit(record, task, new("s")))
    known = await store.change(task, lambda record: start(record, "s", holder="frozen", now=NOW))
    await store.change(task, lambda record: start(record, "s", holder="next", now=NOW))
    with pytest.raises(NotHolderError):
        await store.change(
            task,
            lambda record: finish(record, "s", holder="frozen", attempt=1, status=Status.SUCCEEDED, now=NOW),
            known=known,
        )


async def test_a_transition_that_is_not_allowed_writes_nothing(store: RecordStore, task: TaskRef) -> None:
    with pytest.raises(TransitionError):
        await store.change(task, lambda record: start(record, "s", holder="a", now=NOW))
    assert await store.read(task) is None


async def test_a_writer_that_expected_no_record_does_not_overwrite_one(store: RecordStore, task: TaskRef) -> None:
    for name in ("first", "second"):
        await store.change(task, lambda record, name=name: submit(record, task, new(name)), expect_absent=True)  # type: ignore[misc]

    stored = await store.read(task)

    assert stored is not None
    assert stored.record.current.submission == "second"
    assert "first" in stored.record.earlier


async def test_a_record_that_did_not_change_is_not_transferred_again(store: RecordStore, task: TaskRef) -> None:
    written = await store.change(task, lambda record: submit(record, task, new("s")))

    assert await store.read(task, known=written) is written

    changed = await store.change(task, lambda record: start(record, "s", holder="a", now=NOW))
    assert await store.read(task, known=written) == changed


async def test_an_ended_submission_is_found_however_many_came_after_it(store: RecordStore, task: TaskRef) -> None:
    async def end(name: str) -> None:
        await store.change(task, partial(submit, task=task, new=new(name)))
        await store.change(task, partial(end_unstarted, submission=name, status=Status.CANCELLED, now=NOW))

    odd = "../somebody's: own \N{SNOWMAN}"
    for name in ("first", odd, *(f"s{number}" for number in range(KEPT_EARLIER + 1))):
        await end(name)

    stored = await store.read(task)
    assert stored is not None
    assert stored.record.find("first") is None
    for name in ("first", odd):
        found = await store.read(task, about=name)
        assert found is not None
        assert found.record.submissions()[name].status is Status.CANCELLED
        again = await store.change(task, partial(submit, task=task, new=new(name)), about=name)
        assert again.etag == stored.etag, "it is not submitted anew"
    with pytest.raises(AlreadyEndedError):
        await store.change(task, lambda record: start(record, "first", holder="a", now=NOW), about="first")
    # What is learned about it later stays, too.
    await store.change(task, partial(note_callback, submission="first"), about="first")
    await end("one more")
    await end("and one more")
    found = await store.read(task, about="first")
    assert found is not None
    assert found.record.submissions()["first"].callback_sent
    assert len(found.record.earlier) <= KEPT_EARLIER + 1
    assert (await store.read(task, about="never heard of")) == await store.read(task)


async def test_what_a_shortened_callback_leaves_out_is_found_where_it_says_whatever_is_submitted_later(
    store: RecordStore, task: TaskRef, deployment: Deployment
) -> None:
    bucket = deployment.place.output_bucket
    images = [f"s3://{bucket}/{'p' * 200}/{number}.png" for number in range(KEPT_IMAGES + 1)]
    succeed = partial(finish, holder="a", attempt=1, status=Status.SUCCEEDED, now=NOW, image_url=images)
    await store.change(task, partial(submit, task=task, new=new("many")))
    await store.change(task, partial(start, submission="many", holder="a", now=NOW))
    ended = await store.change(task, partial(succeed, submission="many"))

    callback = json.loads(encode_callback(task, ended.record.current, bucket=bucket).message)
    await store.change(task, partial(submit, task=task, new=new("next")))

    assert len(callback["image_url"]) < callback["image_count"]
    record = Record.model_validate_json(deployment.object(split_s3_url(callback["record_url"])[1]))
    assert record.find("many") is None
    crowded_out = Submission.model_validate_json(deployment.object(split_s3_url(callback["submission_url"])[1]))
    assert crowded_out.image_url == images
