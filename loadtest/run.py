"""One finished load test as it lies in its folder: the facts, every task, every sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from contract.scaling.settings import Scaling
from loadtest.errors import LoadtestError
from loadtest.phases import Clocks, Phase, Span, learnt, phases
from loadtest.samples import Sample, read_samples
from loadtest.scenario import Scenario
from loadtest.target import Kind
from loadtest.tasks import Task

FACTS: Final = "run.json"
TASKS: Final = "tasks.jsonl"
SAMPLES: Final = "samples.jsonl"


class RunError(LoadtestError):
    """A folder that holds no finished load test."""


class Facts(BaseModel):
    """What is known of a run besides its tasks and samples. Times are seconds since the epoch by the test's clock."""

    name: str
    """Of the scenario."""
    target: Kind
    api: str
    scenario: Scenario
    scaling: dict[str, Scaling]
    """By runtime."""
    began_at: float
    length: float
    """Seconds of the load, as it was planned."""
    ended_at: float
    interrupted: bool = False
    kills: list[float] = []
    """When agents were killed on purpose."""
    kills_asked: int = 0


@dataclass(frozen=True)
class Run:
    """A load test, for checks and reports."""

    facts: Facts
    tasks: Sequence[Task]
    samples: Sequence[Sample]

    @property
    def load_end(self) -> float:
        """When the load ended: as planned, or when somebody interrupted it."""
        return min(self.facts.began_at + self.facts.length, self.facts.ended_at)

    @cached_property
    def clocks(self) -> Clocks:
        """What the tasks show about the clocks."""
        return learnt(self.tasks)

    @cached_property
    def spans(self) -> list[dict[Phase, Span]]:
        """The phases of each task, in the order of `tasks`."""
        return [phases(task, self.clocks) for task in self.tasks]

    def seconds(self, phase: Phase) -> list[float]:
        """Returns the seconds of a phase, of every task that has it."""
        return [spans[phase].seconds for spans in self.spans if phase in spans]

    @cached_property
    def drained_at(self) -> float | None:
        """When the last queue was found empty after the load's end, and stayed so; None if it never was seen so."""
        seen = [
            (sample.at, sum(depth.total for depth in sample.queues.values()))
            for sample in self.samples
            if sample.queues
        ]
        if not seen or seen[-1][1] or seen[-1][0] < self.load_end:
            return None
        full = [at for at, messages in seen if messages]
        after = [at for at, _ in seen if not full or at > full[-1]]
        return max(after[0], self.load_end)

    def runtimes(self) -> list[str]:
        """Returns the runtimes that were sent anything."""
        return sorted({task.runtime for task in self.tasks})


def percentile(values: Iterable[float], percent: float) -> float | None:
    """Returns the smallest value that so many percent of all do not exceed (nearest rank); None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def save_run(folder: Path, facts: Facts, tasks: Iterable[Task]) -> None:
    """Writes facts and tasks; the samples are there already."""
    with (folder / TASKS).open("w", encoding="utf-8") as file:
        for task in tasks:
            file.write(task.model_dump_json(exclude_defaults=True) + "\n")
    (folder / FACTS).write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_run(folder: Path) -> Run:
    """Reads a run.

    Raises:
        RunError: the folder holds none.
    """
    try:
        facts = Facts.model_validate_json((folder / FACTS).read_bytes())
        # As bytes: `str.splitlines` would cut a line in two at U+2028 too, which JSON leaves as it is.
        lines = (folder / TASKS).read_bytes().splitlines()
        tasks = [Task.model_validate_json(line) for line in lines]
        samples = read_samples(folder / SAMPLES)
    except OSError as error:
        raise RunError(f"{folder}: holds no finished load test ({error.strerror}: {error.filename})") from error
    except ValidationError as error:
        raise RunError(f"{folder}: was not written by this version: {error.error_count()} fields do not fit") from error
    return Run(facts, tasks, samples)
