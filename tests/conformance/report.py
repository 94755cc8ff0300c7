"""Shows what came of the cases: a table for people, JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

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


def summary(outcomes: Sequence[Outcome], who: str, seconds: float) -> Text:
    """Returns the counts, and the names of what deviates or could not be asked."""
    text = Text(f"\n{who}: {len(outcomes)} cases in {seconds:.0f} s")
    for verdict, number in counts(outcomes).items():
        text.append(f"\n{verdict:14}", _COLORS[verdict])
        names = [outcome.case.name for outcome in outcomes if outcome.verdict is verdict is not Verdict.CONFORMANT]
        text.append(f" {number:4}  {', '.join(names)}".rstrip())
    return text


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
