"""Shows figures as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from tests.bench.contenders import OURS, is_ours
from tests.bench.scenarios import Goal, Scenario
from tests.bench.statistics import medians

type Figures = dict[str, float | None]


@dataclass(frozen=True)
class Row:
    """One agent in one scenario: the medians over its repetitions, or why there is none."""

    scenario: Scenario
    contender: str
    repetitions: tuple[Figures, ...] = ()
    error: str = ""

    @property
    def figures(self) -> Figures:
        """The median of each figure."""
        return medians(self.repetitions)


@dataclass(frozen=True)
class ApiRow:
    """The API, or LocalStack itself, under some number of connections."""

    target: str
    connections: int
    figures: Figures


@dataclass(frozen=True)
class ListRow:
    """One kind of page of `GET /v1/tasks`."""

    what: str
    tasks: int
    """Of the first page."""
    first: float
    """Seconds of the first page, about which the process remembers nothing."""
    median: float
    worst: float


@dataclass(frozen=True)
class StackRow:
    """What `up` of one checkout takes with one emulator: the medians over its repetitions."""

    checkout: str
    emulator: str
    repetitions: tuple[Figures, ...]

    @property
    def figures(self) -> Figures:
        """The median of each figure."""
        return medians(self.repetitions)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _milliseconds(value: float) -> str:
    return f"{1000 * value:.1f} ms" if abs(value) < 0.1 else f"{1000 * value:.0f} ms"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


_COLUMNS: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "rate": ("tasks/s", _number),
    "idle": ("GPU idle", _percent),
    "gap": ("gap (median)", _milliseconds),
    "cpu": ("CPU/task", _milliseconds),
    "rss": ("peak RSS", _megabytes),
    "p50": ("p50", _milliseconds),
    "p95": ("p95", _milliseconds),
    "p99": ("p99", _milliseconds),
}
_FURTHER: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "slowdown": ("slowdown", _percent),
    "growth": ("memory growth", _megabytes),
}
_SHOWN: Final = _COLUMNS | _FURTHER
_API_COLUMNS: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "rate": ("requests/s", _number),
    "p50": ("p50", _milliseconds),
    "p99": ("p99", _milliseconds),
    "cpu": ("CPU/request", lambda value: f"{1000 * value:.2f} ms"),
    "rss": ("RSS", _megabytes),
    "per_core": ("per core-second", _number),
    "errors": ("errors", lambda value: f"{value:.0f}"),
}


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """Returns how many times ours theirs is; None when that says nothing."""
    if ours is None or theirs is None or ours <= 0:
        return None
    return theirs / ours


def verdict(goal: Goal, figures: Figures) -> tuple[str, bool | None]:
    """Returns a goal in words with its value, and whether it is met (None: there is no value)."""
    title, show = _SHOWN[goal.figure]
    sign = "≥" if goal.at_least else "≤"
    value = figures.get(goal.figure)
    if value is None:
        return f"{title} {sign} {show(goal.bound)}: not measured", None
    return f"{title} {sign} {show(goal.bound)}: {show(value)}", goal.met(value)


def scenario_table(rows: Sequence[Row]) -> Table:
    """Returns the table of the agents: under each other agent's figures, how many times ours they are."""
    table = Table(title="Agents (medians; p50 … p99: receipt to deletion without the run)", title_justify="left")
    table.add_column("scenario")
    table.add_column("agent")
    for title, _ in _COLUMNS.values():
        table.add_column(title, justify="right")
    table.add_column("goals")
    last = ""
    for row in rows:
        if row.scenario.key != last and last:
            table.add_section()
        name = f"{row.scenario.key}: {row.scenario.title}" if row.scenario.key != last else ""
        last = row.scenario.key
        if row.error:
            table.add_row(name, row.contender, *[""] * len(_COLUMNS), Text(row.error[:200], style="red"))
            continue
        figures = row.figures
        cells = [_cell(figures, key) for key in _COLUMNS]
        table.add_row(name, row.contender, *cells, _goals(row) if is_ours(row.contender) else "")
        ours = next((item for item in rows if item.scenario == row.scenario and item.contender == OURS), None)
        if ours is not None and ours is not row and not ours.error:
            compared = ours.figures
            ratios = [ratio(compared.get(key), figures.get(key)) for key in _COLUMNS]
            table.add_row("", Text("  ÷ ours", style="dim"), *[_ratio_cell(value) for value in ratios], "")
    return table


