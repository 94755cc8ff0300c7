"""The registry of runtime types: one entry for each server that an agent can drive.

How to add a type, and which files come with it, is in docs/runtimes.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from contract.task import RuntimeType, TaskType


@dataclass(frozen=True)
class RuntimeKind:
    """What is known of a type of server before one is met."""

    title: str
    """What messages call it."""
    port: int
    """Where it listens unless it is told another."""
    ready_path: str
    """A cheap GET that answers 200 once it can take work."""
    task_types: frozenset[TaskType]
    """What may be asked of it."""
    queues: bool
    """Whether several runs may be at it together, each of which can be stopped alone (`SLOTS`)."""
    tells_memory: bool
    """Whether it tells how much memory it takes (`RECYCLE_ABOVE_RSS_BYTES`)."""
    built_here: bool = False
    """Whether the project has an image of it."""
    stand_in: str = "fake_runtime"
    """The module that plays it where there is none."""


KINDS: Final[dict[RuntimeType, RuntimeKind]] = {
    RuntimeType.SDWEBUI: RuntimeKind(
        title="SD Web UI",
        port=7860,
        ready_path="/sdapi/v1/options",
        task_types=frozenset(TaskType) - {TaskType.PIPELINE},
        queues=True,
        tells_memory=True,
        built_here=True,
    ),
    RuntimeType.COMFYUI: RuntimeKind(
        title="ComfyUI",
        port=8188,
        ready_path="/system_stats",
        task_types=frozenset({TaskType.PIPELINE}),
        queues=True,
        tells_memory=True,
        built_here=True,
    ),
    RuntimeType.INVOKEAI: RuntimeKind(
        title="InvokeAI",
        port=9090,
        ready_path="/api/v1/app/version",
        task_types=frozenset({TaskType.PIPELINE}),
        queues=True,
        tells_memory=False,
    ),
    RuntimeType.HTTP: RuntimeKind(
        title="a runtime of one's own",
        port=8000,
        ready_path="/health",
        task_types=frozenset(TaskType),
        queues=False,
        tells_memory=True,
        stand_in="local.example_runtime",
    ),
    RuntimeType.OPENAI: RuntimeKind(
        title="a server of OpenAI's image API",
        port=8000,
        ready_path="/health",
        task_types=frozenset({TaskType.TEXT_TO_IMAGE, TaskType.IMAGE_TO_IMAGE, TaskType.PIPELINE}),
        queues=False,
        tells_memory=False,
    ),
}


def listed(types: frozenset[RuntimeType] | None = None) -> str:
    """Returns the names of types, as sentences list them: all, or these."""
    names = [kind.value for kind in KINDS if types is None or kind in types]
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)
