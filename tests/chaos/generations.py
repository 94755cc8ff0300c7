"""Tells whether what was generated again in a trial had a cause."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.chaos.history import Event, Kind
from tests.chaos.plan import FaultKind
from tests.chaos.story import Story

DISTURBING: Final = frozenset(
    {
        FaultKind.AGENT_KILLED,
        FaultKind.AGENT_STOPPED,
        FaultKind.AGENT_FROZEN,
        FaultKind.RUNTIME_CRASH,
        FaultKind.RUNTIME_HANG,
        FaultKind.RUNTIME_GARBAGE,
        FaultKind.AWS_FROZEN,
        FaultKind.AWS_UNAVAILABLE,
    }
)
"""Faults after which what one agent has generated may be generated again; those of AWS strike each agent."""


def generation_is_repeated_only_for_cause(story: Story) -> Iterator[str]:
    """At most one generation too many for each death, freeze or loss of AWS of an agent, or hang of a runtime.

    With more slots as many as these, and one for each interrupt: SD Web UI's names no run, so the others at the server
    are made again. What an agent that died had waiting at SD Web UI, which lets nobody take a request back, begins when
    its turn comes, however long after.
    """
    trial = story.last(Kind.TRIAL)
    slots = int(trial.get("slots", 1))
    causes = [
        Cause(event.at, float(event.facts["until"]) + float(trial.get("visibility", 0)), _pod(event.facts["target"]))
        for event in story.of(Kind.FAULT)
        if "skipped" not in event.facts and event.facts["fault"] in DISTURBING
    ]
    if slots > 1:
        causes += [
            Cause(float(event.facts["began"]), float(event.facts["ended"]) + _REACHES, _pod(event.facts["who"]))
            for event in story.of(Kind.RUN)
            if event.facts["outcome"] == "interrupted"
        ]
    runs: dict[str, list[Event]] = defaultdict(list)
    for event in story.of(Kind.RUN):
        if event.facts["outcome"] == "succeeded":
            runs[event.facts["request"]].append(event)
    extra = 0
    for request, found in runs.items():
        # A request that was sent again under its idempotency key may have had more than one submission.
        spare = max(0, len(found) - max(1, len(story.submission_of.get(request, ()))))
        extra += spare
        in_order = sorted(found, key=lambda event: float(event.facts["began"]))
        for earlier, later in list(pairwise(in_order))[:spare]:
            pod, began, again = _pod(earlier.facts["who"]), earlier.facts["began"], later.facts["began"]
            lost = any(cause.pod in {pod, ""} and cause.since <= again and cause.until >= began for cause in causes)
            # A second copy of a message may begin; it is stopped when the record refuses it, unless that is kept from
            # its agent.
            struck = _strikes(causes, _pod(later.facts["who"]), again, later.facts["ended"])
            left = slots > 1 and _was_left_behind(story, request, _pod(later.facts["who"]), again)
            if again - began < _TO_STOP and later.facts["ended"] - again < _TO_STOP:
                extra -= 1
            elif not (lost or struck or left):
                yield f"{request} was generated again after {again - began:.1f} s, and nothing had struck pod {pod}"
    allowed = slots * sum(1 if cause.pod else int(trial.get("agents", 1)) for cause in causes)
    if extra > allowed:
        yield f"{extra} generations too many, with {allowed} faults that allow one each"


_TO_STOP: Final = 0.3
"""Seconds that it may take to stop a second copy that begins together with the first: two calls to S3 and one to the
runtime. A shorter run is over by then."""

_REACHES: Final = 2.0
"""Seconds after an interrupted run's end in which the next one begins, and is made again for its sake."""


@dataclass(frozen=True)
class Cause:
    """A fault after which something may be generated again."""

    since: float
    until: float
    """Aftermath included: what could not be renewed has gone to others."""
    pod: str
    """Its number; empty when all were struck."""


def _strikes(causes: Sequence[Cause], pod: str, begin: float, end: float) -> bool:
    """Tells whether a fault strikes a pod, or all of them, between two moments."""
    return any(cause.pod in {pod, ""} and begin <= cause.since <= end for cause in causes)


def _was_left_behind(story: Story, request: str, pod: str, began: float) -> bool:
    """Tells whether an agent of this pod had received the request's task and died before the run began."""
    submissions = story.submission_of.get(request, ())
    receivers = {
        event.facts["who"]
        for event in story.of(Kind.RECEIVED)
        if event.facts.get("submission") in submissions and _pod(event.facts["who"]) == pod
    }
    return any(event.at <= began and event.facts["name"] in receivers for event in story.of(Kind.ENDED))


def _pod(target: str) -> str:
    """Returns the pod's number of `agent-0-3` or `runtime-0`; empty for what all pods share."""
    return target.split("-")[1] if "-" in target else ""
