"""A body is a JSON document or a 400 that says where it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.body import check_content_type, parse_json
from api.errors import ApiError
from contract.bounds import MAX_DEPTH
from tests.unit.api.strategies import JSON_VALUES, attempt


@given(JSON_VALUES, st.booleans())
def test_every_json_document_is_read_as_it_was_written(document: Any, escaped: bool) -> None:
    assert parse_json(json.dumps(document, ensure_ascii=escaped).encode()) == document


@given(st.binary(max_size=200) | st.text('[]{}",:0123456789.eE+-\\ untrflasNI', max_size=60).map(str.encode))
def test_any_bytes_are_a_document_or_a_400(body: bytes) -> None:
    outcome = attempt(parse_json, body)

    if isinstance(outcome, ApiError):
        assert (outcome.status, outcome.code) == (400, "invalid_json")
    else:
        json.dumps(outcome, allow_nan=False).encode()


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_has_a_limit_that_is_exact(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    innermost = "" if opening == "[" else "1"

    def nested(levels: int) -> bytes:
        return (opening * levels + innermost + closing * levels).encode()

    parse_json(nested(MAX_DEPTH))
    for levels in (MAX_DEPTH + 1, 1000, 5000):
        with pytest.raises(ApiError):
            parse_json(nested(levels))


def test_many_brackets_are_no_depth() -> None:
    assert len(parse_json(b"[" + b",".join([b"[{}]"] * 1000) + b"]")) == 1000


@given(st.text(st.characters(codec="latin-1"), max_size=60), st.text(st.characters(codec="latin-1"), max_size=10))
def test_any_content_type_is_taken_or_refused_with_415(content_type: str, encoding: str) -> None:
    outcome = attempt(check_content_type, content_type, encoding)

    if isinstance(outcome, ApiError):
        assert outcome.status == 415
        assert outcome.answer().body
    else:
        assert content_type.strip().lower().startswith("application/")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"1": {"is_changed": [NaN]}}', "NaN is no JSON; ComfyUI writes it as is_changed"),
        (b'{"a": -Infinity}', "Infinity is no JSON"),
    ],
)
def test_a_number_that_python_writes_and_json_lacks_is_named(body: bytes, words: str) -> None:
    with pytest.raises(ApiError, match=words):
        parse_json(body)
