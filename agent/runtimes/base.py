"""What the pipeline asks of a runtime, whichever server stands behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from contract.environment import Lock
from contract.inputs import NO_RULES, InputRules
from contract.task import TaskType


@dataclass(frozen=True)
class Upload:
    """A file that the runtime gets before the run; the content names it already."""

    name: str
    """With its folder, where the server has some."""
    data: bytes


@dataclass(frozen=True)
class Prepared:
    """A task whose inputs are all here, ready to run without another look at the network."""

    task_type: TaskType
    content: dict[str, Any]
    """The request in the runtime's own shape, without links; empty when `body` has it."""
    checkpoint: str | None = None
    """SD Web UI: the checkpoint that the request names."""
    body: bytes = field(default=b"", repr=False)
    """SD Web UI: the request as it is sent. Encoded ahead, since the GPU would wait for it."""
    uploads: list[Upload] = field(default_factory=list)
    """ComfyUI: the inputs that go through `/upload/image`."""


@dataclass(frozen=True)
class Output:
    """One image, animation, video or sound that a run made."""

    data: bytes
    name: str = ""
    """The runtime's own file name, if it has one: a hint only."""


@dataclass(frozen=True)
class Answer:
    """What a run made."""

    outputs: list[Output]
    """In the runtime's order, which is the order of their numbers."""
    raw: bytes
    """The runtime's full answer, JSON."""
    warnings: tuple[str, ...] = ()
    """What is missing though the run succeeded, a sentence each: files that the server names and does not hand out."""

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return len(self.raw) + sum(len(output.data) for output in self.outputs)


class Arriving(Protocol):
    """An answer whose head is here: the server is done with the run, and may get the next one, but the rest is to come.

    Either `read` or `drop` is called.
    """

    async def read(self) -> Answer:
        """Reads the rest.

        Raises:
            TransientError: it does not come in time, breaks off, or makes no sense.
            RuntimeUnavailableError: the server went away.
        """

    def drop(self) -> None:
        """Closes the connection: nobody wants the rest."""


class Runtime(Protocol):
    """One runtime server, driven by this agent alone, one run at a time."""

    async def tell_environment(self) -> Lock:
        """Returns what the server tells of its environment; what it does not tell stays unknown.

        Raises:
            TaskError: it does not answer.
        """

    @property
    def left_running(self) -> bool:
        """Whether the server may still be at a run that was given up: it ignored the interrupt."""

    async def wait_until_ready(self) -> None:
        """Returns once the server answers and has let go of every run that was given up.

        Never gives up itself; can be cancelled.
        """

    async def is_alive(self) -> bool:
        """Tells whether the server answers now."""

    async def prepare(
        self, task_type: TaskType, content: dict[str, Any], *, tenant: str = "", rules: InputRules = NO_RULES
    ) -> Prepared:
        """Fetches the links in a task's content and checks it, without the GPU.

        It works without the server too, but may bring it inputs ahead when it is there.

        Args:
            task_type: what the content asks for.
            content: the task's.
            tenant: whose results links may name; see `InputSource`.
            rules: what the request says of single links.

        Raises:
            PermanentError: the content or one of its links is refused.
            TransientError: a link's host or S3 does not answer properly.
        """

    async def run(self, prepared: Prepared, *, run_id: str, progress: Callable[[float], None]) -> Answer | Arriving:
        """Runs a task; returns as soon as the server may get the next one.

        When cancelled, it interrupts its own job (and no other) before it lets the cancellation through.

        Args:
            prepared: what `prepare` returned.
            run_id: names this run in the runtime's and our logs; unique per run.
            progress: called with 0..1, about once a second, never with less than before.

        Raises:
            PermanentError: the runtime refuses the request.
            TransientError: the runtime failed at it.
            RuntimeUnavailableError: the runtime is not there, or went away in the middle.
        """

    async def resident_bytes(self) -> int | None:
        """Returns how much memory the server's process takes, by its own account; None when it does not say."""

    async def restart(self) -> bool:
        """Asks the server to end or to start itself again, where it has a route for that.

        Returns:
            Whether it took the request; False when it offers no such route, or refuses.
        """

    async def close(self) -> None:
        """Lets go of everything held."""
