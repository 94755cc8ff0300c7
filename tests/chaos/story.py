"""A history of a chaos trial, sorted by what it is about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from contract.record import Record, Submission
from tests.chaos.history import Event, Kind


@dataclass(frozen=True)
class Write:
    """One version of a record."""

    at: float
    asked: float
    who: str
    record: Record
    replaced: str
    etag: str


@dataclass
class Story:
    """A history, sorted by what it is about."""

    events: Sequence[Event]
    versions: dict[str, list[Write]] = field(default_factory=lambda: defaultdict(list))
    """Of each task's record, in the order in which they replaced each other."""
    forks: list[str] = field(default_factory=list)
    final: dict[str, Record] = field(default_factory=dict)
    """The record of each task at last. A task is known by what its record's key says: tenant and id."""
    ends: dict[str, Write] = field(default_factory=dict)
    """For each submission the version in which it had ended first."""
    task_of: dict[str, str] = field(default_factory=dict)
    submission_of: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The submissions that a request has made."""
    forgotten: dict[str, Submission] = field(default_factory=dict)
    """Submissions for which their record has no place any more, as they stood before."""

    def of(self, kind: Kind) -> Iterator[Event]:
        """Yields the events of a kind, in order."""
        return (event for event in self.events if event.kind is kind)

    def last(self, kind: Kind) -> dict[str, Any]:
        """Returns the facts of the last event of a kind; empty when there is none."""
        facts: dict[str, Any] = {}
        for event in self.of(kind):
            facts = event.facts
        return facts

    def submissions(self) -> Iterator[tuple[str, Submission]]:
        """Yields task and each submission as it stood at last, those too that their record has forgotten."""
        for task, record in self.final.items():
            for submission in (record.current, *record.earlier.values()):
                yield task, submission
        for name, submission in self.forgotten.items():
            yield self.task_of[name], submission

    def find(self, submission: str) -> Submission | None:
        """Returns a submission as it stood at last."""
        record = self.final.get(self.task_of.get(submission, ""))
        found = record.find(submission) if record else None
        return found or self.forgotten.get(submission)


def tell(events: Sequence[Event]) -> Story:
    """Returns the story of a history."""
    story = Story(events)
    writes: dict[str, list[Write]] = defaultdict(list)
    for event in story.of(Kind.WRITE):
        facts = event.facts
        record = Record.model_validate(facts["record"])
        writes[facts["task"]].append(
            Write(event.at, facts["asked"], facts["who"], record, facts["replaced"], facts["etag"])
        )
    for task, found in writes.items():
        story.versions[task], forks = _chain(task, found)
        story.forks += forks
    for text in story.last(Kind.FINAL).get("records", []):
        record = Record.model_validate(text)
        story.final[f"{record.tenant}/{record.id}" if record.tenant else record.id] = record
    for task, versions in story.versions.items():
        for write in versions:
            for submission in (write.record.current, *write.record.earlier.values()):
                name = submission.submission
                story.task_of[name] = task
                if isinstance(submission.context, dict) and "request" in submission.context:
                    story.submission_of[str(submission.context["request"])].add(name)
                if submission.status.terminal:
                    story.ends.setdefault(name, write)
                if task in story.final and story.final[task].find(name) is None:
                    story.forgotten[name] = submission
    return story


def _chain(task: str, writes: list[Write]) -> tuple[list[Write], list[str]]:
    """Returns the versions in the order in which they replaced each other, and what does not fit into one chain."""
    by_replaced: dict[str, list[Write]] = defaultdict(list)
    for write in writes:
        by_replaced[write.replaced].append(write)
    wrong = [
        f"{task}: {len(same)} writes have replaced the same version of the record"
        for same in by_replaced.values()
        if len(same) > 1
    ]
    chain: list[Write] = []
    at = ""
    while following := by_replaced.pop(at, []):
        chain.append(following[0])
        at = following[0].etag
    left = sum(len(same) for same in by_replaced.values())
    if left and not wrong:
        wrong.append(f"{task}: {left} writes of the record follow upon no known version")
    return chain, wrong


# Every check yields one line for each violation. -----------------------------------------------------------------
