"""The outcome of one check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Whether a check holds, and why."""

    name: str
    passed: bool
    says: str
