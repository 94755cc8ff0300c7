"""Judges the history of a trial: whether anything was lost, done twice, overwritten or left behind. Pure functions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from contract.callback import callback_for
from contract.objects import PAYLOADS, split_s3_url
from contract.record import Record, Status, Submission
from tests.chaos.generations import generation_is_repeated_only_for_cause
from tests.chaos.history import Event, Kind
from tests.chaos.story import Story, Write, tell

_DONE: Final = frozenset({200, 202})
_SHOWN: Final = 500
"""Characters of a callback."""
_FITS: Final = 240 * 1024
"""Bytes that surely fit into a message of 256 KiB, attributes included."""
_CLOCK: Final = 2.0
"""Seconds by which S3's clock, which tells whole ones, may be off."""
_UNBEGUN: Final = frozenset({Status.CANCELLED, Status.EXPIRED})
"""Ends of what may never have run."""
_KEPT: Final = ("id", "result", "output_url")
"""What is never left out of a callback."""

RANK: Final = {
    Status.QUEUED: 0,
    Status.RUNNING: 1,
    Status.CANCELLING: 2,
    Status.SUCCEEDED: 3,
    Status.FAILED: 3,
    Status.CANCELLED: 3,
    Status.EXPIRED: 3,
}
"""A submission's rank never falls."""


@dataclass(frozen=True)
class Verdict:
    """What a history comes to."""

    violations: list[str]
    figures: dict[str, int | float]


def accepted_tasks_end(story: Story) -> Iterator[str]:
    """Every accepted task ends in exactly one terminal state."""
    for event in story.of(Kind.REQUEST):
        request, outcome = event.facts["request"], event.facts["outcome"]
        made = story.submission_of.get(request, set())
        kept = _kept([story.find(name) for name in made], int(event.facts.get("before", 0)))
        if outcome == "accepted" and len(kept) != 1:
            yield f"{request} was accepted, and {len(kept)} submissions stand for it (of {len(made)})"
        for name in made:
            submission = story.find(name)
            if submission is None:
                yield f"{request}: its submission {name} is no longer in the record"
            elif not submission.status.terminal and (outcome == "accepted" or submission.status is not Status.QUEUED):
                yield f"{request} ({outcome}) has not ended: it is {submission.status}"
    for event in story.of(Kind.FOREIGN):
        request = event.facts.get("request")
        if request is None:
            continue
        found = [story.find(name) for name in story.submission_of.get(request, set())]
        if not any(submission is not None and submission.status.terminal for submission in found):
            yield f"{request}, published by somebody else, has not ended"


def _kept(made: Sequence[Submission | None], before: int) -> list[Submission | None]:
    """Returns those of a request's submissions that stand for its answer.

    What was withdrawn does not: its client was told so, and a key's next sending makes another one. Nor does what was
    cancelled before it ran, for each sending that was not accepted.
    """
    kept = [one for one in made if not _withdrawn(one)]
    over = [one for one in kept if one is not None and one.status is Status.CANCELLED and not one.attempts]
    left_out = {one.submission for one in over[: min(before, len(kept) - 1)]}
    return [one for one in kept if one is None or one.submission not in left_out]


def ends_are_called_back(story: Story) -> Iterator[str]:
    """Every end has at least one callback, and every callback agrees with its record.

    Except for one that nobody was told of: neither was its request accepted, nor was its cancel.
    """
    accepted = {name for request in _accepted(story) for name in story.submission_of.get(request, ())}
    cancelled = {event.facts.get("submission") for event in story.of(Kind.CANCEL) if event.facts["status"] in _DONE}
    heard: dict[str, list[Any]] = defaultdict(list)
    for event in story.of(Kind.HEARD):
        heard[event.facts["submission"]].append(event.facts["body"])
    for task, submission in story.submissions():
        bodies = heard.pop(submission.submission, [])
        if not submission.status.terminal:
            if bodies:
                yield f"{task}: called back, and it is {submission.status}"
            continue
        untold = not submission.attempts and submission.submission not in accepted | cancelled
        if not bodies and not untold and not _withdrawn(submission):
            yield f"{task[:60]}: ended as {submission.status}, and was not called back"
        wanted = json.loads(callback_for(task.rpartition("/")[2], submission).model_dump_json())
        for body in bodies:
            if body != wanted and not _shortened(body, wanted):
                said, says = json.dumps(body)[:_SHOWN], json.dumps(wanted)[:_SHOWN]
                yield f"{task[:60]}: called back {said}, and its record says {says}"
    for name, bodies in heard.items():
        yield f"{len(bodies)} callbacks of submission {name!r}, which no record knows"


