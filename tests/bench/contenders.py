"""The agents that are compared: ours, the serial floor, and whatever else a command line starts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from contract.task import RuntimeType

OURS: Final = "darkroom"
FLOOR: Final = "serial"


class ContenderError(ValueError):
    """A contender that cannot be used; the text names the option."""


@dataclass(frozen=True)
class Names:
    """What an agent calls the variables that tell it where everything is."""

    queue: str = "SQS_QUEUE_URL"
    runtime: str = "API_BASE_URL"
    topic: str = "SNS_TOPIC_ARN"
    bucket: str = "S3_BUCKET"


@dataclass(frozen=True)
class Contender:
    """One agent."""

    name: str
    command: tuple[str, ...]
    names: Names = Names()
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further variables, such as a timeout."""
    has_records: bool = False
    """Whether the records are there that our API writes."""
    drives: frozenset[RuntimeType] = frozenset(RuntimeType)
    for_gaps: bool = False
    """Whether it is measured only where the GPU takes time: elsewhere it does as ours does."""
    in_envelope: bool = False
    """Whether its messages are wrapped, as SNS does without raw delivery."""

    def environment(self, *, queue: str, runtime: str, topic: str, bucket: str) -> dict[str, str]:
        """Returns the variables that tell it where everything is, under its own names."""
        names = self.names
        return {names.queue: queue, names.runtime: runtime, names.topic: topic, names.bucket: bucket, **self.extra}


def ours() -> Contender:
    """Returns this project's agent."""
    command = (sys.executable, "-m", "tests.bench.as_in_image", "agent")
    return Contender(OURS, command, extra={"HEALTH_PORT": "0"}, has_records=True)


def with_slots(agent: Contender, slots: int) -> Contender:
    """Returns our agent with so many runs at its runtime."""
    extra = {**agent.extra, "SLOTS": str(slots)}
    return replace(agent, name=f"{OURS}, {slots} slots", extra=extra, for_gaps=True)


def is_ours(name: str) -> bool:
    """Tells whether a contender is this project's agent, with whatever settings: the goals are for it."""
    return name == OURS or name.startswith(f"{OURS}, ")


def floor() -> Contender:
    """Returns the bare serial loop."""
    return Contender(FLOOR, (sys.executable, "-m", "tests.bench.serial_peer"), drives=frozenset({RuntimeType.SDWEBUI}))


def other(name: str, command: str, names: Names, extra: Iterable[str], *, in_envelope: bool = False) -> Contender:
    """Returns an agent that a command line starts.

    Args:
        name: what the report calls it.
        command: the line, split as a shell does; it runs in the root of the project.
        names: its variables.
        extra: further ones, each `NAME=VALUE`.
        in_envelope: whether it expects messages in the envelope of SNS.

    Raises:
        ContenderError: the line or a variable cannot be read.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise ContenderError(f"--agent-command cannot be read: {error}") from error
    if not words:
        raise ContenderError("--agent-command is empty")
    if name == FLOOR or is_ours(name):
        raise ContenderError(f"--agent-name: {name!r} is taken; choose another name")
    variables = {}
    for item in extra:
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise ContenderError(f"--env {item!r} is not NAME=VALUE")
        variables[key] = value
    return Contender(name, words, names, variables, in_envelope=in_envelope)
