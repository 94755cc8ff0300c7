"""No submission is left without an end, whoever dies: the sweep for expired tasks under every order of events.

A state machine plays tasks whose ids are used again, agents that start, report, die and come back, and two API
processes that sweep, die at any call to AWS, or find SNS out of reach. The sweep is real, S3 and SNS are dicts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any, Self

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from api.callbacks import Callbacks
from api.metrics import Metrics
from api.sweeps.expiry import Expiry
from api.sweeps.turns import LEASE, Note, lease_for, seconds_until_turn
from api.sweeps.verdicts import Rules, Swept, judge
from contract.identifiers import TaskRef
from contract.objects import EXPIRY_SWEEP, record_key
from contract.record import (
    Record,
    Status,
    Submission,
    Transition,
    TransitionError,
    end_unstarted,
    excuse,
    finish,
    note_callback,
    report_progress,
    request_cancel,
    start,
    submit,
)
from contract.s3 import Listed
from contract.store import RecordStore
from contract.task import TaskType
from contract.task_lists import TaskLists

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULES = Rules(expiry=27 * HOUR, longest_run=4 * HOUR)
INTERVAL = 6 * HOUR
RETENTION = 36 * HOUR
BUCKET = "bucket"


def queued(name: str = "s", at: datetime = START, **more: Any) -> Submission:
    return Submission(
        submission=name,
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        submitted_at=at,
        **more,
    )


class DeadError(Exception):
    """This process is no more."""


@dataclass
class Aws:
    """S3 and SNS, for processes that may die at any call."""

    now: datetime = START
    objects: dict[str, tuple[bytes, str, datetime]] = field(default_factory=dict)
    published: list[tuple[str, str]] = field(default_factory=list)
    calls_left: int | None = None
    """Calls until the process dies; None: it lives."""
    sns_fails: bool = False
    _tags: Any = field(default_factory=lambda: count(1))

    def _call(self) -> None:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise DeadError

    async def head_bucket(self, **_: Any) -> Any:
        self._call()
        return {"ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(self.now, usegmt=True)}}}

    async def get_object(self, *, Key: str, **_: Any) -> Any:  # noqa: N803
        self._call()
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        body, tag, modified = self.objects[Key]
        return {"ETag": tag, "LastModified": modified, "Body": Body(body)}

    async def put_object(self, *, Key: str, Body: bytes, **more: Any) -> Any:  # noqa: N803
        self._call()
        tag = self.objects.get(Key, (b"", None, None))[1]
        if more.get("IfMatch", tag) != tag or ("IfNoneMatch" in more and tag is not None):
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")
        self.objects[Key] = (Body, str(next(self._tags)), self.now)
        self._call()  # it may die before it hears of it
        return {"ETag": self.objects[Key][1]}

    async def list_folder(self, *, Bucket: str, Prefix: str, **_: str) -> AsyncIterator[Listed]:  # noqa: N803
        self._call()
        for key in sorted(self.objects):
            if key.startswith(Prefix):
                yield Listed(key, self.objects[key][2])

    async def publish(self, *, MessageAttributes: Any, **_: Any) -> Any:  # noqa: N803
        self._call()
        if self.sns_fails:
            raise EndpointConnectionError(endpoint_url="http://nowhere")
        self.published.append((MessageAttributes["id"]["StringValue"], MessageAttributes["submission"]["StringValue"]))
        self._call()

    async def publish_batch(self, **_: Any) -> Any:
        raise NotImplementedError

    def record(self, task_id: str) -> Record | None:
        found = self.objects.get(record_key(TaskRef(task_id)))
        return Record.model_validate_json(found[0]) if found else None

    def change(self, task_id: str, transition: Transition) -> Record:
        """Writes a record as agents and the rest of the API do."""
        record = transition(self.record(task_id))
        self.objects[record_key(TaskRef(task_id))] = (
            record.model_dump_json().encode(),
            str(next(self._tags)),
            self.now,
        )
        return record


@dataclass
class Body:
    data: bytes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def read(self) -> bytes:
        return self.data


def process(aws: Any, rules: Rules = RULES) -> Expiry:
    store = RecordStore(aws, BUCKET)
    callbacks = Callbacks(
        sns=aws,
        topic_arn="arn:aws:sns:us-east-1:000000000000:callbacks",
        store=store,
        lists=TaskLists(aws, BUCKET),
        bucket=BUCKET,
    )
    return Expiry(
        s3=aws, bucket=BUCKET, store=store, callbacks=callbacks, metrics=Metrics(), rules=rules, interval=INTERVAL
    )


class Lives(RuleBasedStateMachine):
    """Some task ids over days."""

    ids = st.sampled_from(["a", "b"])
    which = st.integers(0, 20)

    @initialize()
    def begin(self) -> None:
        self.aws = Aws()
        self.loop = asyncio.new_event_loop()
        self.processes = [process(self.aws), process(self.aws)]
        self.next_look = self.aws.now
        self.names = count(1)
        self.ends: dict[tuple[str, str], Submission] = {}
        self.ended_by_sweep: dict[tuple[str, str], datetime] = {}

    def teardown(self) -> None:
        if not hasattr(self, "aws"):
            return
        self.aws.sns_fails = False
        self.pass_time(13, [], False)
        owing = [item.submission for _, item in self.all() if item.owes_callback]
        assert owing == [], "no callback, though SNS is well again and two sweeps have passed"
        for key, end in self.ends.items():
            if end.callback_owed:
                assert key in self.aws.published
        self.loop.close()

    def all(self) -> list[tuple[str, Submission]]:
        records = [record for task_id in ("a", "b") if (record := self.aws.record(task_id))]
        return [(record.id, item) for record in records for item in (record.current, *record.earlier.values())]

    def pick(self, task_id: str, which: int) -> Submission | None:
        mine = [item for of, item in self.all() if of == task_id]
        return mine[which % len(mine)] if mine else None

    @rule(task_id=ids)
    def submit(self, task_id: str) -> None:
        new = queued(str(next(self.names)), self.aws.now)
        self.aws.change(task_id, lambda record: submit(record, TaskRef(task_id), new))

    @rule(task_id=ids, which=which)
    def agent_starts(self, task_id: str, which: int) -> None:
        found = self.pick(task_id, which)
        if found is None or self.aws.now >= found.submitted_at + RETENTION:
            return  # its message is gone
        self.transition(
            task_id, lambda record: start(record, found.submission, holder="h", now=self.aws.now, message="m")
        )

    @rule(task_id=ids, which=which, kind=st.sampled_from(["finish", "excuse", "progress"]))
    def agent_goes_on(self, task_id: str, which: int, kind: str) -> None:
        found = self.pick(task_id, which)
        if found is None:
            return
        held: Any = {"holder": "h", "attempt": found.attempts}
        changes: dict[str, Transition] = {
            "finish": lambda record: finish(
                record, found.submission, status=Status.SUCCEEDED, now=self.aws.now, **held
            ),
            "excuse": lambda record: excuse(record, found.submission, **held),
            "progress": lambda record: report_progress(record, found.submission, progress=0.5, **held),
        }
        self.transition(task_id, changes[kind])

    @rule(task_id=ids)
    def user_cancels(self, task_id: str) -> None:
        self.transition(task_id, lambda record: request_cancel(record, now=self.aws.now))

    def transition(self, task_id: str, change: Transition) -> None:
        try:
            self.aws.change(task_id, change)
        except TransitionError:
            return

    @rule(
        hours=st.integers(1, 12),
        deaths=st.lists(st.integers(0, 25), max_size=2),
        sns_fails=st.booleans(),
    )
    def pass_time(self, hours: int, deaths: list[int], sns_fails: bool) -> None:
        self.aws.sns_fails = sns_fails
        end, deaths = self.aws.now + hours * HOUR, [*deaths]
        while self.next_look <= end:
            self.aws.now = max(self.aws.now, self.next_look)
            self.look(deaths.pop() if deaths else None)
            self.check()
        self.aws.now = end

    def look(self, dies_after: int | None) -> None:
        before = dict(self.all_by_key())
        self.aws.calls_left = dies_after
        try:
            wait = self.loop.run_until_complete(self.processes[0].sweep())
            self.next_look = self.aws.now + timedelta(seconds=max(1, wait))
        except DeadError:
            self.processes = [self.processes[1], process(self.aws)]
            self.next_look = self.aws.now + LEASE + timedelta(seconds=1)
        self.aws.calls_left = None
        for key, item in self.all_by_key().items():
            if item.status.terminal and not before[key].status.terminal:
                was = before[key]
                assert self.aws.now - was.submitted_at >= RULES.expiry, "ended too early"
                if was.holder is not None and was.started_at is not None:
                    assert self.aws.now - was.started_at >= RULES.longest_run, "ended while it runs"
                assert item.status is (Status.CANCELLED if was.status is Status.CANCELLING else Status.FAILED)
                assert item.error is not None

    def all_by_key(self) -> dict[tuple[str, str], Submission]:
        return {(task_id, item.submission): item for task_id, item in self.all()}

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "aws"):
            return
        for key, item in self.all_by_key().items():
            if item.status.terminal:
                known = self.ends.setdefault(key, item)
                assert item.model_copy(update={"callback_sent": known.callback_sent}) == known, "two ends"
                continue
            # Two processes may have died one after the other.
            slack = INTERVAL + RULES.tolerance + 3 * LEASE
            due = item.submitted_at + RULES.expiry
            if item.holder is not None and item.started_at is not None:
                due = max(due, item.started_at + RULES.longest_run)
            assert self.aws.now <= due + slack, f"forgotten: {item}"


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def sweep(aws: Aws, by: Expiry | None = None) -> float:
    return asyncio.run((by or process(aws)).sweep())


def test_a_queued_task_expires_and_is_called_back_before_sqs_forgets_it() -> None:
    aws = Aws()
    aws.change("t", lambda record: submit(record, TaskRef("t"), queued()))
    aws.now = START + RULES.expiry - timedelta(seconds=1)
    sweep(aws)
    assert aws.published == []
    aws.now += INTERVAL
    assert aws.now < START + RETENTION
    assert sweep(aws) == INTERVAL.total_seconds()
    (record,) = [aws.record("t")]
    assert record is not None
    ended = record.current
    assert (ended.status, ended.error and ended.error.code, ended.callback_sent) == (Status.FAILED, "expired", True)
    assert aws.published == [("t", "s")]
    aws.now += INTERVAL
    sweep(aws)
    assert aws.published == [("t", "s")], "once is enough"


def test_a_process_that_died_holds_nobody_up_for_longer_than_the_interval() -> None:
    assert lease_for(timedelta(hours=6)) == LEASE
    assert lease_for(timedelta(seconds=10)) == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("interval", "grace"), [(timedelta(seconds=5), timedelta(seconds=5)), (6 * HOUR, timedelta(minutes=2))]
)
def test_a_callback_that_is_owed_waits_no_longer_than_from_one_sweep_to_the_next(
    interval: timedelta, grace: timedelta
) -> None:
    rules = Rules.for_sweeps(expiry=27 * HOUR, interval=interval)
    assert (rules.expiry, rules.callback_grace) == (27 * HOUR, grace)


def test_a_second_process_waits_while_one_sweeps_and_until_the_next_sweep_is_due() -> None:
    aws = Aws()
    first, second = process(aws), process(aws)
    assert sweep(aws, first) == INTERVAL.total_seconds()
    aws.now += HOUR
    assert sweep(aws, second) == (INTERVAL - HOUR).total_seconds()
    held = Note(holder="other", held_until=aws.now + LEASE)
    assert seconds_until_turn(held, "me", aws.now, INTERVAL) == LEASE.total_seconds()
    assert seconds_until_turn(held, "other", aws.now, INTERVAL) == 0
    assert seconds_until_turn(held, "me", aws.now + LEASE, INTERVAL) == 0


def test_a_task_that_an_agent_begins_with_just_then_is_left_to_it() -> None:
    class Racing(Aws):
        async def put_object(self, *, Key: str, **more: Any) -> Any:  # noqa: N803
            record = self.record("t")
            if Key == record_key(TaskRef("t")) and record is not None and not record.current.attempts:
                self.change("t", lambda record: start(record, "s", holder="h", now=self.now))
            return await super().put_object(Key=Key, **more)

    aws = Racing()
    aws.change("t", lambda record: submit(record, TaskRef("t"), queued()))
    aws.now += RULES.expiry
    sweep(aws)
    record = aws.record("t")
    assert record is not None
    assert record.current.status is Status.RUNNING
    aws.now += INTERVAL
    sweep(aws)
    record = aws.record("t")
    assert record is not None
    assert record.current.status is Status.FAILED, "its agent has died since"


def test_an_unreadable_note_or_record_stops_no_sweep() -> None:
    aws = Aws()
    aws.change("t", lambda record: submit(record, TaskRef("t"), queued()))
    aws.objects[EXPIRY_SWEEP] = (b"{", "x", START)
    aws.objects[record_key(TaskRef("broken"))] = (b"{", "y", START)
    aws.now += RULES.expiry
    sweep(aws)
    record = aws.record("t")
    assert record is not None
    assert record.current.status is Status.FAILED


def test_a_clock_of_the_api_that_is_wrong_by_years_ends_no_task_that_waits() -> None:
    record = submit(None, TaskRef("t"), queued(at=START - timedelta(days=400)))
    assert judge(record, modified=START, now=START + HOUR, rules=RULES).to_end == ()
    assert judge(record, modified=START, now=START + RULES.expiry, rules=RULES).to_end == (record.current,)


def test_a_foreign_task_counts_from_when_sqs_took_it() -> None:
    record = submit(None, TaskRef("t"), queued(at=START, sent_at=START - 20 * HOUR))
    verdict = judge(record, modified=START, now=START + HOUR, rules=RULES)
    assert (verdict.to_end, verdict.again_at) == ((), START + 7 * HOUR)
    assert judge(record, modified=START, now=START + 7 * HOUR, rules=RULES).to_end == (record.current,)


@pytest.mark.parametrize("noted", [True, False])
def test_a_cancel_whose_callback_got_lost_is_called_back_for_and_an_agents_end_is_not(noted: bool) -> None:
    cancelled = request_cancel(submit(None, TaskRef("t"), queued()), now=START)
    record = note_callback(cancelled, "s") if noted else cancelled
    at_once = judge(record, modified=START, now=START, rules=RULES)
    assert at_once.to_call_back == (), "who cancels is still about to call back"
    assert at_once.again_at == (None if noted else START + RULES.callback_grace)
    later = judge(record, modified=START, now=START + HOUR, rules=RULES)
    assert later.to_call_back == (() if noted else (record.current,))
    agents = end_unstarted(submit(None, TaskRef("t"), queued()), "s", status=Status.FAILED, now=START)
    assert judge(agents, modified=START, now=START + HOUR, rules=RULES).to_call_back == ()


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (timedelta(hours=-1), True),  # since the last sweep
        (timedelta(hours=-6, minutes=-4), True),  # a listing may not have shown it then
        (timedelta(hours=-7), False),
        (-27 * HOUR, True),  # unchanged for as long as a task may wait
        (-32 * HOUR, True),
        (-34 * HOUR, False),  # so found by an earlier sweep
    ],
)
def test_a_sweep_reads_what_is_new_and_what_is_old_but_little_else(written: timedelta, wanted: bool) -> None:
    before = Swept().after(START - INTERVAL, RULES, {})
    assert before.wants("k", START + written, START, RULES) is wanted
