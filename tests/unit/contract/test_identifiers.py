"""Ids, prefixes and names are safe wherever they are put: S3 keys, queue names, URLs."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.identifiers import (
    TaskRef,
    check_prefix,
    check_runtime_name,
    check_stack_name,
    check_task_id,
    check_tenant,
    check_tenant_if_any,
    new_ulid,
)
from contract.objects import answer_key, image_key

ANY_TEXT = st.text(st.characters(), max_size=300)


@pytest.mark.parametrize("good", ["test-t2i", "a", "Übung 1", "猫", "a" * 256, "id with space", "x..y", "100%"])
def test_ordinary_task_ids_pass_unchanged(good: str) -> None:
    assert check_task_id(good) == good


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("", "empty"),
        (".", "dot"),
        ("..", "dot"),
        (".tasks", "dot"),
        ("a/b", "'/'"),
        ("a\\b", "contain"),
        ("a\x00b", "U+0000"),
        ("a\nb", "U+000A"),
        ("a\u202eb", "U+202E"),
        ("a\u200bb", "U+200B"),
        ("a\ud800", "U+D800"),
        ("e\u0301", "NFC"),
        (" a", "white space"),
        ("a" * 257, "at most"),
        ("猫" * 86, "at most"),
    ],
)
def test_dangerous_task_ids_are_refused_with_the_reason(bad: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("+", r"\+")):
        check_task_id(bad)


@pytest.mark.parametrize("good", ["output", "a/b/c", "Kunden/Müller"])
def test_ordinary_prefixes_pass(good: str) -> None:
    assert check_prefix(good) == good
    assert check_prefix(f"{good}/") == good


@pytest.mark.parametrize("bad", ["", "/", "/a", "a//b", "a/../b", "../a", ".tasks", "a/.b", "a\x7f", "x" * 401, "a//"])
def test_dangerous_prefixes_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        check_prefix(bad)


@given(ANY_TEXT, ANY_TEXT, st.sampled_from(["", "alice", "x" * 63]) | ANY_TEXT)
@example("p" * 400, "i" * 256, "t" * 63)
def test_whatever_passes_makes_keys_that_s3_takes(prefix: str, task_id: str, tenant: str) -> None:
    try:
        prefix, task = check_prefix(prefix), TaskRef(check_task_id(task_id), check_tenant_if_any(tenant))
    except ValueError:
        return
    for key in (image_key(prefix, task, new_ulid(), 10_000, "webp"), answer_key(prefix, task, new_ulid())):
        assert len(key.encode()) <= 1024
        assert not {"", ".", ".."} & set(key.split("/"))
        assert not key.startswith(".")
        assert unicodedata.is_normalized("NFC", key)


@pytest.mark.parametrize("good", ["a", "0", "alice", "team_a-2", "a" * 63, "a1b2c3d4e5"])
def test_ordinary_tenants_pass_unchanged(good: str) -> None:
    assert check_tenant(good) == good


@pytest.mark.parametrize(
    "bad", ["", "Alice", "a/b", ".a", "..", "-a", "_a", "a" * 64, "a.b", "ä", "a\n", "a b", "a\x00"]
)
def test_a_tenant_that_is_no_folder_of_its_own_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        check_tenant(bad)


@pytest.mark.parametrize("bad", ["", "A", "a_b", "-a", "a-", "a" * 54, "a.b", "ä", "a\n"])
def test_runtime_names_follow_kubernetes(bad: str) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        check_runtime_name(bad)


@pytest.mark.parametrize("bad", ["", "1a", "a_b", "a-", "a--b", "a" * 41, "a\n"])
def test_stack_names_follow_cloudformation_and_ecr(bad: str) -> None:
    with pytest.raises(ValueError, match="letter"):
        check_stack_name(bad)


def test_ulids_sort_by_time_and_are_26_characters() -> None:
    ulids = [new_ulid() for _ in range(50)]
    assert len(set(ulids)) == 50
    assert {len(ulid) for ulid in ulids} == {26}


def test_what_is_too_long_is_not_looked_at_character_by_character() -> None:
    began = time.process_time()
    for check in (check_task_id, check_prefix):
        with pytest.raises(ValueError, match="at most"):
            check("é/" * 5_000_000)
    assert time.process_time() - began < 1
