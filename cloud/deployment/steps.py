"""The steps of a deployment as data: what each does, and which there are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from cloud.aws import Aws, ToolError, explain
from cloud.reporter import Reporter
from contract.config import Config, ConfigError

if TYPE_CHECKING:
    from cloud.deployment.models import Fetching

OFFLINE: Final = frozenset({"region", "tools", "entrance"})
"""The checks that ask nothing of AWS."""


@dataclass
class Work:
    """What the steps hand to each other."""

    aws: Aws
    config: Config
    """Grows more definite from step to step."""
    report: Reporter
    folder: Path
    """Of the state, the resolved config and the cloud assembly."""
    chosen_bucket: bool = False
    """The model bucket was named, so it must be there already."""
    skip_tools: bool = False
    without_models: bool = False
    """Go on where models are missing."""
    fetch_models: bool = False
    """Fetch those that are missing."""
    fetching: Fetching | None = None
    """What is being fetched beside the steps."""
    without_cache: bool = False
    """Make no snapshot of the images."""
    new_snapshot: bool = False
    """The nodes do not start from the snapshot yet."""
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def config_file(self) -> Path:
        """Where the resolved config is written."""
        return self.folder / "config.yaml"


@dataclass(frozen=True)
class Step:
    """One thing that a deployment needs; to run it again, finished or not, is safe."""

    name: str
    title: str
    plan: Callable[[Work], str]
    """Says what it would do."""
    run: Callable[[Work], None]
    check: bool = False
    """Makes nothing, so that a dry run does it too."""
    minutes: int = 0
    """How long it is expected to take the first time; none has been measured on AWS."""
    after: bool = False
    """Comes after the first images."""


def rehearse(steps: Sequence[Step], work: Work) -> list[str]:
    """Does all that makes nothing, says what the rest would do and how long it takes, and returns what is in its way.

    A check that fails lets the others go on; without valid credentials, none that asks AWS can.
    """
    faults: list[str] = []
    known, total, first = True, 0, 0
    for number, step in enumerate(steps, 1):
        minutes = f" ({step.minutes} min)" if step.minutes else ""
        work.report.say(f"{number}/{len(steps)} {step.title}{minutes}: {step.plan(work)}")
        total += step.minutes
        first += 0 if step.after else step.minutes
        if not step.check or (not known and step.name not in OFFLINE):
            continue
        try:
            step.run(work)
        except (ToolError, ConfigError, BotoCoreError, ClientError) as error:
            known = known and step.name not in {"region", "account"}
            faults.append(str(error) if isinstance(error, (ToolError, ConfigError)) else explain(error))
            work.report.say("  fault: " + faults[-1].replace("\n", "\n  fault: "))
    work.report.say(
        f"first image after about {first} minutes, all done after {total}; a later deployment skips much of it"
    )
    return faults


def carry_out(steps: Sequence[Step], work: Work) -> None:
    """Runs the steps in order, and notes each end in the state file.

    Every step asks AWS what is there already, and does the rest: after a failure the same command goes on where it
    stopped. The state file is for people: it says how far the last run came.

    Raises:
        ToolError: a step failed; the text names it, and how to go on.
    """
    try:
        _carry_out(steps, work)
    finally:
        if work.fetching is not None:
            work.fetching.close()


def _carry_out(steps: Sequence[Step], work: Work) -> None:
    state = State(work.folder / "state.json")
    if (stopped := state.stopped_at) is not None:
        work.report.say(f"an earlier run stopped at {stopped}; what it has finished is found and kept")
    for number, step in enumerate(steps, 1):
        state.note(step.name, finished=False)
        try:
            with work.report.step(f"{number}/{len(steps)} {step.title}"):
                step.run(work)
        except (ToolError, ConfigError, BotoCoreError, ClientError) as error:
            reason = str(error) if isinstance(error, (ToolError, ConfigError)) else explain(error)
            raise ToolError(f"{step.title} failed: {reason}\nrun the same command again to go on from here") from error
        state.note(step.name, finished=True)
    state.end()


class State:
    """How far a deployment came, as a small JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def stopped_at(self) -> str | None:
        """The step at which the last run stopped; None when it came to its end, or there was none."""
        try:
            found: Any = json.loads(self._path.read_text(encoding="utf-8"))
            return None if found["finished"] else str(found["step"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, step: str, *, finished: bool) -> None:
        """Notes that a step has begun, or ended and the next has yet to begin."""
        self._write({"step": step, "step_finished": finished, "finished": False})

    def end(self) -> None:
        """Notes that the deployment is complete."""
        self._write({"step": "", "finished": True})

    def _write(self, document: dict[str, Any]) -> None:
        text = json.dumps(document | {"at": datetime.now(UTC).isoformat()}, indent=2) + "\n"
        draft = self._path.with_name(f"{self._path.name}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            raise ToolError(f"cannot write {self._path}: {error.strerror}") from error
