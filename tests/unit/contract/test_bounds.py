"""A JSON text is bounded by what it would become, not by how it looks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.bounds import MAX_VALUES, ExcessError, check_bounds
from contract.task import UnreadableMessageError, parse_task_message
from tests.unit.api.strategies import JSON_VALUES

TRICKY = st.text(st.sampled_from('[]{},:"\\a😀'), max_size=12)
DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | TRICKY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY, inner, max_size=4),
    max_leaves=20,
)


def depth(document: Any) -> int:
    inner = document.values() if isinstance(document, dict) else document if isinstance(document, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def counted(document: Any) -> int:
    """Commas and opening brackets, that is to say."""
    inner = document.values() if isinstance(document, dict) else document if isinstance(document, list) else None
    return 0 if inner is None else 1 + max(0, len(inner) - 1) + sum(map(counted, inner))


def is_within(text: bytes, **bounds: int) -> bool:
    try:
        check_bounds(text, **bounds)
    except ExcessError:
        return False
    return True


@given(DOCUMENTS | JSON_VALUES, st.booleans(), st.integers(0, 6), st.integers(0, 30))
def test_both_bounds_are_exact_whatever_its_texts_hold(document: Any, escaped: bool, levels: int, values: int) -> None:
    text = json.dumps(document, ensure_ascii=escaped).encode()

    assert is_within(text, depth=levels, values=1000) == (depth(document) <= levels)
    assert is_within(text, depth=1000, values=values) == (counted(document) <= values)


@given(st.binary(max_size=200) | st.text('[]{}",:\\', max_size=80).map(str.encode))
def test_any_bytes_are_within_or_beyond(text: bytes) -> None:
    is_within(text, depth=3, values=10)


@pytest.mark.parametrize("piece", [b"[],", b'{"a":1},', b"1,", b'"","",', b"["], ids=repr)
def test_what_would_take_gigabytes_is_refused(piece: bytes) -> None:
    assert not is_within(b"[" + piece * (5 * 1024 * 1024 // len(piece)))


@pytest.mark.parametrize("text", ["QUJDREVG", "a dog, a [cat], {x}: ", '{"a": [1, 2]}, ', "\\\\\\"], ids=repr)
def test_a_text_may_be_as_long_as_the_body_and_hold_anything(text: str) -> None:
    check_bounds(json.dumps({"content": {"prompt": text * (5 * 1024 * 1024 // len(text))}}).encode())


def test_a_message_of_many_values_or_levels_is_unreadable_and_says_why() -> None:
    for content, reason in (("[" * 200 + "]" * 200, "110 levels"), ("[" + "1," * (MAX_VALUES + 2000) + "1]", "values")):
        with pytest.raises(UnreadableMessageError, match=reason):
            parse_task_message(f'{{"metadata": {{}}, "content": {{"a": {content}}}}}')
