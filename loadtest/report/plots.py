"""Draws charts with matplotlib: as SVG whose colours the page chooses, and as PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from loadtest.report.figures import SHOWN, PhaseFigures
from loadtest.report.series import Chart, Curve, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH: Final = 11.0
"""Inches; with text of 10 points it reads well on a page of 1100 pixels."""


@dataclass(frozen=True)
class Theme:
    """The colours of a chart."""

    ink: str
    quiet: str
    grid: str
    series: tuple[str, ...]


_PAPER: Final = Theme("#1f2328", "#59636e", "#d8dee4", ("#0969da", "#bf5700", "#1a7f37", "#8250df"))
"""For PNG files, on white."""

_PAGE: Final = Theme("#010101", "#020202", "#030303", ("#040401", "#040402", "#040403", "#040404"))
"""Placeholders, which `svg_of` replaces by the page's own variables: it is light or dark as its reader likes."""

_COLOURS: Final = dict(zip(SHOWN, _PAGE.series, strict=True))
"""Of the phases that the page shows in a task's bar, too."""

_VARIABLES: Final = {
    _PAGE.ink: "var(--ink)",
    _PAGE.quiet: "var(--quiet)",
    _PAGE.grid: "var(--grid)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(_PAGE.series, 1)},
}

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "darkroom",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}


def chart_svg(chart: Chart) -> str:
    """Returns the plots of a chart as an SVG element."""
    with mpl.rc_context(_STYLE):
        return svg_of(_draw(chart, _PAGE))


def chart_png(chart: Chart, path: Path, title: str) -> None:
    """Writes the plots of a chart as a PNG file."""
    with mpl.rc_context(_STYLE):
        figure = _draw(chart, _PAPER)
        figure.suptitle(title, x=0.01, ha="left", color=_PAPER.ink, fontsize=12)
        figure.savefig(path, format="png", dpi=130, facecolor="white")


def waterfall_svg(figures: Sequence[PhaseFigures]) -> str:
    """Returns the phases of the mean task as bars, one below the other, each where it begins."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 0.42 * len(figures) + 0.7), layout="constrained")
        axes = figure.add_subplot()
        last = max((item.begins + item.mean for item in figures), default=1.0) or 1.0
        for row, item in enumerate(figures):
            begin = max(0.0, item.begins)
            axes.barh(
                row, max(item.mean, last / 600), left=begin, height=0.55, color=_COLOURS.get(item.phase, _PAGE.quiet)
            )
            near_end = begin + item.mean > 0.55 * last
            text = f"{seconds(item.mean)}  (p50 {seconds(item.p50)}, p95 {seconds(item.p95)})"
            at = begin - 0.008 * last if near_end and begin > 0.35 * last else begin + item.mean + 0.008 * last
            side = "right" if at < begin else "left"
            axes.text(at, row, text, va="center", ha=side, color=_PAGE.quiet, fontsize=9)
        axes.set_yticks(range(len(figures)), [str(item.phase) for item in figures])
        axes.invert_yaxis()
        axes.set_xlim(0, last * 1.32)
        _dress(axes, _PAGE)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
        return svg_of(figure)


def svg_of(figure: Figure) -> str:
    """Returns a figure as an SVG element that takes its width and colours from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, variable)
    # Matplotlib writes a size in points; the view box alone lets it fill the page.
    return re.sub(r'(<svg[^>]*?) width="[^"]*"| height="[^"]*pt"', r"\1", text, count=2)


def seconds(value: float) -> str:
    """Returns a duration as people write it."""
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 300:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def _draw(chart: Chart, theme: Theme) -> Figure:
    count = len(chart.panels)
    figure = Figure(figsize=(_WIDTH, 1.75 * count + 0.6), layout="constrained")
    every = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(every, chart.panels, strict=True):
        _panel(axes, panel, theme)
        for at, _ in chart.marks:
            axes.axvline(at, color=theme.quiet, linewidth=0.8, linestyle=(0, (2, 3)))
    if count:
        axes = every[0]
        for number, (at, label) in enumerate(chart.marks):
            axes.annotate(
                label,
                (at, 1),
                xycoords=("data", "axes fraction"),
                xytext=(-4 if at > 0.85 * chart.end else 4, -3 - 12 * number),
                textcoords="offset points",
                ha="right" if at > 0.85 * chart.end else "left",
                color=theme.quiet,
                fontsize=9,
                va="top",
            )
        every[-1].set_xlim(0, chart.end)
        every[-1].xaxis.set_major_locator(MaxNLocator(10, steps=[1, 1.5, 3, 6, 10]))
        every[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
        every[-1].set_xlabel("since the load began", color=theme.quiet, fontsize=9)
    return figure


def clock(value: float) -> str:
    """Returns seconds as minutes and seconds, or as hours and minutes."""
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600} h {whole % 3600 // 60:02d}"


def _panel(axes: Axes, panel: Panel, theme: Theme) -> None:
    for curve, colour in zip(panel.curves, theme.series, strict=False):
        _curve(axes, curve, colour)
    axes.set_title(panel.title, loc="left", color=theme.ink, fontsize=10)
    axes.set_ylim(0, panel.top)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _dress(axes, theme)
    if len(panel.curves) > 1:
        legend = axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=len(panel.curves), frameon=False, borderaxespad=0.1
        )
        for text in legend.get_texts():
            text.set_color(theme.ink)
            text.set_fontsize(9)


def _curve(axes: Axes, curve: Curve, colour: str) -> None:
    style = (0, (4, 2)) if curve.dashed else "-"
    if curve.stepped:
        axes.step(curve.x, curve.y, where="post", color=colour, linewidth=1.6, linestyle=style, label=curve.label)
    else:
        axes.plot(curve.x, curve.y, color=colour, linewidth=1.6, linestyle=style, label=curve.label)
    if curve.filled:
        axes.fill_between(curve.x, curve.y, color=colour, alpha=0.15, linewidth=0)


def _dress(axes: Axes, theme: Theme) -> None:
    axes.grid(visible=True, color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.quiet, labelsize=9, length=0)
    axes.spines["bottom"].set_color(theme.grid)
