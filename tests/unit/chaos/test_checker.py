"""The judge of trials: a sound history passes, and each way of losing something is told by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.callback import callback_for
from contract.identifiers import TaskRef
from contract.objects import answer_key, image_key, s3_url
from contract.record import (
    KEPT_EARLIER,
    Failure,
    Record,
    Status,
    Submission,
    Transition,
    end_unstarted,
    finish,
    note_callback,
    request_cancel,
    start,
    submit,
)
from contract.task import TaskType
from tests.chaos.checker import check
from tests.chaos.history import Event, Kind, parse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXPIRY = 60
Events = list[Event]


class World:
    """Makes a history as the real processes would: one task after the other, a second between two events."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.events: Events = []
        self.records: dict[str, Record] = {}
        self.etags: dict[str, str] = {}
        self.objects: dict[str, str] = {}
        self.letters: list[dict[str, str]] = []
        self.add(Kind.TRIAL, seed=1, agents=3, visibility=4, guilty=["guilty"], expiry=EXPIRY)

    def add(self, kind: Kind, **facts: Any) -> None:
        self.now += 1
        if kind in {Kind.WRITE, Kind.OBJECT, Kind.PUBLISHED, Kind.DELETED, Kind.BURIED}:
            facts.setdefault("asked", self.now - 0.5)
        self.events.append(Event(self.now, kind, facts))

    def change(self, task: str, who: str, transition: Transition) -> Submission:
        record = transition(self.records.get(task))
        etag = f"{task}-{self.now}"
        self.add(
            Kind.WRITE,
            who=who,
            task=task,
            record=record.model_dump(mode="json"),
            replaced=self.etags.get(task, ""),
            etag=etag,
        )
        self.records[task], self.etags[task] = record, etag
        return record.current

    def accept(self, task: str, number: int = 1, outcome: str = "accepted", *, request: str = "", **facts: Any) -> str:
        """Submits a task; `outcome` is what its client hears, nothing when it sends it again."""
        request, name = request or f"{task}/{number}", f"S{task}{number if number > 1 else ''}"
        new = Submission(
            submission=name,
            runtime="r",
            tasktype=TaskType.TEXT_TO_IMAGE,
            prefix="output",
            context={"request": request},
            submitted_at=NOW,
        )
        self.change(task, "api", lambda record: submit(record, TaskRef(task), new))
        if outcome:
            self.add(Kind.REQUEST, request=request, task=task, outcome=outcome, status=200, **facts)
        return name

    def cancel_queued(self, task: str) -> None:
        submission = self.change(task, "api", partial(request_cancel, now=NOW))
        body = callback_for(task, submission).model_dump(mode="json")
        self.add(Kind.PUBLISHED, who="api", submission=submission.submission, body=body)
        self.add(Kind.HEARD, submission=submission.submission, body=body)
        self.change(task, "api", partial(note_callback, submission=submission.submission))
        self.add(Kind.CANCEL, task=task, status=200, submission=submission.submission)

    def run(self, task: str, name: str, who: str = "agent-0-1", attempt: int = 1) -> None:
        runtime = f"runtime-{who.split('-')[1]}"
        self.add(Kind.RECEIVED, who=who, message=f"m{task}", receipt=f"{task}-{who}", task=task, submission=name)
        self.change(task, who, partial(start, submission=name, holder=f"{who}-{attempt}", now=NOW))
        self.add(Kind.RUN, who=runtime, request=f"{task}/1", began=self.now, ended=self.now, outcome="succeeded")

    def store(self, task: str, name: str, who: str = "agent-0-1") -> list[str]:
        keys = [image_key("output", TaskRef(task), name, 1, "png"), answer_key("output", TaskRef(task), name)]
        for key in keys:
            self.objects[key] = f"by {who}"
            self.add(Kind.OBJECT, who=who, key=key, deleted=False, etag=f"by {who}")
        return [s3_url("bucket", key) for key in keys]

    def finish(self, task: str, name: str, status: Status, who: str = "agent-0-1", attempt: int = 1) -> None:
        image, output = self.store(task, name, who) if status is Status.SUCCEEDED else ("", "")
        error = None if status is Status.SUCCEEDED else Failure(code="x", message="y")
        self.change(
            task,
            who,
            partial(
                finish,
                submission=name,
                holder=f"{who}-{attempt}",
                attempt=attempt,
                status=status,
                now=NOW,
                image_url=[image] if image else [],
                output_url=output,
                error=error,
                dead_lettered=status is Status.FAILED,
            ),
        )

    def settle(self, task: str, name: str, who: str = "agent-0-1") -> None:
        submission = self.records[task].current
        if submission.dead_lettered:
            self.letters.append({"submission": name, "reason": "x", "body": "{}"})
            self.add(Kind.BURIED, who=who, submission=name, body="{}")
        body = callback_for(task, submission).model_dump(mode="json")
        self.add(Kind.PUBLISHED, who=who, submission=name, body=body)
        self.add(Kind.HEARD, submission=name, body=body)
        self.add(Kind.DELETED, who=who, receipt=f"{task}-{who}")

    def whole(self, task: str, status: Status) -> None:
        name = self.accept(task)
        self.run(task, name)
        if status is Status.CANCELLED:
            self.change(task, "api", partial(request_cancel, now=NOW))
        self.finish(task, name, status)
        self.settle(task, name)

    def history(self) -> Events:
        self.add(Kind.SETTLED, recovered=True, reason="", interrupted=False, seconds=1)
        self.add(
            Kind.FINAL,
            objects=dict(self.objects),
            records=[record.model_dump(mode="json") for record in self.records.values()],
            dead_letters=list(self.letters),
            waiting=[0, 0],
        )
        return self.events


