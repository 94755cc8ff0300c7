"""Shapes say where an answer does not fit, and let whatever is new pass."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conformance.shapes import ANY, NOTHING, Each, OneOf, Only, describe, mismatch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (ANY, None),
        ({"a": 1}, {"a": 1, "new": 2}),
        (Only({"a": int}), {"a": 1}),
        (NOTHING, {}),
        ([int, str], [1, "x"]),
        (Each(int), []),
        (Each({"a": ANY}, least=1), [{"a": 1, "b": 2}]),
        (OneOf(int, None), None),
        (float, 7),
        (re.compile(r"\d+"), "17"),
    ],
)
def test_what_fits_passes(expected: Any, got: Any) -> None:
    assert mismatch(expected, got) is None


@pytest.mark.parametrize(
    ("expected", "got", "place"),
    [
        ({"a": {"b": [int]}}, {"a": {"b": ["x"]}}, "a.b[0] is 'x', not '<int>'"),
        ({"a": 1}, {}, "it lacks a"),
        (NOTHING, {"a": 1}, "it has a besides"),
        ([1], [1, 2], "it is [1, 2], not [1]"),
        (Each(int, least=1), [], "it is [], not ['<int>', '<…>']"),
        (OneOf(1, 2), 3, "it is 3, not {'<one of>': [1, 2]}"),
        (int, True, "it is True, not '<int>'"),
        (1, True, "it is True, not 1"),
        (True, 1, "it is 1, not True"),
        (re.compile(r"\d+"), "17x", r"it is '17x', not '<\\d+>'"),
        ({"a": 1}, "text", "it is 'text', not {'a': 1, '<…>': '<…>'}"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(expected: Any, got: Any, place: str) -> None:
    assert mismatch(expected, got) == place


@given(JSON)
def test_every_document_fits_itself_and_is_shown(document: Any) -> None:
    assert mismatch(document, document) is None
    assert describe(document) is not None or document is None
