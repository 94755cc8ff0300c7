"""Faults that can be ordered by name: what can be ordered, in which words, and which one strikes when."""

import difflib
import re
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from itertools import count
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


class FaultName(StrEnum):
    """The faults, each a complaint that is known from real servers."""

    SLOW_START = "slow-start"
    DEAD_START = "dead-start"
    HANG = "hang"
    EXIT_IN_THE_MIDDLE = "exit-in-the-middle"
    ERROR = "error"
    OUT_OF_MEMORY = "out-of-memory"
    INTERRUPT_IGNORED = "interrupt-ignored"
    CACHED_AND_EMPTY = "cached-and-empty"
    DROP_WEBSOCKET = "drop-websocket"
    GARBAGE = "garbage"
    ZERO_IMAGES = "zero-images"
    SLOW_RESPONSE = "slow-response"


START_FAULTS = frozenset({FaultName.SLOW_START, FaultName.DEAD_START})
COMFYUI_FAULTS = frozenset({FaultName.CACHED_AND_EMPTY, FaultName.DROP_WEBSOCKET})
# In ComfyUI and InvokeAI a job and the answers about it are apart; these strike an answer unless told otherwise.
_ANSWER_FAULTS = frozenset({FaultName.GARBAGE, FaultName.SLOW_RESPONSE})

Place = Literal["submit", "run", "history", "view"]


class FaultError(ValueError):
    """A fault was ordered that does not exist or does not fit; the text says what would."""


def _endless(value: object) -> object:
    return None if value in {"forever", "none", "0", 0} else value


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, [str(name) for name in known], n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


class Fault(BaseModel):
    """One ordered fault."""

    model_config = ConfigDict(extra="forbid")

    name: FaultName = Field(description="Which fault")
    count: Annotated[int | None, BeforeValidator(_endless)] = Field(
        1, ge=1, description="How many tasks it strikes; 0, null or 'forever': all"
    )
    after: float = Field(0, ge=0, description="Seconds from the order until it may strike")
    seconds: float | None = Field(
        None, ge=0, description="How long: slow-start and slow-response 5 unless given, hang without end unless given"
    )
    status: int | None = Field(
        None, ge=0, le=599, description="error: HTTP status (500); dead-start and exit-in-the-middle: exit status (1)"
    )
    body: Literal["json", "text"] = Field("json", description="error: shape of the body")
    message: str | None = Field(None, description="error, out-of-memory, dead-start: the words")
    at: Place | None = Field(
        None, description="ComfyUI, InvokeAI: where error (run), garbage and slow-response (submit) strike"
    )
    match: str | None = Field(None, description="Strikes only tasks whose prompt contains this text")

    @property
    def place(self) -> Place:
        """Where it strikes in ComfyUI and InvokeAI."""
        return self.at or ("submit" if self.name in _ANSWER_FAULTS else "run")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``NAME[:key=value,...]``, as in ``error:status=503,body=text``.

        Raises:
            FaultError: the name or an option is unknown, or a value is wrong.
        """
        name, _, rest = text.strip().partition(":")
        fields: dict[str, str] = {}
        for option in filter(None, (part.strip() for part in rest.split(","))):
            key, equals, value = option.partition("=")
            if not equals:
                raise FaultError(f"fault {text!r}: {option!r} should be key=value")
            fields[key.strip()] = value.strip()
        return cls.from_fields({**fields, "name": name.strip()})

    @classmethod
    def from_fields(cls, fields: object) -> Self:
        """Checks an order that came as JSON.

        Raises:
            FaultError: says in one line what is wrong and what is allowed.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "fault"
            more = _meant(str(first.get("input")), FaultName) if where == "name" else ""
            if first["type"] == "extra_forbidden":
                more = f"; options: {', '.join(cls.model_fields)}{_meant(where, cls.model_fields)}"
            raise FaultError(f"{where}: {first['msg']}{more}") from error


class _Ordered:
    """A fault in the book: when it was ordered, and how often it may still strike."""

    def __init__(self, identifier: int, fault: Fault, now: float) -> None:
        self.identifier = identifier
        self.fault = fault
        self.due = now + fault.after
        self.left = fault.count
        self.struck = 0

    def describe(self) -> dict[str, object]:
        return {
            "id": self.identifier,
            **self.fault.model_dump(mode="json", exclude_none=True),
            "left": self.left,
            "struck": self.struck,
        }


_MARKER = re.compile(r"\[\[fault:([^\[\]]+)\]\]")


def check_order(fault: Fault, runtime_type: str, *, at_start: bool = False) -> None:
    """Refuses a fault that could never strike.

    Raises:
        FaultError: says why.
    """
    if fault.name in COMFYUI_FAULTS and runtime_type not in {"comfyui", ""}:
        raise FaultError(f"name: {fault.name} is a fault of ComfyUI; this runtime plays {runtime_type}")
    if fault.name in START_FAULTS and not at_start:
        raise FaultError(f"name: {fault.name} must be ordered at the start, with --fault {fault.name}")


def markers(text: str, runtime_type: str = "") -> list[Fault]:
    """Finds the faults that a prompt orders for itself: ``a dog [[fault:hang]]``.

    Raises:
        FaultError: one of them does not exist, or could never strike here; whoever tests with it would wait in vain.
    """
    found: list[Fault] = []
    for marker in _MARKER.findall(text):
        try:
            fault = Fault.parse(marker)
            check_order(fault, runtime_type)
        except FaultError as error:
            raise FaultError(f"[[fault:{marker[:80]}]] in the prompt: {error}") from error
        found.append(fault)
    return found


Struck = dict[FaultName, Fault]


class FaultBook:
    """The faults on order; a task takes what is due when it arrives."""

    def __init__(
        self, faults: Iterable[Fault] = (), clock: Callable[[], float] = time.monotonic, *, runtime_type: str = ""
    ) -> None:
        self._clock = clock
        self._runtime_type = runtime_type
        self._identifiers = count(1)
        self._ordered: list[_Ordered] = []
        for fault in faults:
            self.order(fault)

    def order(self, fault: Fault) -> dict[str, object]:
        """Adds a fault and describes it."""
        ordered = _Ordered(next(self._identifiers), fault, self._clock())
        self._ordered.append(ordered)
        return ordered.describe()

    def describe(self) -> list[dict[str, object]]:
        """Every fault ordered, spent ones too."""
        return [ordered.describe() for ordered in self._ordered]

    def clear(self, identifier: int | None = None) -> int:
        """Removes one fault or all; returns how many went."""
        before = len(self._ordered)
        self._ordered = [o for o in self._ordered if identifier is not None and o.identifier != identifier]
        return before - len(self._ordered)

    def take(self, text: str, at: Place | None = None) -> Struck:
        """Takes each fault that strikes now, at most one of a name; those in the text itself come first.

        Args:
            text: the prompt of the task.
            at: only faults of this place; all if not given.

        Raises:
            FaultError: the text orders a fault that could never strike.
        """
        struck: Struck = {}
        for fault in markers(text, self._runtime_type):
            if at in {None, fault.place}:
                struck.setdefault(fault.name, fault)
        now = self._clock()
        for ordered in self._ordered:
            fault = ordered.fault
            if (
                ordered.left == 0
                or now < ordered.due
                or fault.name in struck
                or fault.name in START_FAULTS
                or at not in {None, fault.place}
                or (fault.match is not None and fault.match not in text)
            ):
                continue
            ordered.struck += 1
            if ordered.left is not None:
                ordered.left -= 1
            struck[fault.name] = fault
        return struck
