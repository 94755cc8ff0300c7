"""What a list is asked for is refused in words when it is too much or makes no sense."""

from __future__ import annotations

import pytest

from api.errors import InvalidRequestError
from api.lists import MOST, USUAL, parse_query


@pytest.mark.parametrize("text", ["0", "201", "-1", "1.5", "1e2", "x", "٣", "0000000010000", "000000001" + "9" * 5000])
def test_a_page_has_a_limit_however_it_is_written(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"from 1 to {MOST}"):
        parse_query({"limit": text})


@pytest.mark.parametrize(("text", "limit"), [("", USUAL), ("1", 1), ("007", 7), (str(MOST), MOST)])
def test_a_page_is_as_long_as_is_asked_for(text: str, limit: int) -> None:
    assert parse_query({"limit": text}).limit == limit
