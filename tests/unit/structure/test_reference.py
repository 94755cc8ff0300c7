"""What the reference guidance tells its users to do has its place in docs/reference.md, and each place exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.structure.test_readme import headings

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference.md"
HEADER = "| the guidance says | here | how, and why |"

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and line != HEADER and not line.startswith("| ---")
]


def test_the_page_covers_all_that_it_is_to_cover() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        *("Plan", "Deploy", "China", "Use", "Remove"),
        "The predecessor's settings",
        "The earlier design with Auto Scaling groups",
        "The earlier design's server parts",
        "The guidance's overview",
    ]
    assert len(ROWS) >= 125
    said = [row[0] for row in ROWS]
    assert len(set(said)) == len(said), "twice"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_each_row_has_a_verdict_and_a_place_that_exists(row: list[str]) -> None:
    _, verdict, how = row
    assert verdict in {"works", "differs", "not"}
    links = re.findall(r"\]\(([^)#]+)#?([^)]*)\)", how)
    assert links
    for link, part in links:
        target = PAGE.parent / link
        assert target.exists(), link
        assert not part or part in headings(target), f"{link}#{part}"
    # What is not the same says why, besides where.
    assert verdict == "works" or len(re.sub(r"\[[^\]]*\]\([^)]*\)", "", how)) > 15
