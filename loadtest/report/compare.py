"""Two runs in one page: their figures side by side, their curves on one axis."""

from __future__ import annotations

from pathlib import Path

from loadtest.checks import judge
from loadtest.report.figures import Figures, figures_of
from loadtest.report.plots import chart_svg, seconds
from loadtest.report.series import comparison_of
from loadtest.report.write import environment, moment
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
            rows=rows(figures_of(first), figures_of(second)),
            chart=chart_svg(comparison_of(first, second, ("A", "B"))),
        )
    )
    path.write_text(page, encoding="utf-8")


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
        ("GPU idle", first.gpu_idle, second.gpu_idle, "{:.0%}"),
        ("USD for a million images", _dollars(first), _dollars(second), "{:,.2f}"),
    ]
    found += [
        (name, form.format(before), form.format(after), _change(before, after))
        for name, before, after, form in measured
        if before is not None and after is not None
    ]
    return found


def _dollars(figures: Figures) -> float | None:
    return None if figures.cost is None else float(figures.cost.gpu + figures.cost.requests)


def _change(before: float, after: float) -> str:
    return f"{(after - before) / before:+.0%}" if before else ""
