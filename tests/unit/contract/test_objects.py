"""Object names: derived from the submission, so that a second attempt overwrites its own files."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.identifiers import TaskRef
from contract.objects import (
    ENDED,
    IDEMPOTENCY,
    PAYLOADS,
    RECORDS,
    answer_key,
    ended_key,
    idempotency_key,
    image_key,
    input_key,
    is_own_input,
    is_reserved_key,
    payload_key,
    rand4,
    record_key,
    s3_url,
    split_s3_url,
    task_of_record,
    tenant_folder,
)

# Few of each, and some that spell one another's folders: what could meet does.
NAMES = st.sampled_from(["alice", "bob", "a", "x", "output"])
TENANTS = st.sampled_from(["", "alice", "bob", "a", "x", "output"])
TASKS = st.builds(TaskRef, NAMES, TENANTS)
PREFIXES = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
SUBMISSIONS = st.sampled_from(["01J00000000000000000000000", "01J00000000000000000000001"])


@given(st.text(min_size=1, max_size=40))
def test_four_characters_depend_on_the_submission_alone(submission: str) -> None:
    assert re.fullmatch(r"[a-z2-7]{4}", rand4(submission))
    assert rand4(submission) == rand4(submission)
    assert re.fullmatch(r"[a-z2-7]{4}", rand4(submission, 1))


def test_the_first_turns_names_are_as_they_always_were() -> None:
    assert rand4("01J00000000000000000000000") == "2zhx"


def test_names_have_the_reference_designs_form() -> None:
    task = TaskRef("test-t2i")
    assert re.fullmatch(r"output/test-t2i/test-t2i-\w{4}-1\.png", image_key("output", task, "s", 1, "png"))
    assert re.fullmatch(r"output/test-t2i/test-t2i-\w{4}\.out", answer_key("output", task, "s"))


def test_what_was_written_before_there_were_tenants_lies_where_it_lay() -> None:
    task = TaskRef("t")
    assert record_key(task) == ".tasks/t.json"
    assert payload_key(task, "s") == ".payloads/t/s.json"
    assert idempotency_key("", "key", "k") == f".idempotency/{hashlib.sha256(b'key\0k').hexdigest()}.json"


def test_our_own_objects_are_reserved() -> None:
    for tenant in ("", "alice"):
        task = TaskRef("t", tenant)
        for key in (record_key(task), payload_key(task, "s"), idempotency_key(tenant, "key", "k")):
            assert is_reserved_key(key)
        assert not is_reserved_key(image_key("output", task, "s", 1, "png"))


def private_keys(task: TaskRef, submission: str) -> list[str]:
    return [
        record_key(task),
        ended_key(task, submission),
        payload_key(task, submission),
        idempotency_key(task.tenant, task.tenant, task.id),
    ]


def results(prefix: str, task: TaskRef, submission: str) -> list[str]:
    return [image_key(prefix, task, submission, 1, "png"), answer_key(prefix, task, submission)]


@given(TASKS, TASKS, PREFIXES, PREFIXES, SUBMISSIONS)
def test_two_tasks_share_no_object(one: TaskRef, other: TaskRef, prefix: str, second: str, submission: str) -> None:
    ours = private_keys(one, submission)
    others = [*private_keys(other, submission), *results(second, other, submission)]
    if one == other:
        return
    # A prefix of the shared space may spell a tenant's folder: only where there are no tenants is it in use.
    if one.tenant == other.tenant or (one.tenant and other.tenant):
        ours += results(prefix, one, submission)
    assert not set(ours) & set(others)


@given(TASKS, PREFIXES, SUBMISSIONS, NAMES)
def test_all_that_is_a_tenants_lies_in_its_folders_and_nothing_of_another_tenant_does(
    task: TaskRef, prefix: str, submission: str, tenant: str
) -> None:
    folder = tenant_folder(tenant)
    folders = tuple(f"{root}{folder}" for root in ("", RECORDS, ENDED, PAYLOADS, IDEMPOTENCY))
    for key in [*private_keys(task, submission), *results(prefix, task, submission)]:
        if task.tenant:
            assert key.startswith(folders) == (task.tenant == tenant)


@given(TASKS, NAMES)
def test_one_listing_is_one_tenants_records(task: TaskRef, tenant: str) -> None:
    assert record_key(task).startswith(f"{RECORDS}{tenant_folder(tenant)}") == (task.tenant == tenant)


@given(st.from_regex(r"[a-z0-9][-a-z0-9]{2,20}", fullmatch=True), st.text(min_size=1, max_size=40))
def test_s3_addresses_split_as_they_were_joined(bucket: str, key: str) -> None:
    assert split_s3_url(s3_url(bucket, key)) == (bucket, key)


@pytest.mark.parametrize("bad", ["", "s3://", "s3://bucket", "s3://bucket/", "s3:///key", "http://b/k", "bucket/key"])
def test_what_is_no_s3_address_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="not an s3://"):
        split_s3_url(bad)


@given(TASKS)
def test_a_records_key_tells_whose_it_is(task: TaskRef) -> None:
    assert task_of_record(record_key(task)) == task


@pytest.mark.parametrize("key", [".tasks/", ".tasks/t", ".tasks/a/b/t.json", ".tasks//t.json", ".payloads/t.json", ""])
def test_what_is_no_record_is_nobodys(key: str) -> None:
    assert task_of_record(key) is None


@pytest.mark.parametrize("name", ["", ".", "..", "bob/cat.png", "../bob/cat.png"])
@pytest.mark.parametrize("tenant", ["", "alice"])
def test_an_own_input_is_one_file_of_ones_own_folder(tenant: str, name: str) -> None:
    assert is_own_input(input_key(tenant, "cat.png"), tenant)
    assert not is_own_input(input_key(tenant, name), tenant)
    assert not is_own_input(input_key("bob", "cat.png"), tenant)