def sound() -> World:
    world = World()
    world.whole("good", Status.SUCCEEDED)
    world.whole("bad", Status.FAILED)
    world.whole("unwanted", Status.CANCELLED)
    return world


@given(st.lists(st.sampled_from([Status.SUCCEEDED, Status.FAILED, Status.CANCELLED]), max_size=6))
def test_a_sound_history_passes_also_after_it_was_written_and_read(ends: list[Status]) -> None:
    world = World()
    for number, status in enumerate(ends):
        world.whole(f"t{number}", status)
    events = world.history()
    assert check(events).violations == []
    again = check(parse(event.line() for event in events))
    assert again.violations == []
    assert again.figures["callbacks heard"] == len(ends)


@given(st.data())
def test_whatever_is_left_out_of_a_history_is_missed(data: st.DataObject) -> None:
    # Each of these tells of something that must have happened: without it, something is wrong.
    needed = {Kind.WRITE, Kind.HEARD, Kind.OBJECT}
    events = sound().history()
    gone = data.draw(st.sampled_from([event for event in events if event.kind in needed]))
    assert check([event for event in events if event is not gone]).violations


def test_order_of_the_notes_does_not_matter_where_the_entity_tags_tell_it() -> None:
    events = sound().history()
    writes = [event for event in events if event.kind is Kind.WRITE]
    others = [event for event in events if event.kind is not Kind.WRITE]
    assert check([*reversed(writes), *others]).violations == []


def lost(world: World) -> None:
    world.run("t", world.accept("t"))


def never_recorded(world: World) -> None:
    world.add(Kind.REQUEST, request="ghost/1", task="ghost", outcome="accepted", status=200)


def not_called_back(world: World) -> None:
    name = world.accept("t")
    world.run("t", name)
    world.finish("t", name, Status.SUCCEEDED)


