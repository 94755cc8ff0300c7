"""Object names: derived from the submission, so that a second attempt overwrites its own files."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.objects import (
    answer_key,
    idempotency_key,
    image_key,
    is_reserved_key,
    payload_key,
    rand4,
    record_key,
    s3_url,
    split_s3_url,
)


@given(st.text(min_size=1, max_size=40))
def test_four_characters_depend_on_the_submission_alone(submission: str) -> None:
    assert re.fullmatch(r"[a-z2-7]{4}", rand4(submission))
    assert rand4(submission) == rand4(submission)


def test_names_have_the_reference_designs_form() -> None:
    assert re.fullmatch(r"output/test-t2i/test-t2i-\w{4}-1\.png", image_key("output", "test-t2i", "s", 1, "png"))
    assert re.fullmatch(r"output/test-t2i/test-t2i-\w{4}\.out", answer_key("output", "test-t2i", "s"))


def test_our_own_objects_are_reserved() -> None:
    for key in (record_key("t"), payload_key("t", "s"), idempotency_key("key", "k")):
        assert is_reserved_key(key)
    assert not is_reserved_key(image_key("output", "t", "s", 1, "png"))


@given(st.from_regex(r"[a-z0-9][-a-z0-9]{2,20}", fullmatch=True), st.text(min_size=1, max_size=40))
def test_s3_addresses_split_as_they_were_joined(bucket: str, key: str) -> None:
    assert split_s3_url(s3_url(bucket, key)) == (bucket, key)


@pytest.mark.parametrize("bad", ["", "s3://", "s3://bucket", "s3://bucket/", "s3:///key", "http://b/k", "bucket/key"])
def test_what_is_no_s3_address_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="not an s3://"):
        split_s3_url(bad)