def _shortened(body: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Tells whether a callback is one that would have been too long, cut as little as its words say."""
    images = body.get("image_url", [])
    cut = [name for name in ("context", "image_url") if body.get(name) != wanted[name]]
    return (
        len(json.dumps(wanted).encode()) > _FITS
        and {name: body.get(name) for name in _KEPT} == {name: wanted[name] for name in _KEPT}
        and body.get("context") in (wanted["context"], None)
        and images == wanted["image_url"][: len(images)]
        and sorted(body.get("truncated", [])) == cut
        and body.get("image_count") == len(wanted["image_url"])
    )


def refusals_hold(story: Story) -> Iterator[str]:
    """What a client was told will not run does not."""
    for event in story.of(Kind.REQUEST):
        if event.facts.get("fate") != "not_accepted":
            continue
        for name in story.submission_of.get(event.facts["request"], ()):
            found = story.find(name)
            if found is not None and found.attempts and not _withdrawn(found):
                yield f"{event.facts['request']}: its client was told that it will not run, and it is {found.status}"


def what_is_over_does_not_run(story: Story) -> Iterator[str]:
    """What was cancelled, or has expired, before it ran never runs, however late its message comes.

    Except for one whose agent AWS keeps from seeing it.
    """
    trial = story.last(Kind.TRIAL)
    grace = float(trial.get("visibility", 0))
    struck = [
        (event.at, float(event.facts["until"]) + grace)
        for event in story.of(Kind.FAULT)
        if "skipped" not in event.facts and event.facts["target"] == "AWS"
    ]
    over: dict[str, float] = {}
    for request, names in story.submission_of.items():
        found = [(story.find(name), story.ends.get(name)) for name in names]
        if all(one is not None and one.status in _UNBEGUN and not one.attempts for one, _ in found):
            over[request] = max(end.at for _, end in found if end is not None)
    for event in story.of(Kind.RUN):
        request, began = event.facts["request"], float(event.facts["began"])
        if began > over.get(request, began) + grace and not any(since <= began <= until for since, until in struck):
            yield f"{request} ran {began - over[request]:.1f} s after it had been cancelled, or had expired"


def times_to_begin_hold(story: Story) -> Iterator[str]:
    """No attempt begins after the time by which it was to, and nothing expires that had time left."""
    for task, versions in story.versions.items():
        seen: dict[str, int] = {}
        for write in versions:
            for name, found in write.record.submissions().items():
                if found.attempts > seen.get(name, 0) and found.started_at and found.is_too_late(found.started_at):
                    yield f"{task}: an attempt of {name} began at {found.started_at}, and was to by {found.start_by}"
                seen[name] = found.attempts
    for task, found in story.submissions():
        if found.status is Status.EXPIRED and not found.attempts and _late(found) < 0:
            yield f"{task}: it expired {-_late(found):.1f} s before its time"


def _late(submission: Submission) -> float:
    """Returns by how many seconds a submission that has expired has ended after its time."""
    if submission.start_by is None or submission.finished_at is None:
        return float("-inf")
    return (submission.finished_at - submission.start_by).total_seconds()


def dead_letters_say_so(story: Story) -> Iterator[str]:
    """The dead-letter queue holds exactly what its records say, and what nobody could read."""
    letters = story.last(Kind.FINAL).get("dead_letters", [])
    found = {letter["submission"] for letter in letters if letter["submission"]}
    wanted = {submission.submission for _, submission in story.submissions() if submission.dead_lettered}
    for name in wanted - found:
        yield f"{story.task_of.get(name)}: its record says that it is in the dead-letter queue, and it is not"
    for name in found - wanted:
        yield f"{story.task_of.get(name)}: it is in the dead-letter queue, and its record does not say so"
    unreadable = {letter["body"] for letter in letters if not letter["submission"]}
    sent = {event.facts["unreadable"] for event in story.of(Kind.FOREIGN) if "unreadable" in event.facts}
    for body in sent ^ unreadable:
        yield f"unreadable message {body[:80]!r} was {'lost' if body in sent else 'never sent'}"


def the_innocent_are_tried_again(story: Story) -> Iterator[str]:
    """A sound task fails only when it has used up its attempts, never at once by another one's trouble.

    Except for one that waited behind a run that never ends, and that an agent which died has left: SD Web UI does not
    say whose a run is, so it ends with the time of the next one. And except for one that no agent came for in time.
    """
    trial = story.last(Kind.TRIAL)
    guilty = set(trial.get("guilty", []))
    left = sum(
        event.facts["outcome"] in {"interrupted", "crashed"} and event.facts["request"].partition("/")[0] in guilty
        for event in story.of(Kind.RUN)
    )
    for task, submission in story.submissions():
        if submission.status is not Status.FAILED or submission.dead_lettered or _withdrawn(submission):
            continue
        error = submission.error.code if submission.error else "?"
        if _request_of(submission).partition("/")[0] in guilty:
            continue
        if error == "timed_out" and left:
            left -= 1
        elif _expired(submission) and _waited(submission) + _CLOCK >= float(trial.get("expiry", "inf")):
            continue
        else:
            yield f"{task}: a sound task failed for good ({error})"


def _waited(submission: Submission) -> float:
    """Returns seconds from a submission to its end."""
    if submission.finished_at is None:
        return 0.0
    return (submission.finished_at - submission.submitted_at).total_seconds()


def _request_of(submission: Submission) -> str:
    context = submission.context
    return str(context.get("request", "")) if isinstance(context, dict) else ""


def records_go_forward(story: Story) -> Iterator[str]:
    """No record goes backwards, no two writers win, and what has ended never changes."""
    yield from story.forks
    for task, versions in story.versions.items():
        for before, after in pairwise(versions):
            yield from _steps_back(task, before.record, after.record)
        yield from _comes_back(task, versions)
        if versions and task in story.final and versions[-1].record != story.final[task]:
            yield f"{task}: the record in the bucket is not the last that was written"
    for task in story.versions.keys() - story.final.keys():
        yield f"{task}: its record is gone"


def _steps_back(task: str, before: Record, after: Record) -> Iterator[str]:
    for old in (before.current, *before.earlier.values()):
        new = after.find(old.submission)
        if new is None:
            if not old.status.terminal:
                yield f"{task}: submission {old.submission} was forgotten while it was {old.status}"
        elif old.status.terminal:
            if not _same(new, old):
                yield f"{task}: it had ended as {old.status}, and was changed to {new.status}"
            elif old.callback_sent and not new.callback_sent:
                yield f"{task}: its callback was noted, and then forgotten"
        elif RANK[new.status] < RANK[old.status]:
            yield f"{task}: went back from {old.status} to {new.status}"
        elif new.attempts < old.attempts or new.excused < old.excused:
            yield f"{task}: its attempts went back"


def _comes_back(task: str, versions: Sequence[Write]) -> Iterator[str]:
    """A submission that had ended and was forgotten is what it was when it is in the record again."""
    ended: dict[str, Submission] = {}
    before: Record | None = None
    for write in versions:
        for submission in (write.record.current, *write.record.earlier.values()):
            name = submission.submission
            if (
                before is not None
                and before.find(name) is None
                and name in ended
                and not _same(submission, ended[name])
            ):
                yield f"{task}: {name} had ended as {ended[name].status}, was forgotten, and is {submission.status} now"
            if submission.status.terminal:
                ended[name] = submission
        before = write.record


def _same(submission: Submission, other: Submission) -> bool:
    """Tells whether two are one, but for what is noted after the end."""
    return submission.model_copy(update={"callback_sent": other.callback_sent}) == other


def clients_see_no_step_back(story: Story) -> Iterator[str]:
    """What the API shows of one submission never goes backwards."""
    seen: dict[str, int] = {}
    for event in story.of(Kind.SEEN):
        name, status = event.facts["submission"], Status(event.facts["status"])
        if RANK[status] < seen.get(name, 0):
            yield f"{event.facts['task']}: the API showed it as {status} after it had shown more"
        seen[name] = max(seen.get(name, 0), RANK[status])


def answers_are_about_their_task(story: Story) -> Iterator[str]:
    """What a client reads or cancels is its own tenant's, whoever else has given the same id."""
    for event in [*story.of(Kind.SEEN), *story.of(Kind.CANCEL)]:
        task, name = event.facts["task"], event.facts.get("submission", "")
        if name and story.task_of.get(name, task) != task:
            yield f"{task}: the answer was about {name}, which is {story.task_of[name]}'s"


def messages_name_their_tenant(story: Story) -> Iterator[str]:
    """Whatever sends a task's message, and however often, tells the queue whose it is."""
    for event in story.of(Kind.UNGROUPED):
        yield f"{event.facts['who']} sent {event.facts['submission']} with the message group {event.facts['group']!r}"


def callbacks_follow_results(story: Story) -> Iterator[str]:
    """No callback before its task's end is in the record and its results are in the bucket."""
    stored: dict[str, float] = {}
    for event in story.of(Kind.OBJECT):
        if not event.facts["deleted"]:
            stored.setdefault(event.facts["key"], event.facts["asked"])
    for event in story.of(Kind.PUBLISHED):
        name, asked = event.facts["submission"], event.facts["asked"]
        end = story.ends.get(name)
        if end is None or end.asked > asked:
            yield f"{story.task_of.get(name, name)}: its callback was published before its end was written"
        for key in _named(event.facts["body"]):
            if stored.get(key, asked + 1) > asked:
                yield f"{story.task_of.get(name, name)}: its callback was published before {key} was stored"


def deletions_follow_ends(story: Story) -> Iterator[str]:
    """No message is deleted before its task's end is written, or before it lies in another queue."""
    received = {event.facts["receipt"]: event.facts for event in story.of(Kind.RECEIVED)}
    resent: dict[str, float] = {}
    for event in story.of(Kind.RESENT):
        resent.setdefault(event.facts["submission"], event.facts["asked"])
    buried = [event.facts["asked"] for event in story.of(Kind.BURIED) if not event.facts["submission"]]
    for event in story.of(Kind.DELETED):
        message, asked = received.get(event.facts["receipt"]), event.facts["asked"]
        if message is None:
            yield f"{event.facts['who']} deleted a message that nobody has received"
        elif message["task"]:
            end = story.ends.get(message["submission"])
            sent_on = message["who"] == "api" and resent.get(message["submission"], asked + 1) <= asked
            if not sent_on and (end is None or end.asked > asked):
                yield f"{message['task']}: its message was deleted before its end was written"
        elif not any(at <= asked for at in buried):
            yield f"{event.facts['who']} deleted an unreadable message that is not in the dead-letter queue"


def results_are_stored(story: Story) -> Iterator[str]:
    """What records name lies in the bucket as its finisher left it; nothing else does."""
    final: dict[str, str] = story.last(Kind.FINAL).get("objects", {})
    puts: dict[str, list[Event]] = defaultdict(list)
    for event in story.of(Kind.OBJECT):
        if not event.facts["deleted"]:
            puts[event.facts["key"]].append(event)
    named: set[str] = set()
    for task, submission in story.submissions():
        end = story.ends.get(submission.submission)
        for key in _named({"image_url": submission.image_url, "output_url": submission.output_url}):
            named.add(key)
            if key not in final:
                yield f"{task}: {key} is named by its record, and is not stored"
                continue
            own = [event for event in puts[key] if end is not None and event.facts["who"] == end.who]
            if own and own[-1].facts["etag"] != final[key]:
                yield f"{task}: {key} was overwritten after its agent had stored it"
    left = {key for key in final if key.startswith(PAYLOADS) and _is_left_to_lifecycle(story, key)}
    for key in final.keys() - named - left:
        writers = ", ".join(f"{event.facts['who']} at {event.at:.2f}" for event in puts[key])
        what = "payload that nobody needs any more" if key.startswith(PAYLOADS) else "object that no record names"
        yield f"orphan: {key} is an {what} (put by {writers or 'nobody'})".replace("an payload", "a payload")


def _is_left_to_lifecycle(story: Story, key: str) -> bool:
    """Tells whether a payload is left to the bucket's lifecycle.

    That of a dead letter, one that no agent came for in time (its message may still come), or one whose client was
    refused.
    """
    name = key.rpartition("/")[2].removesuffix(".json")
    submission = story.find(name)
    if submission is not None and (submission.dead_lettered or _expired(submission)):
        return True
    if any(name in story.submission_of.get(request, ()) for request in _accepted(story)):
        return False
    return submission is None or submission.status is Status.QUEUED or _withdrawn(submission)


def _accepted(story: Story) -> Iterator[str]:
    return (event.facts["request"] for event in story.of(Kind.REQUEST) if event.facts["outcome"] == "accepted")


def everything_recovers(story: Story) -> Iterator[str]:
    """The queue drains, nothing dies that was not killed, and nothing writes a stack trace."""
    for event in story.of(Kind.ENDED):
        if not event.facts["expected"]:
            yield f"{event.facts['name']} ended by itself with status {event.facts['status']}"
    for event in story.of(Kind.TRACE):
        yield f"{event.facts['name']} wrote a stack trace: …{event.facts['text'][-300:]}"
    settled = story.last(Kind.SETTLED)
    if settled and not settled["recovered"]:
        yield f"it did not recover: {settled['reason']}"


CHECKS: Final[tuple[Callable[[Story], Iterable[str]], ...]] = (
    accepted_tasks_end,
    ends_are_called_back,
    refusals_hold,
    what_is_over_does_not_run,
    times_to_begin_hold,
    dead_letters_say_so,
    the_innocent_are_tried_again,
    records_go_forward,
    clients_see_no_step_back,
    answers_are_about_their_task,
    messages_name_their_tenant,
    callbacks_follow_results,
    deletions_follow_ends,
    results_are_stored,
    generation_is_repeated_only_for_cause,
    everything_recovers,
)

FINISHED: Final = frozenset(
    {accepted_tasks_end, ends_are_called_back, dead_letters_say_so, results_are_stored, everything_recovers}
)
"""Checks that say nothing about a trial that was broken off before its end."""


def check(events: Sequence[Event]) -> Verdict:
    """Returns what a history comes to: every violation, and the figures of the summary."""
    story = tell(events)
    broken_off = bool(story.last(Kind.SETTLED).get("interrupted", False)) and not story.last(Kind.SETTLED)["recovered"]
    violations = [
        f"{function.__name__}: {line}"
        for function in CHECKS
        if not (broken_off and function in FINISHED)
        for line in function(story)
    ]
    return Verdict(violations, _figures(story))


def _figures(story: Story) -> dict[str, int | float]:
    outcomes = Counter(event.facts["outcome"] for event in story.of(Kind.REQUEST))
    ends = Counter(submission.status for _, submission in story.submissions() if not _withdrawn(submission))
    runs: Counter[str] = Counter(event.facts["outcome"] for event in story.of(Kind.RUN))
    succeeded: Counter[str] = Counter(
        event.facts["request"] for event in story.of(Kind.RUN) if event.facts["outcome"] == "succeeded"
    )
    heard: Counter[str] = Counter(event.facts["submission"] for event in story.of(Kind.HEARD))
    receives = Counter(event.facts["message"] for event in story.of(Kind.RECEIVED))
    return {
        "requests accepted": outcomes["accepted"],
        "requests refused or unanswered": outcomes["refused"] + outcomes["unknown"],
        "published by others": sum("request" in event.facts for event in story.of(Kind.FOREIGN)),
        "messages delivered twice by order": sum(1 for _ in story.of(Kind.DUPLICATE)),
        **{f"ended as {status}": ends[status] for status in Status if status.terminal},
        "withdrawn (their client was told so)": sum(_withdrawn(item) for _, item in story.submissions()),
        "left queued (their client was told so)": sum(item.status is Status.QUEUED for _, item in story.submissions()),
        "in the dead-letter queue": len(story.last(Kind.FINAL).get("dead_letters", [])),
        "callbacks heard": heard.total(),
        "callbacks heard more than once": sum(number - 1 for number in heard.values()),
        "versions of records": sum(len(versions) for versions in story.versions.values()),
        "receives": receives.total(),
        "generations": runs.total(),
        "generations completed": runs["succeeded"],
        "generations too many": sum(number - 1 for number in succeeded.values()),
        "sent again, since SNS could not deliver it": sum(1 for _ in story.of(Kind.RESENT)),
        "ended since no agent came in time": sum(
            _expired(item) and item.status is Status.FAILED for _, item in story.submissions()
        ),
        "seconds from start_by to such an end, at most": round(
            max((_late(item) for _, item in story.submissions() if item.status is Status.EXPIRED), default=0.0), 1
        ),
        "callbacks shortened": sum("truncated" in event.facts["body"] for event in story.of(Kind.HEARD)),
        "faults": sum("skipped" not in event.facts for event in story.of(Kind.FAULT)),
        "seconds to recover": float(story.last(Kind.SETTLED).get("seconds", 0)),
    }


def _withdrawn(submission: Submission | None) -> bool:
    return submission is not None and submission.error is not None and submission.error.code == "not_accepted"


def _expired(submission: Submission) -> bool:
    return submission.error is not None and submission.error.code == "expired"


def _named(body: dict[str, Any]) -> list[str]:
    return [split_s3_url(url)[1] for url in [*body["image_url"], body["output_url"]] if url]
