"""Writes the report of a run: one HTML page that needs no network, a PNG, and all figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from loadtest.phases import Phase
from loadtest.report.figures import SHOWN, Figures, figures_of
from loadtest.report.plots import chart_png, chart_svg, clock, seconds, waterfall_svg
from loadtest.report.series import chart_of
from loadtest.run import Run
from loadtest.verdict import Outcome

_HERE: Final = Path(__file__).parent
_SLOWEST: Final = 10


@dataclass(frozen=True)
class SlowTask:
    """One of the slowest tasks, with the shares (percent) of its time that phases took."""

    id: str
    runtime: str
    due: str
    end_to_end: str
    attempts: int
    bars: list[tuple[int, float, float, str]]
    """Number of the series, begin and width in percent, and what it says."""


def write_report(folder: Path, run: Run, outcomes: Sequence[Outcome]) -> None:
    """Writes `report.html`, `report.png` and `report.json` into a run's folder."""
    figures = figures_of(run)
    chart = chart_of(run)
    title = f"{run.facts.name} on {run.facts.target}"
    page = (
        environment()
        .get_template("page.html")
        .render(
            title=title,
            run=run,
            began=moment(run.facts.began_at),
            outcomes=sorted(outcomes, key=lambda outcome: outcome.passed),
            passed=all(outcome.passed for outcome in outcomes),
            failed=sum(not outcome.passed for outcome in outcomes),
            figures=figures,
            tiles=tiles(figures),
            chart=chart_svg(chart),
            waterfall=waterfall_svg(figures.phases),
            slowest=slowest(run),
            settings=json.dumps(settings_of(run), indent=2, ensure_ascii=False),
        )
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    chart_png(chart, folder / "report.png", f"{title}, {moment(run.facts.began_at)}")
    document = {
        "facts": json.loads(run.facts.model_dump_json()),
        "passed": all(outcome.passed for outcome in outcomes),
        "checks": [vars(outcome) for outcome in outcomes],
        "figures": figures.as_json(),
    }
    (folder / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def environment() -> Environment:
    """Returns the templates, with everything escaped that is not a plot of ours."""
    made = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.filters["seconds"] = seconds
    return made


def tiles(figures: Figures) -> list[tuple[str, str, str]]:
    """Returns the figures of the page's head: value, name, and a remark."""
    counts, whole = figures.counts, figures.phase(Phase.END_TO_END)
    found = [(f"{counts['ended']:,}", "tasks ended", f"of {counts['accepted']:,} accepted, {counts['lost']:,} lost")]
    if whole is not None:
        found.append((seconds(whole.p95), "p95 end to end", f"half of them within {seconds(whole.p50)}"))
    found.append((f"{figures.ended_per_second:.1f}", "tasks per second", "from the begin to the last callback"))
    if figures.peak_queue is not None:
        after = (
            "never empty" if figures.drained_after is None else f"empty {figures.drained_after:.0f} s after the load"
        )
        found.append((f"{figures.peak_queue:,}", "messages at most", after))
    if figures.peak_replicas is not None:
        found.append((str(figures.peak_replicas), "replicas at most", "ready at once"))
    if figures.gpu_idle is not None:
        found.append((f"{100 * figures.gpu_idle:.0f} %", "GPU idle", f"of {figures.gpu_seconds:,.0f} GPU seconds"))
    return found


def slowest(run: Run) -> list[SlowTask]:
    """Returns the slowest tasks that ended."""
    pairs = [(task, spans) for task, spans in zip(run.tasks, run.spans, strict=True) if Phase.END_TO_END in spans]
    pairs.sort(key=lambda pair: pair[1][Phase.END_TO_END].seconds, reverse=True)
    found = []
    for task, spans in pairs[:_SLOWEST]:
        whole = spans[Phase.END_TO_END]
        scale = 100 / max(whole.seconds, 1e-9)
        bars = [
            (
                number,
                max(0.0, (spans[phase].begin - whole.begin) * scale),
                max(0.4, spans[phase].seconds * scale),
                f"{phase}: {seconds(spans[phase].seconds)}",
            )
            for number, phase in enumerate(SHOWN, 1)
            if phase in spans
        ]
        attempts = task.seen.attempts if task.seen else 0
        due = clock(task.due_at - run.facts.began_at)
        found.append(SlowTask(task.id, task.runtime, due, seconds(whole.seconds), attempts, bars))
    return found


def settings_of(run: Run) -> dict[str, Any]:
    """Returns the scenario and the scaling settings, as JSON can hold them."""
    scaling = {
        name: item.model_dump(mode="json", by_alias=True, exclude={"fallback"})
        for name, item in run.facts.scaling.items()
    }
    return {"scenario": run.facts.scenario.model_dump(mode="json", exclude_none=True), "scaling": scaling}


def moment(at: float) -> str:
    """Returns a time as people write it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
