"""Runs made by hand, so that each check and figure can be asked about one thing."""

from __future__ import annotations

from contract.record import Status
from contract.scaling.settings import Scaling
from loadtest.run import Facts, Run
from loadtest.samples import Depth, Replicas, Sample
from loadtest.scenario import Checks, Scenario
from loadtest.shapes import Steady
from loadtest.target import Kind
from loadtest.tasks import Answer, Heard, Seen, Task

BEGAN = 1_800_000_000.0
RUNTIME = "sdruntime"


def task(number: int, *, due: float = 0.0, seconds: float | None = 2.0, **fields: object) -> Task:
    """Returns a task that was due after so many seconds, was accepted at once, and took so many; None: no end."""
    due_at = BEGAN + due
    heard = [] if seconds is None else [Heard(at=due_at + seconds, result=True, digest="same")]
    made = Task(
        id=f"lt-{number}",
        runtime=RUNTIME,
        tasktype="text-to-image",
        due_at=due_at,
        sent_at=due_at,
        answered_at=due_at + 0.1,
        status=200,
        answer=Answer.ACCEPTED,
        heard=heard,
        seen=None if seconds is None else seen(due_at, seconds),
    )
    return made.model_copy(update=fields)


def seen(due_at: float, seconds: float, **fields: object) -> Seen:
    """Returns the record of a task that waited for half of its time, and was generated in the rest."""
    made = Seen(
        status=Status.SUCCEEDED,
        submitted_at=due_at + 0.05,
        started_at=due_at + seconds / 2,
        finished_at=due_at + seconds,
        agent="agent",
        attempts=1,
        inputs=0.0,
        generation=seconds / 2,
        upload=0.0,
        images=1,
    )
    return made.model_copy(update=fields)


def sample(at: float, messages: int = 0, ready: int = 1, *, starting: int = 0, busy: float | None = None) -> Sample:
    """Returns a sample so many seconds after the begin."""
    return Sample(
        at=BEGAN + at,
        queues={RUNTIME: Depth(visible=messages)},
        replicas={RUNTIME: Replicas(ready=ready, starting=starting)},
        busy={} if busy is None else {f"{RUNTIME}/one": busy},
    )


def run(checks: Checks, tasks: list[Task] | None = None, samples: list[Sample] | None = None, **facts: object) -> Run:
    """Returns a run of ten seconds of load, with a scaler from one to four replicas at five messages each."""
    last = max([BEGAN + 60, *(item.at for item in samples or [])])
    made = Facts(
        name="test",
        target=Kind.LOCAL,
        api="http://127.0.0.1:8000",
        scenario=Scenario(shape=Steady(kind="steady", rate=1, duration=10), checks=checks),
        scaling={RUNTIME: Scaling(queue_length=5, min_replica_count=1, max_replica_count=4)},
        began_at=BEGAN,
        length=10,
        ended_at=last,
    )
    return Run(made.model_copy(update=facts), tasks or [], samples or [])
