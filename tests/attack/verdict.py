"""Judges an attack by what was answered, how soon a probe was, and what memory stays. Pure."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

STALL: Final = 0.2
"""Seconds that a probe may take longer than the machine's own noise at that moment; so many times more on a machine
that others use, as work takes longer there than its processor time."""

STAYS: Final = 64 * 1024 * 1024
PEAK: Final = 150 * 1024 * 1024
"""Bytes that a process may take more than at rest: after the attack, and during a single body."""

CROWD: Final = 300 * 1024 * 1024
"""The same while eight of the largest bodies come at once: 512 MiB with the 150 MiB or so at rest."""

_NEAR: Final = 0.5
"""Seconds around a slow probe in which the control's slowest answer, and how slow work was, count as noise."""


@dataclass
class Tried:
    """What was tried in one way, and what came of it."""

    group: str
    what: str
    statuses: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How often."""
        return self.statuses.total()


@dataclass(frozen=True)
class Phase:
    """A span of an attack, in which so many bytes more than at rest are allowed."""

    name: str
    begin: float
    end: float
    room: int = PEAK


@dataclass(frozen=True)
class Pulse:
    """What `tests.attack.pulse` has measured."""

    probes: dict[str, list[tuple[float, float, bool]]]
    """For each server: when it was asked, the seconds until its answer, and whether that was 200."""
    memory: dict[str, list[tuple[float, int]]]
    """For each process: when, and its resident bytes."""
    slowdown: list[tuple[float, float]] = field(default_factory=list)
    """When, and how many times longer than its processor time some work took."""

    @classmethod
    def read(cls, lines: Iterable[str]) -> Pulse:
        """Reads its output; an unfinished last line is left out."""
        probes: dict[str, list[tuple[float, float, bool]]] = defaultdict(list)
        memory: dict[str, list[tuple[float, int]]] = defaultdict(list)
        slowdown = []
        for line in lines:
            try:
                item: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            if "slowdown" in item:
                slowdown.append((item["at"], item["slowdown"]))
            elif "rss" in item:
                memory[item["name"]].append((item["at"], item["rss"]))
            elif "seconds" in item:
                probes[item["name"]].append((item["at"], item["seconds"], item["good"]))
        return cls(dict(probes), dict(memory), slowdown)

    def worst(self, name: str, begin: float, end: float) -> float:
        """Returns the longest time of an answer that was awaited in a span."""
        return max((took for at, took, _ in self.probes.get(name, []) if at <= end and at + took >= begin), default=0)

    def slower(self, begin: float, end: float) -> float:
        """Returns how many times longer work took in a span, on average."""
        found = [times for at, times in self.slowdown if begin <= at <= end]
        return sum(found) / len(found) if found else 1

    def resident(self, name: str, begin: float, end: float) -> list[int]:
        """Returns a process's resident bytes in a span."""
        return [size for at, size in self.memory.get(name, []) if begin <= at <= end]


def judge(
    tried: Sequence[Tried], pulse: Pulse, phases: Sequence[Phase], *, rest: Phase, after: Phase, hits: int
) -> list[str]:
    """Returns everything that did not hold, one sentence each.

    Args:
        tried: what was sent.
        pulse: what was measured meanwhile.
        phases: the spans of the attack.
        rest: the span before it.
        after: a quiet span after it.
        hits: requests that reached the server that nothing may reach.
    """
    wrong = [f"{item.group}: {item.what}: {problem}" for item in tried for problem in item.problems]
    for item in tried:
        wrong += [
            f"{item.group}: {item.what}: answered {status} ({times} times)"
            for status, times in item.statuses.items()
            if status >= 500 and status != 503
        ]
    if hits:
        wrong.append(f"links: the server that nothing may reach was reached {hits} times")
    wrong += _stalls(pulse, phases)
    for name in pulse.memory:
        usual = max(pulse.resident(name, rest.begin, rest.end), default=0)
        for phase in phases:
            peak = max(pulse.resident(name, phase.begin, phase.end), default=0)
            if peak - usual > phase.room:
                wrong.append(f"{phase.name}: {name} took {mib(peak - usual)} more than at rest")
        stays = min(pulse.resident(name, after.begin, after.end), default=0) - usual
        if stays > STAYS:
            wrong.append(f"{name} keeps {mib(stays)} more than before the attack")
    return wrong


def _stalls(pulse: Pulse, phases: Sequence[Phase]) -> list[str]:
    wrong = []
    for phase in phases:
        worst = 0.0
        for at, took, _ in pulse.probes.get("api", []):
            if phase.begin <= at <= phase.end:
                span = at - _NEAR, at + took + _NEAR
                worst = max(worst, (took - pulse.worst("control", *span)) / pulse.slower(*span))
        if worst > STALL:
            wrong.append(f"{phase.name}: /healthz took {worst * 1000:.0f} ms longer than the machine's own noise")
        bad = sum(not good for at, _, good in pulse.probes.get("api", []) if phase.begin <= at <= phase.end)
        if bad:
            wrong.append(f"{phase.name}: /healthz did not answer 200 {bad} times")
    return wrong


def mib(size: int) -> str:
    """Returns bytes as people read them."""
    return f"{size / 1024 / 1024:.0f} MiB"
