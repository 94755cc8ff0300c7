"""A file is always cut in the same way, so that an interrupted upload can be gone on with and checksums compared."""

from __future__ import annotations

import base64
import hashlib
import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from local.models.parts import MOST_PARTS, SMALLEST, SentPart, checksum_of_file, cut, fits, whole

TIB = 2**40


@given(st.integers(0, 5 * TIB) | st.integers(0, 4 * SMALLEST))
def test_parts_cover_the_file_within_the_limits_of_s3(size: int) -> None:
    parts = cut(size)
    assert [part.number for part in parts[:3]] == list(range(1, len(parts) + 1))[:3]
    assert len(parts) <= MOST_PARTS
    assert parts[0].offset == 0
    assert all(one.offset + one.length == next_.offset for one, next_ in itertools.pairwise(parts[:50]))
    assert parts[-1].offset + parts[-1].length == size
    assert all(part.length >= SMALLEST for part in parts[:-1][:50])


def test_the_checksum_is_that_of_s3(tmp_path: Path) -> None:
    content = bytes(range(256)) * (SMALLEST // 256) + b"the rest"
    path = tmp_path / "x"
    path.write_bytes(content)
    seen: list[int] = []
    digests = [hashlib.sha256(content[:SMALLEST]).digest(), hashlib.sha256(b"the rest").digest()]
    expected = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode() + "-2"
    assert checksum_of_file(path, len(content), seen.append) == expected
    assert seen == [SMALLEST, 8]
    assert whole(["only"]) == "only"


def test_an_upload_is_gone_on_with_only_if_it_was_cut_alike() -> None:
    parts = cut(SMALLEST + 5)
    assert fits(parts, {})
    assert fits(parts, {2: SentPart(2, 5, "e", None)})
    assert not fits(parts, {1: SentPart(1, SMALLEST // 2, "e", None)})
    assert not fits(parts, {3: SentPart(3, 5, "e", None)})
