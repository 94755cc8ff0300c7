"""The shapes of a load: how its level rises and falls over time, as pure functions.

A level is arrivals per second for an open load, and users at once for a closed one.
"""

from __future__ import annotations

import csv
import math
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from loadtest.errors import LoadtestError

Level = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=31 * 24 * 3600, allow_inf_nan=False)]

_DAY: Final = 24.0
"""Hours that the day curve shows, however long it takes."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    duration: Seconds

    def level(self, at: float) -> float:
        """Returns the level `at` so many seconds after the start; only asked from 0 up to the duration."""
        raise NotImplementedError

    @property
    def peak(self) -> float:
        """The highest level there is; none is above it."""
        raise NotImplementedError


class Steady(_Shape):
    """One level all the time."""

    kind: Literal["steady"]
    rate: Level

    def level(self, at: float) -> float:
        """Returns the level."""
        return self.rate

    @property
    def peak(self) -> float:
        """The level."""
        return self.rate


class Soak(Steady):
    """One level for hours: what leaks, fills up or expires shows only then."""

    kind: Literal["soak"]  # type: ignore[assignment]
    duration: Seconds = 4 * 3600.0


class Ramp(_Shape):
    """From one level to another in a straight line."""

    kind: Literal["ramp"]
    start: Level = 0.0
    end: Level

    def level(self, at: float) -> float:
        """Returns the level."""
        return self.start + (self.end - self.start) * min(1.0, at / self.duration)

    @property
    def peak(self) -> float:
        """The level at the higher end."""
        return max(self.start, self.end)


class Spike(_Shape):
    """A low level, and a high one for a while in between."""

    kind: Literal["spike"]
    base: Level
    high: Level
    begin: Annotated[float, Field(ge=0, description="seconds after which the spike begins")]
    width: Annotated[Seconds, Field(description="seconds that it lasts")]

    def level(self, at: float) -> float:
        """Returns the level."""
        return self.high if self.begin <= at < self.begin + self.width else self.base

    @property
    def peak(self) -> float:
        """The higher of the two levels."""
        return max(self.base, self.high)


class Step(_Shape):
    """A staircase: a level more after each so many seconds."""

    kind: Literal["step"]
    start: Level
    rise: Level
    every: Seconds

    def level(self, at: float) -> float:
        """Returns the level."""
        return self.start + self.rise * math.floor(min(at, self.duration) / self.every)

    @property
    def peak(self) -> float:
        """The level of the last step."""
        return self.level(self.duration)


class Day(_Shape):
    """A day's rise and fall in `duration` seconds: a cosine from the night's level to the one at the busiest hour."""

    kind: Literal["day"]
    night: Level
    noon: Level
    busiest: Annotated[float, Field(ge=0, lt=_DAY, description="hour of the highest level")] = 14.0

    def level(self, at: float) -> float:
        """Returns the level."""
        hour = at / self.duration * _DAY
        share = (1 + math.cos((hour - self.busiest) / _DAY * 2 * math.pi)) / 2
        return self.night + (self.noon - self.night) * share

    @property
    def peak(self) -> float:
        """The level at the busiest hour."""
        return max(self.night, self.noon)


class Replay(BaseModel):
    """The very arrivals of a CSV file; open loads only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["replay"]
    file: Path
    speed: Annotated[float, Field(gt=0, description="2 plays an hour in half an hour")] = 1.0


Shape = Annotated[Steady | Soak | Ramp | Spike | Step | Day | Replay, Field(discriminator="kind")]


class Arrival(BaseModel):
    """One line of a replay: when (seconds from the first), and what, where the file says it."""

    model_config = ConfigDict(frozen=True)

    at: float
    runtime: str = ""
    tasktype: str = ""
    tenant: str = ""
    """The name of the API key that sends it; empty: the only one."""


class ReplayError(LoadtestError):
    """A CSV file that cannot be replayed; one line that names the file, the line and the way out."""


def read_arrivals(path: Path, speed: float = 1.0) -> list[Arrival]:
    """Returns the arrivals of a CSV file, in order, the first one at 0.

    The file has a column `time` (seconds, or ISO 8601) and, if it likes, `runtime`, `tasktype` and `tenant`.

    Raises:
        ReplayError: it cannot be read, has no such column, no line, or a time that is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReplayError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return parse_arrivals(text, str(path), speed)


def parse_arrivals(text: str, name: str, speed: float = 1.0) -> list[Arrival]:
    """Returns the arrivals of a CSV file's text; see `read_arrivals`.

    Raises:
        ReplayError: as there.
    """
    reader = csv.DictReader(text.splitlines())
    if "time" not in (reader.fieldnames or []):
        raise ReplayError(f"{name}: needs a header line with a column 'time'; found {reader.fieldnames}")
    found = []
    for row in reader:
        try:
            moment = _moment(row["time"] or "")
        except ValueError:
            raise ReplayError(
                f"{name}, line {reader.line_num}: {row['time']!r} is neither seconds nor a time in ISO 8601"
            ) from None
        runtime, kind, tenant = ((row.get(name) or "").strip() for name in ("runtime", "tasktype", "tenant"))
        found.append((moment, runtime, kind, tenant))
    if not found:
        raise ReplayError(f"{name}: holds no arrival")
    found.sort(key=lambda item: item[0])
    first = found[0][0]
    return [
        Arrival(at=(at - first) / speed, runtime=runtime, tasktype=kind, tenant=tenant)
        for at, runtime, kind, tenant in found
    ]


def _moment(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return datetime.fromisoformat(text.strip()).timestamp()
    if not math.isfinite(value):
        raise ValueError(text)
    return value