def list_table(rows: Sequence[ListRow], goal: float) -> Table:
    """Returns the table of the lists: the first page, and those after it."""
    title = f"GET /v1/tasks, 50 a page (goal: {_milliseconds(goal)})"
    table = Table(title=title, title_justify="left")
    table.add_column("page")
    for column in ("tasks", "first", "median", "worst", "goal"):
        table.add_column(column, justify="right")
    for row in rows:
        seconds = [_milliseconds(value) for value in (row.first, row.median, row.worst)]
        met = row.worst <= goal
        table.add_row(row.what, str(row.tasks), *seconds, Text("met" if met else "MISSED", style="" if met else "red"))
    return table


def stack_table(rows: Sequence[StackRow], tasks: int) -> Table:
    """Returns the table of stacks."""
    table = Table(title=f"uvx nox -s up, and {tasks} tasks at latency 0 on 32 connections", title_justify="left")
    columns = ("checkout", "emulator", "ready", "memory at rest", "of it the emulator", "accepted", "through")
    for number, title in enumerate(columns):
        table.add_column(title, justify="left" if number < 2 else "right")
    for row in rows:
        found = row.figures
        table.add_row(
            row.checkout,
            row.emulator,
            f"{found['ready']:.1f} s",
            _megabytes(found["memory"] or 0),
            _megabytes(found["emulator"] or 0),
            f"{found['accepted']:.0f}/s",
            f"{found['tasks']:.0f}/s",
        )
    return table


def api_table(rows: Sequence[ApiRow], goal: float) -> Table:
    """Returns the table of the API."""
    table = Table(title=f"POST /v1alpha2 (goal: {goal:,.0f} requests/s with AWS stubbed)", title_justify="left")
    table.add_column("target")
    table.add_column("connections", justify="right")
    for title, _ in _API_COLUMNS.values():
        table.add_column(title, justify="right")
    for row in rows:
        cells = []
        for key, (_, show) in _API_COLUMNS.items():
            value = row.figures.get(key)
            cells.append("–" if value is None else show(value))
        table.add_row(row.target, str(row.connections), *cells)
    return table


def document(rows: Sequence[Row], api: Sequence[ApiRow], surroundings: dict[str, Any]) -> dict[str, Any]:
    """Returns everything as a JSON document; times in seconds, sizes in bytes, fractions from 0 to 1."""
    return {
        "surroundings": surroundings,
        "agents": [
            {
                "scenario": row.scenario.key,
                "title": row.scenario.title,
                "agent": row.contender,
                "figures": row.figures,
                "repetitions": list(row.repetitions),
                "goals": _goal_documents(row) if is_ours(row.contender) else [],
                "error": row.error or None,
            }
            for row in rows
        ],
        "api": [{"target": row.target, "connections": row.connections, "figures": row.figures} for row in api],
    }


def _goal_documents(row: Row) -> list[dict[str, Any]]:
    figures = row.figures
    return [
        {
            "figure": goal.figure,
            "bound": goal.bound,
            "at_least": goal.at_least,
            "met": verdict(goal, figures)[1],
        }
        for goal in row.scenario.goals
    ]


def _cell(figures: Figures, key: str) -> str:
    value = figures.get(key)
    return "–" if value is None else _COLUMNS[key][1](value)


def _ratio_cell(value: float | None) -> Text:
    return Text("–" if value is None else f"×{value:.1f}", style="dim")


def _goals(row: Row) -> Text:
    figures = row.figures
    text = Text()
    for goal in row.scenario.goals:
        words, met = verdict(goal, figures)
        text.append(f"{'✓' if met else '✗'} {words}\n", style="green" if met else "red")
    if figures.get("failed"):
        text.append(f"{figures['failed']:.0f} runs failed", style="red")
    text.rstrip()
    return text
