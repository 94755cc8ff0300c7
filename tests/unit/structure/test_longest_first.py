"""The list of the longest test files names files that there are."""

from __future__ import annotations

from pathlib import Path

from tests.support.longest_first import LONGEST, place_of

ROOT = Path(__file__).parents[3]


def test_each_file_is_there_and_named_once() -> None:
    assert [path for path in LONGEST if not (ROOT / path).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


def test_the_longest_come_first_and_all_others_together() -> None:
    assert [place_of(f"{path}::test_it[a::b]") for path in LONGEST] == list(range(len(LONGEST)))
    assert place_of("tests/unit/structure/test_imports.py::test_it") == len(LONGEST)
