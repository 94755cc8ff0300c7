"""An upload in parts is cut so that S3 takes it, and named so that nobody names another's."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import ApiError
from api.part_uploads import MOST_PARTS, PART, Upload

NAME = "01ARZ3NDEKTSV4RRFFQ69G5FAV.png"


@given(st.integers(min_value=1, max_value=50 * 2**30))
def test_the_parts_are_the_whole_file_within_the_limits_of_s3(size: int) -> None:
    upload = Upload(name=NAME, id="x", bytes=size)
    sizes = [upload.size_of(number) for number in range(1, upload.parts + 1)]
    assert sum(sizes) == size
    assert len(sizes) <= MOST_PARTS
    assert all(part >= PART for part in sizes[:-1])
    assert 0 < sizes[-1] <= upload.part_bytes < 5 * 2**30


@given(st.text(min_size=1, max_size=40), st.integers(min_value=1, max_value=2**40))
def test_its_name_is_read_back_as_it_was_written(identity: str, size: int) -> None:
    upload = Upload(name=NAME, id=identity, bytes=size)
    assert Upload.decode(upload.encode()) == upload


@pytest.mark.parametrize(
    "document",
    [
        b"no json",
        b"[]",
        b'{"name": "../bob/01ARZ3NDEKTSV4RRFFQ69G5FAV.png", "id": "x", "bytes": 1}',
        b'{"name": "01ARZ3NDEKTSV4RRFFQ69G5FAV.png\\n", "id": "x", "bytes": 1}',
        b'{"name": "01ARZ3NDEKTSV4RRFFQ69G5FAV.png", "id": "x", "bytes": 0}',
    ],
)
def test_a_name_that_was_made_up_names_no_upload(document: bytes) -> None:
    for text in (document.decode(), base64.urlsafe_b64encode(document).decode().rstrip("="), "é", "=" * 7):
        with pytest.raises(ApiError, match="there is no such upload"):
            Upload.decode(text)
