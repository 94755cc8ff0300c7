"""Shows what came of the cases: a table for people, JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from tests.conformance.run import Outcome, Verdict

_COLORS: Final = {Verdict.CONFORMANT: "green", Verdict.DEVIATING: "red", Verdict.NOT_APPLICABLE: "yellow"}
_MOST: Final = 600


def line(outcome: Outcome) -> Text:
    """Returns one case in one line, with both bodies below when it deviates."""
    text = Text.assemble(
        (f"{outcome.verdict:14} ", _COLORS[outcome.verdict]), f"{outcome.case.name}: {outcome.case.statement}"
    )
    if outcome.why:
        text.append(f"\n    {outcome.why}", "dim")
    if outcome.verdict is Verdict.DEVIATING:
        text.append(f"\n    expected {_short(outcome.expected)}\n    got      {_short(outcome.got)}", "dim")
    return text


def counts(outcomes: Sequence[Outcome]) -> dict[Verdict, int]:
    """Returns how many cases came out how."""
    found = Counter(outcome.verdict for outcome in outcomes)
    return {verdict: found[verdict] for verdict in Verdict}


def summary(outcomes: Sequence[Outcome], who: str) -> Table:
    """Returns the counts, and what deviates or could not be asked."""
    table = Table(title=who, title_justify="left", box=None)
    table.add_column("verdict")
    table.add_column("cases", justify="right")
    for verdict, number in counts(outcomes).items():
        table.add_row(Text(verdict, _COLORS[verdict]), str(number))
    return table


def document(outcomes: Sequence[Outcome], **about: Any) -> dict[str, Any]:
    """Returns all of it as JSON."""
    return {
        **about,
        "counts": counts(outcomes),
        "cases": [
            {
                "name": outcome.case.name,
                "statement": outcome.case.statement,
                "marks": sorted(outcome.case.marks),
                "verdict": outcome.verdict,
                "seconds": round(outcome.seconds, 3),
                **({"why": outcome.why} if outcome.why else {}),
                **({"expected": outcome.expected, "got": outcome.got} if outcome.verdict is Verdict.DEVIATING else {}),
            }
            for outcome in outcomes
        ],
    }


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"
