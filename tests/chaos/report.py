"""Says for people how a trial went."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tests.chaos.checker import Verdict
from tests.chaos.plan import Plan

_SHOWN: Final = 30
"""Violations that are printed; the history has them all."""


def summary(verdict: Verdict) -> str:
    """Returns a table of the figures, the violations, and the judgement in a line."""
    width = max(len(name) for name in verdict.figures)
    lines = ["", *(f"  {name:<{width}}  {value:>8g}" for name, value in verdict.figures.items()), ""]
    lines += [f"  VIOLATION {line}" for line in verdict.violations[:_SHOWN]]
    if len(verdict.violations) > _SHOWN:
        lines.append(f"  … and {len(verdict.violations) - _SHOWN} more")
    lines.append(
        f"chaos: {len(verdict.violations)} violations" if verdict.violations else "chaos: clean, nothing was lost"
    )
    return "\n".join(lines)


def repeat_command(plan: Plan, *, seconds: float, without: Iterable[str] = ()) -> str:
    """Returns the command that runs a trial with the same plan."""
    options = [f"--runtime {runtime.type}" for runtime in plan.runtimes] + [f"--without {kind}" for kind in without]
    return (
        f"uvx nox -s chaos -- --seed {plan.seed} --tasks {len(plan.tasks)} --agents {plan.agents} "
        f"--seconds {seconds:g} --window {plan.window:g} --slots {plan.slots} {' '.join(options)}"
    )
