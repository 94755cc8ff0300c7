"""What a task asked for is kept as it was, in little room, and without its secrets."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.documents import decode, encode
from contract.identifiers import TaskRef
from contract.kept_request import ELSEWHERE, KeptRequest, decode_request, encode_request, pack, unpack
from contract.record import Record, Submission, submit
from contract.secrets import without_secrets
from contract.task import TaskType
from tests.unit.contract.test_task_log import AT

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
CONTENTS = st.dictionaries(TEXTS, JSON, max_size=6)


def kept(content: dict[str, Any], inputs: dict[str, Any] | None = None) -> KeptRequest:
    return decode_request(encode_request(content, encode(content), inputs))


@given(CONTENTS, st.none() | st.just({"fetch": ["/a"]}))
def test_a_request_is_kept_as_it_was_but_for_what_is_named(content: dict[str, Any], inputs: dict[str, Any]) -> None:
    found = kept(content, inputs)

    expected, left_out = without_secrets(content)
    assert found == KeptRequest(expected, inputs, tuple(left_out))
    assert left_out or found.content == content


@given(CONTENTS, st.integers(0, 200))
def test_what_is_packed_comes_back_and_fits(content: dict[str, Any], more: int) -> None:
    content = {**content, "prompt": "a fox " * more}
    document = encode(content)
    packed = pack(document)
    assert len(packed) <= 4096
    if packed != ELSEWHERE:
        assert decode(unpack(packed)) == content


def test_a_large_request_goes_elsewhere() -> None:
    noise = random.Random(1).randbytes(8000).hex()
    assert pack(encode({"image": noise})) == ELSEWHERE
    assert pack(encode({"image": "x" * 70_000})) == ELSEWHERE
    assert pack(encode({"workflow": "x" * 60_000})) != ELSEWHERE


@pytest.mark.parametrize(
    ("content", "left_out"),
    [
        ({"prompt": {"1": {}}, "extra_data": {"api_key_comfy_org": "s3cret"}}, ["/extra_data/api_key_comfy_org"]),
        ({"extra_data": {"a": [{"myKey": "s3cret"}], "Authorization": "s3cret"}}, None),
        ({"1": {"class_type": "X", "inputs": {"API_KEY": "s3cret"}}}, ["/1/inputs/API_KEY"]),
        ({"hf_token": "s3cret"}, ["/hf_token"]),
        ({"image": "https://user:s3cret@example.com/a.png"}, ["/image"]),
        ({"images": ["s3://x/y", "https://u:s3cret@example.com/a.png"]}, ["/images"]),
        ({"a/b": {"password": ["s3cret"]}}, ["/a~1b/password"]),
    ],
)
def test_secrets_are_never_kept(content: dict[str, Any], left_out: list[str] | None) -> None:
    document = encode_request(content, encode(content), None)
    assert b"s3cret" not in document
    assert left_out is None or list(decode_request(document).left_out) == left_out


@pytest.mark.parametrize(
    "content",
    [
        {"prompt": "an api key on a table, my password is secret, token@example.com"},
        {"1": {"inputs": {"api_key": ["4", 0], "keyframes": "1,2", "tokenizer": "t5", "author": "me"}}},
        {"image": "https://example.com/a@b.png", "token_merging_ratio": 0.5, "api_key": ""},
        {"extra_data": {"extra_pnginfo": {"workflow": {"id": "x"}}}},
    ],
)
def test_what_is_no_secret_stays(content: dict[str, Any]) -> None:
    assert kept(content) == KeptRequest(content)


def test_a_record_keeps_the_request_of_its_newest_submission() -> None:
    record: Record | None = None
    for number in range(3):
        new = Submission(submission=f"s{number}", runtime="r", tasktype=TaskType.PIPELINE, prefix="p", submitted_at=AT)
        record = submit(record, TaskRef("x"), new, request=str(number))
    assert record is not None
    assert (record.request, record.current.submission) == ("2", "s2")
    foreign = record.current.model_copy(update={"submission": "s3"})
    assert submit(record, TaskRef("x"), foreign).request == ""
    assert submit(record, TaskRef("x"), record.current, request="again").request == "2"


@pytest.mark.parametrize("text", ["zlib:", "zlib:AAAA", "{", "[]", '{"content": 1}'])
def test_what_is_no_request_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        decode_request(unpack(text))
