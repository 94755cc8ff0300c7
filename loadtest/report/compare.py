"""Two runs in one page: their figures side by side, their curves on one axis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loadtest.checks import judge
from loadtest.report.figures import Figures, figures_of
from loadtest.report.plots import chart_svg, seconds
from loadtest.report.series import comparison_of
from loadtest.report.write import environment, moment, settings_of
from loadtest.run import Run

type Row = tuple[str, str, str, str]
"""A figure's name, its two values, and how the second differs."""


def write_comparison(path: Path, first: Run, second: Run) -> None:
    """Writes the page.

    Raises:
        OSError: it cannot be written.
    """
    runs = (first, second)
    page = (
        environment()
        .get_template("comparison.html")
        .render(
            names=[f"{letter}: {run.facts.name} on {run.facts.target}" for letter, run in zip("AB", runs, strict=True)],
            began=[moment(run.facts.began_at) for run in runs],
            outcomes=[judge(run) for run in runs],
            differences=differences(settings_of(first), settings_of(second)),
            rows=rows(figures_of(first), figures_of(second)),
            chart=chart_svg(comparison_of(first, second, ("A", "B"))),
        )
    )
    path.write_text(page, encoding="utf-8")


def differences(first: Any, second: Any, path: str = "") -> list[tuple[str, str, str]]:
    """Returns each setting that is not the same in both: its path, and its two values ("–" where it is not there)."""
    if isinstance(first, dict) and isinstance(second, dict):
        return [
            found
            for key in {**first, **second}
            for found in differences(first.get(key), second.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if first == second else [(path, _value(first), _value(second))]


def _value(setting: Any) -> str:
    return "–" if setting is None else json.dumps(setting, ensure_ascii=False)


def rows(first: Figures, second: Figures) -> list[Row]:
    """Returns the figures that both runs have."""
    found = [
        (name, f"{before:,}", f"{after:,}", _change(before, after))
        for name, before in first.counts.items()
        if (after := second.counts.get(name, 0)) or before
    ]
    for item in first.phases:
        other = second.phase(item.phase)
        if other is not None:
            found += [
                (f"{item.phase}, {name}", seconds(before), seconds(after), _change(before, after))
                for name, before, after in [("p50", item.p50, other.p50), ("p95", item.p95, other.p95)]
            ]
    measured: list[tuple[str, float | None, float | None, str]] = [
        ("tasks per second", first.ended_per_second, second.ended_per_second, "{:.1f}"),
        ("messages at most", first.peak_queue, second.peak_queue, "{:,.0f}"),
        ("replicas at most", first.peak_replicas, second.peak_replicas, "{:.0f}"),
        ("USD for a million images", _dollars(first), _dollars(second), "{:,.2f}"),
    ]
    found += [
        (name, form.format(before), form.format(after), _change(before, after))
        for name, before, after, form in measured
        if before is not None and after is not None
    ]
    if first.gpu_idle is not None and second.gpu_idle is not None:
        idle, other_idle = 100 * first.gpu_idle, 100 * second.gpu_idle
        found.append(("GPU idle", f"{idle:.0f} %", f"{other_idle:.0f} %", f"{other_idle - idle:+.0f} points"))
    return found


def _dollars(figures: Figures) -> float | None:
    return None if figures.cost is None else float(figures.cost.gpu + figures.cost.requests)


def _change(before: float, after: float) -> str:
    return f"{100 * (after - before) / before:+.0f} %" if before and before != after else ""
