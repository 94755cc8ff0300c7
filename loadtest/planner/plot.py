"""Draws a plan over time, or a sweep as waiting against cost, as PNG or SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("Agg")  # no display is needed

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.planner.report import Plan
from loadtest.planner.sweep import pareto_front

_BLUE: Final = "#2563eb"
_GREY: Final = "#94a3b8"
_RED: Final = "#dc2626"
_GREEN: Final = "#059669"


def draw_plan(plan: Plan, path: Path) -> None:
    """Draws queue, replicas and nodes, and GPU use on one time axis; the name's end says the format."""
    samples = plan.outcome.samples
    unit, name = _unit(plan.outcome.ended)
    at = [sample.at / unit for sample in samples]
    figure = Figure(figsize=(9, 6), layout="constrained")
    queue, nodes, use = figure.subplots(3, 1, sharex=True)
    queue.fill_between(at, [sample.waiting for sample in samples], step="post", color=_BLUE, alpha=0.35, linewidth=0)
    queue.set_ylabel("tasks waiting")
    nodes.step(at, [sample.nodes for sample in samples], where="post", color=_GREY, label="nodes paid for")
    nodes.step(at, [sample.replicas for sample in samples], where="post", color=_RED, label="replicas wanted")
    nodes.step(at, [sample.ready for sample in samples], where="post", color=_GREEN, label="replicas ready")
    nodes.legend(loc="upper left", fontsize="small", ncols=3, frameon=False)
    nodes.set_ylabel("count")
    nodes.set_ylim(top=1.25 * max(1, *(sample.nodes for sample in samples)))
    use.fill_between(
        at,
        [100 * sample.gpu_use for sample in samples],
        step="pre",
        color=_GREEN,
        alpha=0.35,
        linewidth=0,
    )
    use.set_ylabel("GPUs busy, %")
    use.set_ylim(0, 105)
    use.set_xlabel(name)
    waits = plan.outcome.waits
    queue.set_title(
        f"{plan.runtime}: wait p50 {waits.at(50):.1f} s, p95 {waits.at(95):.1f} s; "
        f"GPUs {plan.outcome.utilisation:.0%} busy; ${plan.bill.total:,.0f} a month",
        fontsize="medium",
    )
    for axes in (queue, nodes, use):
        _tidy(axes)
    _save(figure, path)


def draw_sweep(name: str, plans: Sequence[tuple[int, Plan]], path: Path) -> None:
    """Draws p95 against the monthly bill, the Pareto front connected."""
    points = [plan.point for _, plan in plans]
    front = sorted((points[index] for index in pareto_front(points)), key=lambda point: point[0])
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([wait for wait, _ in front], [cost for _, cost in front], color=_RED, label="nothing is better in both")
    axes.scatter([wait for wait, _ in points], [cost for _, cost in points], color=_BLUE, s=22, zorder=3)
    for (value, _), point in zip(plans, points, strict=True):
        axes.annotate(str(value), point, textcoords="offset points", xytext=(5, 4), fontsize="small")
    axes.set_xlabel("p95 of the wait, seconds")
    axes.set_ylabel("USD a month")
    axes.set_title(f"{name}: waiting against cost", fontsize="medium")
    axes.legend(frameon=False, fontsize="small")
    _tidy(axes)
    _save(figure, path)


def _unit(seconds: float) -> tuple[float, str]:
    if seconds > 3 * 86_400:
        return 86_400.0, "days"
    return (3600.0, "hours") if seconds > 3 * 3600 else (60.0, "minutes")


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    with mpl.rc_context({"svg.hashsalt": "darkroom", "svg.fonttype": "none"}):  # the same plan draws the same file
        figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)
