"""The header parser takes what the library writes, and nothing that the library would refuse to read."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from local.models.safetensors import DTYPE_BITS, MAX_HEADER, Tensor, UnsoundFileError, read_header

LIBRARY_NAMES = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1"}


deserialize: Any = safetensors.deserialize
"""The library's judgement of a whole file; it has no types."""


def with_header(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def header_of(content: bytes) -> Any:
    return read_header(io.BytesIO(content), len(content))


tensors = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(sorted(LIBRARY_NAMES)), st.lists(st.integers(0, 4), max_size=3)),
    min_size=1,  # with none, and empty metadata, the library writes what it cannot read
    max_size=5,
)


def written_by_the_library(entries: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None) -> bytes:
    arrays = {name: np.zeros(shape, LIBRARY_NAMES[dtype]) for name, (dtype, shape) in entries.items()}
    return save(arrays, metadata=metadata)


@settings(max_examples=25, deadline=None)
@given(entries=tensors, metadata=st.none() | st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3))
def test_takes_whatever_the_library_writes(
    entries: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None
) -> None:
    found = header_of(written_by_the_library(entries, metadata))
    assert {name: (item.dtype, list(item.shape)) for name, item in found.tensors.items()} == entries
    assert found.metadata == (metadata or {})


@settings(max_examples=60, deadline=None)
@given(entries=tensors, data=st.data())
def test_what_it_takes_of_a_damaged_file_the_library_reads_too(
    entries: dict[str, tuple[str, list[int]]], data: st.DataObject
) -> None:
    content = bytearray(written_by_the_library(entries, {"a": "b"}))
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                content[where] = data.draw(st.integers(0, 255) | st.sampled_from(list(b'0123456789[]{}":,. ')))
            case "cut":
                del content[where:]
                content = content or bytearray(b"\0")
            case _:
                content.insert(where, data.draw(st.sampled_from(list(b'0123456789[]{}":,. '))))
    try:
        header_of(bytes(content))
    except UnsoundFileError:
        return
    assert deserialize(bytes(content)) is not None


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(
    header=st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__"]),
        json_values
        | st.fixed_dictionaries(
            {
                "dtype": st.sampled_from([*DTYPE_BITS, "F1"]),
                "shape": st.lists(st.integers(-1, 3) | st.just(2**64), max_size=2) | json_values,
                "data_offsets": st.tuples(st.integers(-1, 12), st.integers(-1, 12)),
            }
        ),
        max_size=3,
    ),
    size=st.integers(0, 24),
)
@example(header={"a": {"dtype": "F4", "shape": [1], "data_offsets": (0, 0)}}, size=0)
def test_what_it_takes_of_a_made_up_header_the_library_reads_too(header: dict[str, Any], size: int) -> None:
    content = with_header(header, bytes(size))
    try:
        header_of(content)
    except UnsoundFileError:
        return
    assert deserialize(content) is not None


@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=80))
def test_any_bytes_are_taken_or_refused_in_words(content: bytes) -> None:
    outcome = "sound"
    try:
        header_of(content)
    except UnsoundFileError as error:
        outcome = str(error)
    assert outcome


def test_reads_no_more_than_the_header() -> None:
    file = io.BytesIO(with_header({"a": entry()}, bytes(8)))
    header = read_header(file, len(file.getvalue()))
    assert header.tensors == {"a": Tensor("F32", (2,), 0, 8)}
    assert file.tell() == len(file.getvalue()) - 8


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "too short"),
        (b"1234567", "too short"),
        ((MAX_HEADER + 1).to_bytes(8, "little"), "the most is"),
        ((2**64 - 1).to_bytes(8, "little"), "the most is"),
        ((100).to_bytes(8, "little") + b"{}", "is cut off"),
        (with_header(b""), "no JSON object"),
        (with_header(b" {}"), "no JSON object"),
        (with_header(b"[]"), "no JSON object"),
        (with_header(b'{"a":'), "no sound JSON"),
        (with_header(b'{"a":' * 200_000), "no sound JSON"),
        (with_header(b'{"a": 1, "a": 2}'), "there twice"),
        (with_header(b'{"\xff": 1}'), "no sound JSON"),
        (with_header({"__metadata__": {"steps": 3}}), "no mapping of texts"),
        (with_header({"a": 1}), "has not exactly"),
        (with_header({"a": entry() | {"more": 1}}, bytes(8)), "has not exactly"),
        (with_header({"a": entry("F33")}, bytes(8)), "unknown dtype 'F33'"),
        (with_header({"a": entry(shape=(-2,))}, bytes(8)), "no list of sizes"),
        (with_header({"a": entry(shape=(True,), offsets=(0, 4))}, bytes(4)), "no list of sizes"),
        (with_header({"a": entry(offsets=(0, 4))}, bytes(4)), "has 4 bytes, but its shape and dtype need 8"),
        (with_header({"a": entry(offsets=(8, 16))}, bytes(16)), "leaves a hole"),
        (with_header({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "overlaps"),
        (with_header({"a": entry()}, bytes(5)), "cut off: 3 bytes are missing"),
        (with_header({"a": entry()}, bytes(9)), "1 bytes at its end that belong to nothing"),
    ],
)
def test_says_what_is_wrong(content: bytes, says: str) -> None:
    with pytest.raises(UnsoundFileError, match=says):
        header_of(content)