def wrong_callback(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    body = callback_for("t", world.records["t"].current).model_dump(mode="json")
    world.add(Kind.HEARD, submission="St", body=body | {"result": False})


def foreign_callback(world: World) -> None:
    world.add(Kind.HEARD, submission="nobody's", body={})


def ended_twice(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    failed = world.records["t"].current.model_copy(update={"status": Status.FAILED, "image_url": [], "output_url": ""})
    world.change("t", "agent-1-1", lambda record: world.records["t"].replace(failed))


def went_back(world: World) -> None:
    world.run("t", world.accept("t"))
    queued = world.records["t"].current.model_copy(update={"status": Status.QUEUED})
    world.change("t", "agent-1-1", lambda record: world.records["t"].replace(queued))
    world.finish("t", "St", Status.SUCCEEDED)
    world.settle("t", "St")


def both_won(world: World) -> None:
    name = world.accept("t")
    before, etag = world.records["t"], world.etags["t"]
    world.run("t", name)
    world.finish("t", name, Status.SUCCEEDED)
    world.settle("t", name)
    world.add(
        Kind.WRITE,
        who="agent-1-1",
        task="t",
        record=start(before, name, holder="other", now=NOW).model_dump(mode="json"),
        replaced=etag,
        etag="another",
    )


def failed_at_once(world: World) -> None:
    name = world.accept("t")
    world.run("t", name)
    world.finish("t", name, Status.FAILED)
    ended = world.records["t"].current.model_copy(update={"dead_lettered": False})
    world.records["t"] = world.records["t"].replace(ended)


def dead_letter_lost(world: World) -> None:
    world.whole("t", Status.FAILED)
    world.letters.pop()


def dead_letter_unexplained(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    world.letters.append({"submission": "St", "reason": "", "body": ""})


def unreadable_lost(world: World) -> None:
    world.add(Kind.FOREIGN, unreadable="no task")


def called_back_too_early(world: World) -> None:
    name = world.accept("t")
    world.run("t", name)
    world.add(Kind.PUBLISHED, who="agent-0-1", submission=name, body={"image_url": [], "output_url": ""})
    world.finish("t", name, Status.SUCCEEDED)
    world.settle("t", name)


def deleted_too_early(world: World) -> None:
    name = world.accept("t")
    world.run("t", name)
    world.add(Kind.DELETED, who="agent-0-1", receipt="t-agent-0-1")
    world.finish("t", name, Status.SUCCEEDED)
    world.settle("t", name)


def overwritten(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    world.store("t", "St", who="agent-1-1")


def result_missing(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    world.objects.popitem()


def orphan(world: World) -> None:
    world.objects["output/t/t-abcd-1.png"] = "x"


def payload_left(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    world.objects[".payloads/t/St.json"] = "x"


def generated_twice(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    world.add(Kind.RUN, who="runtime-1", request="t/1", began=world.now, ended=world.now, outcome="succeeded")


def seen_going_back(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    for status in ("succeeded", "running"):
        world.add(Kind.SEEN, task="t", submission="St", status=status)


def seen_by_another(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    world.add(Kind.SEEN, task="bob/t", submission="St", status="succeeded")


def cancelled_by_another(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    world.add(Kind.CANCEL, task="bob/t", status=202, submission="St")


def sent_without_its_group(world: World) -> None:
    world.add(Kind.UNGROUPED, who="api", submission="St", group="")


def died_by_itself(world: World) -> None:
    world.add(Kind.ENDED, name="agent-0-1", status=1, expected=False)


def wrote_a_trace(world: World) -> None:
    world.add(Kind.TRACE, name="agent", text="Traceback (most recent call last)")


def crowded(world: World) -> None:
    """A task is cancelled while it waits, and its id is submitted until the record forgets the first submission."""
    for number in range(1, KEPT_EARLIER + 4):
        world.accept("t", number)
        world.cancel_queued("t")
    assert world.records["t"].find("St") is None


def came_back(world: World) -> None:
    crowded(world)
    late = world.accept("t", 1)
    world.run("t", late)
    world.finish("t", late, Status.SUCCEEDED)
    world.settle("t", late)


def ran_after_its_cancel(world: World) -> None:
    crowded(world)
    world.now += 10
    world.add(Kind.RUN, who="runtime-1", request="t/1", began=world.now, ended=world.now, outcome="succeeded")


def forgotten_and_unfinished(world: World) -> None:
    world.accept("t")
    other = world.accept("t", 2)
    world.run("t", other)
    world.finish("t", other, Status.SUCCEEDED)
    world.settle("t", other)
    world.change("t", "api", lambda _: world.records["t"].model_copy(update={"earlier": {}}))


def cancelled_without_callback(world: World, outcome: str = "accepted", status: int = 503) -> None:
    """Cancelled while its message could not be published: by its record nobody was told, and no agent will be."""
    world.accept("t", outcome=outcome)
    submission = world.change("t", "api", partial(request_cancel, now=NOW))
    world.add(Kind.CANCEL, task="t", status=status, submission=submission.submission if status == 200 else "")


def sent_after_its_cancel(world: World, before: int = 1) -> None:
    """A task is cancelled while its sending fails; sent again under the same key, it is accepted, and runs."""
    world.accept("t", outcome="")
    world.cancel_queued("t")
    again = world.accept("t", 2, request="t/1", before=before)
    world.run("t", again)
    world.finish("t", again, Status.SUCCEEDED)
    world.settle("t", again)


def expired(world: World, after: float = EXPIRY + 1, *, told: bool = True) -> None:
    """A task that no agent came for: the API ends it after so many seconds."""
    name = world.accept("t")
    error = Failure(code="expired", message="")
    ended = partial(end_unstarted, submission=name, status=Status.FAILED, error=error)
    submission = world.change("t", "api", partial(ended, now=NOW + timedelta(seconds=after)))
    body = callback_for("t", submission).model_dump(mode="json")
    if told:
        world.add(Kind.PUBLISHED, who="api", submission=name, body=body)
        world.add(Kind.HEARD, submission=name, body=body)


def dated(world: World, *, ended: float = 6, began: float | None = None) -> None:
    """A task that was to begin within five seconds, and has expired after so many, or begun."""
    name = world.accept("t")

    def to_begin(record: Record | None) -> Record:
        assert record is not None
        return record.replace(record.current.model_copy(update={"start_by": NOW + timedelta(seconds=5)}))

    world.change("t", "api", to_begin)
    if began is not None:

        def begun(record: Record | None) -> Record:
            assert record is not None
            at = NOW + timedelta(seconds=began)
            found = record.current.model_copy(update={"status": Status.RUNNING, "attempts": 1, "started_at": at})
            return record.replace(found)

        world.change("t", "agent-1-1", begun)
    error = Failure(code="expired", message="")
    over = partial(end_unstarted, submission=name, status=Status.EXPIRED, error=error)
    submission = world.change("t", "api", partial(over, now=NOW + timedelta(seconds=ended)))
    body = callback_for("t", submission).model_dump(mode="json")
    world.add(Kind.PUBLISHED, who="api", submission=name, body=body)
    world.add(Kind.HEARD, submission=name, body=body)


def sent_again(world: World, *, resent: bool = True) -> None:
    """A task that SNS could not deliver: the API puts it into its queue, and takes it from the undelivered ones."""
    name = world.accept("t")
    world.add(Kind.RECEIVED, who="api", message="mu", receipt="t-api", task="t", submission=name)
    if resent:
        world.add(Kind.RESENT, who="api", submission=name, asked=world.now)
    world.add(Kind.DELETED, who="api", receipt="t-api")
    world.run("t", name)
    world.finish("t", name, Status.SUCCEEDED)
    world.settle("t", name)


def ran_after_its_refusal(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    for event in world.events:
        if event.facts.get("request") == "t/1" and event.kind is Kind.REQUEST:
            event.facts.update(outcome="refused", status=503, fate="not_accepted")


def long_callback(world: World, **changed: Any) -> None:
    """A task with very many images; its callback has what fits, but for what is changed."""
    name = world.accept("t")
    world.run("t", name)
    url = "s3://bucket/output/" + "x" * 900
    images = [f"{url}-{number}.png" for number in range(300)]
    *_, output = world.store("t", name)
    ended = partial(finish, submission=name, holder="agent-0-1-1", attempt=1, status=Status.SUCCEEDED, now=NOW)
    submission = world.change("t", "agent-0-1", partial(ended, image_url=images, output_url=output))
    for url in images:
        key = url.removeprefix("s3://bucket/")
        world.objects[key] = "by agent-0-1"
        world.events.insert(
            5,
            Event(
                1001.0,
                Kind.OBJECT,
                {"who": "agent-0-1", "key": key, "deleted": False, "etag": "by agent-0-1", "asked": 1001.0},
            ),
        )
    world.objects.pop(image_key("output", TaskRef("t"), name, 1, "png"))
    body = callback_for("t", submission).model_dump(mode="json") | {
        "context": None,
        "image_url": images[:200],
        "truncated": ["context", "image_url"],
        "image_count": 300,
    }
    world.add(Kind.PUBLISHED, who="agent-0-1", submission=name, body=body)
    world.add(Kind.HEARD, submission=name, body=body | changed)
    world.add(Kind.DELETED, who="agent-0-1", receipt="t-agent-0-1")


def cut_without_a_word(world: World) -> None:
    long_callback(world, truncated=[])


def cut_in_the_middle(world: World) -> None:
    long_callback(world, image_url=["s3://bucket/somewhere/else.png"])


def short_and_cut(world: World) -> None:
    world.whole("t", Status.SUCCEEDED)
    for event in world.events:
        if event.kind is Kind.HEARD and event.facts["submission"] == "St":
            event.facts["body"] = event.facts["body"] | {"context": None, "truncated": ["context"], "image_count": 1}


@pytest.mark.parametrize("story", [crowded, long_callback, expired, dated, sent_again, sent_after_its_cancel])
def test_an_odd_story_is_sound(story: Callable[[World], None]) -> None:
    world = sound()
    story(world)
    assert check(world.history()).violations == []


@pytest.mark.parametrize(
    ("outcome", "status", "owed"),
    [("accepted", 503, True), ("unknown", 200, True), ("unknown", 503, False), ("refused", 503, False)],
)
def test_a_callback_is_owed_to_whoever_was_told_of_a_task_or_of_its_cancel(
    outcome: str, status: int, *, owed: bool
) -> None:
    world = sound()
    cancelled_without_callback(world, outcome, status)
    told = [line for line in check(world.history()).violations if line.startswith("ends_are_called_back")]
    assert bool(told) is owed


FAULTS: dict[str, tuple[Callable[[World], None], str]] = {
    "a task that never ends": (lost, "accepted_tasks_end"),
    "an accepted task without a record": (never_recorded, "accepted_tasks_end"),
    "an end without a callback": (not_called_back, "ends_are_called_back"),
    "a callback that contradicts its record": (wrong_callback, "ends_are_called_back"),
    "a callback of nobody's": (foreign_callback, "ends_are_called_back"),
    "a task that ends twice": (ended_twice, "records_go_forward"),
    "a record that goes back": (went_back, "records_go_forward"),
    "two writers that both win": (both_won, "records_go_forward"),
    "a sound task that fails at once": (failed_at_once, "the_innocent_are_tried_again"),
    "a dead letter that was lost": (dead_letter_lost, "dead_letters_say_so"),
    "a dead letter that its record does not know": (dead_letter_unexplained, "dead_letters_say_so"),
    "an unreadable message that was lost": (unreadable_lost, "dead_letters_say_so"),
    "a callback before the result": (called_back_too_early, "callbacks_follow_results"),
    "a deletion before the result": (deleted_too_early, "deletions_follow_ends"),
    "a result that was overwritten": (overwritten, "results_are_stored"),
    "a result that is gone": (result_missing, "results_are_stored"),
    "an object that nobody knows": (orphan, "results_are_stored"),
    "a payload that nobody needs": (payload_left, "results_are_stored"),
    "a generation too many": (generated_twice, "generation_is_repeated_only_for_cause"),
    "an API that shows a step back": (seen_going_back, "clients_see_no_step_back"),
    "a task that another tenant reads": (seen_by_another, "answers_are_about_their_task"),
    "a task that another tenant cancels": (cancelled_by_another, "answers_are_about_their_task"),
    "a message that does not say whose it is": (sent_without_its_group, "messages_name_their_tenant"),
    "a process that dies by itself": (died_by_itself, "everything_recovers"),
    "a stack trace": (wrote_a_trace, "everything_recovers"),
    "a cancelled submission that comes back after it was forgotten": (came_back, "records_go_forward"),
    "a run of what had been cancelled while it waited": (ran_after_its_cancel, "what_is_over_does_not_run"),
    "a submission that is forgotten before it has ended": (forgotten_and_unfinished, "records_go_forward"),
    "a cancel that nobody is called back for": (cancelled_without_callback, "ends_are_called_back"),
    "two submissions for one sending": (partial(sent_after_its_cancel, before=0), "accepted_tasks_end"),
    "a task that expires too early": (partial(expired, after=EXPIRY - 3), "the_innocent_are_tried_again"),
    "a task that expires without a word": (partial(expired, told=False), "ends_are_called_back"),
    "a task that expires before its time": (partial(dated, ended=4), "times_to_begin_hold"),
    "a task that begins after its time": (partial(dated, began=5), "times_to_begin_hold"),
    "an undelivered message that is dropped": (partial(sent_again, resent=False), "deletions_follow_ends"),
    "a run of what was refused": (ran_after_its_refusal, "refusals_hold"),
    "a callback that was shortened without saying so": (cut_without_a_word, "ends_are_called_back"),
    "a callback that names other images": (cut_in_the_middle, "ends_are_called_back"),
    "a callback that was shortened without need": (short_and_cut, "ends_are_called_back"),
}


@pytest.mark.parametrize(("slots", "deaths", "is_told"), [(2, 1, False), (1, 1, True), (2, 0, True)])
def test_what_a_dead_agent_had_waiting_at_its_runtime_may_be_generated_however_late(
    slots: int, deaths: int, is_told: bool
) -> None:
    world = sound()
    world.events[0].facts["slots"] = slots
    name = world.accept("t")
    world.add(Kind.RECEIVED, who="agent-1-1", message="mt", receipt="t-agent-1-1", task="t", submission=name)
    for _ in range(deaths):
        world.add(Kind.FAULT, fault="agent killed", target="agent-1-1", until=world.now)
        world.add(Kind.ENDED, name="agent-1-1", status=-9, expected=True)
    world.now += 60
    world.run("t", name)
    world.finish("t", name, Status.SUCCEEDED)
    world.settle("t", name)
    world.add(Kind.RUN, who="runtime-1", request="t/1", began=world.now, ended=world.now, outcome="succeeded")

    told = [line for line in check(world.history()).violations if line.startswith("generation_is_repeated")]

    assert bool(told) is is_told, told


@pytest.mark.parametrize(("seconds", "is_told"), [(0.1, False), (0.5, True)])
def test_a_second_copy_that_begins_with_the_first_must_be_stopped_unless_it_is_over_by_then(
    seconds: float, is_told: bool
) -> None:
    world = sound()
    world.whole("t", Status.SUCCEEDED)
    first = next(event for event in world.events if event.kind is Kind.RUN and event.facts["request"] == "t/1")
    began = first.facts["began"] + 0.01
    world.add(Kind.RUN, who="runtime-1", request="t/1", began=began, ended=began + seconds, outcome="succeeded")

    told = [line for line in check(world.history()).violations if line.startswith("generation_is_repeated")]

    assert bool(told) is is_told, told


@pytest.mark.parametrize("name", FAULTS)
def test_it_tells_of(name: str) -> None:
    spoil, told_by = FAULTS[name]
    world = sound()
    spoil(world)
    violations = check(world.history()).violations
    assert any(line.startswith(told_by) for line in violations), violations


def killed_once(world: World) -> None:
    name = world.accept("t")
    world.run("t", name)
    world.add(Kind.FAULT, fault="agent killed", target="agent-0-1", until=world.now)
    world.run("t", name, who="agent-1-1", attempt=2)
    world.finish("t", name, Status.SUCCEEDED, who="agent-1-1", attempt=2)
    world.settle("t", name, who="agent-1-1")


def test_a_second_generation_is_allowed_for_a_killed_agent() -> None:
    world = sound()
    killed_once(world)
    verdict = check(world.history())
    assert verdict.violations == []
    assert verdict.figures["generations too many"] == 1


def test_a_second_generation_is_not_allowed_for_another_agent_s_death() -> None:
    world = sound()
    killed_once(world)
    events = [
        replace(event, facts=event.facts | {"target": "agent-2-1"}) if event.kind is Kind.FAULT else event
        for event in world.history()
    ]
    assert check(events).violations


def test_a_fault_of_aws_allows_one_for_each_agent() -> None:
    world = sound()
    killed_once(world)
    events = [
        replace(event, facts=event.facts | {"fault": "AWS frozen", "target": "AWS"})
        if event.kind is Kind.FAULT
        else event
        for event in world.history()
    ]
    assert check(events).violations == []


@pytest.mark.parametrize(("strikes_after", "explained"), [(0.5, True), (2.0, False)])
def test_a_second_copy_that_begins_is_ended_by_its_refusal_unless_aws_is_lost_meanwhile(
    strikes_after: float, explained: bool
) -> None:
    world = sound()
    world.whole("t", Status.SUCCEEDED)
    began = world.now
    world.add(Kind.RUN, who="runtime-1", request="t/1", began=began, ended=began + 1, outcome="succeeded")
    events = [
        *world.history(),
        Event(began + strikes_after, Kind.FAULT, {"fault": "AWS unavailable", "target": "AWS", "until": began + 9}),
    ]
    assert (check(events).violations == []) == explained


def test_a_third_generation_is_not() -> None:
    world = sound()
    killed_once(world)
    world.add(Kind.RUN, who="runtime-1", request="t/1", began=world.now, ended=world.now, outcome="succeeded")
    assert check(world.history()).violations


def test_a_fault_that_was_skipped_explains_nothing() -> None:
    world = sound()
    killed_once(world)
    events = [
        replace(event, facts=event.facts | {"skipped": "it is down already"}) if event.kind is Kind.FAULT else event
        for event in world.history()
    ]
    assert check(events).violations


def withdrawn(world: World) -> None:
    world.accept("t")
    error = Failure(code="not_accepted", message="")
    world.change("t", "api", partial(end_unstarted, submission="St", status=Status.FAILED, now=NOW, error=error))


def test_a_refused_task_may_be_withdrawn_and_needs_no_callback_but_an_accepted_one_may_not() -> None:
    world = sound()
    withdrawn(world)
    events = world.history()
    assert check(events).violations
    refused = [
        replace(event, facts=event.facts | {"outcome": "refused"}) if event.facts.get("request") == "t/1" else event
        for event in events
    ]
    assert check(refused).violations == []


def test_a_trial_that_was_broken_off_is_judged_by_what_it_has_done() -> None:
    def broken_off(world: World) -> Events:
        return [
            replace(event, facts=event.facts | {"recovered": False, "interrupted": True, "reason": "broken off"})
            if event.kind is Kind.SETTLED
            else event
            for event in world.history()
        ]

    unfinished = sound()
    lost(unfinished)
    assert check(broken_off(unfinished)).violations == []
    wrong = sound()
    ended_twice(wrong)
    assert check(broken_off(wrong)).violations


def test_the_payload_of_a_dead_letter_stays_for_whoever_sends_it_back() -> None:
    world = World()
    world.whole("bad", Status.FAILED)
    name = world.records["bad"].current.submission
    world.objects[f".payloads/bad/{name}.json"] = "x"
    assert check(world.history()).violations == []


def test_the_payload_of_an_expired_task_stays_for_its_message_may_still_come() -> None:
    world = sound()
    expired(world)
    world.objects[".payloads/t/St.json"] = "x"
    assert check(world.history()).violations == []


def test_the_payload_of_a_refused_task_is_left_to_the_lifecycle_of_the_bucket() -> None:
    world = sound()
    world.objects[".payloads/t/St.json"] = "x"
    assert check(world.history()).violations == []
