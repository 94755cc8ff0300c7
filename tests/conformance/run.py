"""Asks a server case by case, and says what came of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from typing import Any

import aiohttp

from tests.conformance.case import Case, DeviationError, Mark, NotApplicableError


class Verdict(StrEnum):
    """What came of a case."""

    CONFORMANT = "conformant"
    DEVIATING = "deviating"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Outcome:
    """What came of one case.

    Attributes:
        case: the case.
        verdict: what came of it.
        seconds: how long it took.
        why: of a deviation or of a case that could not be asked: what does not hold, or what is missing.
        expected: of a deviation: what should have come.
        got: of a deviation: what came.
    """

    case: Case
    verdict: Verdict
    seconds: float = 0.0
    why: str = ""
    expected: Any = None
    got: Any = None


def choose(cases: Sequence[Case], *, only: Collection[str] = (), without: Collection[Mark] = ()) -> list[Case]:
    """Returns the cases whose names fit one of the patterns (all without any) and that bear none of the marks."""
    return [
        case
        for case in cases
        if (not only or any(fnmatch(case.name, pattern) for pattern in only)) and not case.marks & set(without)
    ]


async def ask(case: Case, client: Any, *, within: float) -> Outcome:
    """Asks a server one case.

    Args:
        case: what is stated.
        client: of the case's type.
        within: seconds; more is a deviation.
    """
    begun = time.monotonic()

    def outcome(verdict: Verdict, why: str = "", expected: Any = None, got: Any = None) -> Outcome:
        return Outcome(case, verdict, time.monotonic() - begun, why, expected, got)

    try:
        async with asyncio.timeout(within):
            await case.check(client)
    except NotApplicableError as error:
        return outcome(Verdict.NOT_APPLICABLE, str(error))
    except DeviationError as error:
        return outcome(Verdict.DEVIATING, error.what, error.expected, error.got)
    except TimeoutError:
        return outcome(Verdict.DEVIATING, "it takes too long", f"an end within {within:.0f} s", "none")
    except (aiohttp.ClientError, OSError) as error:
        return outcome(Verdict.DEVIATING, "the connection fails", "an answer", f"{type(error).__name__}: {error}")
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # An answer of a shape in which the check does not find its way.
        return outcome(Verdict.DEVIATING, "the answer cannot be read", case.statement, repr(error))
    return outcome(Verdict.CONFORMANT)


async def ask_all(
    cases: Sequence[Case], client: Any, *, within: float, say: Callable[[Outcome], None]
) -> list[Outcome]:
    """Asks a server case by case; tells each outcome as it comes."""
    outcomes = []
    for case in cases:
        outcomes.append(await ask(case, client, within=within))
        say(outcomes[-1])
    return outcomes
