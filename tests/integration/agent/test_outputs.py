"""Results on real S3 semantics: whoever no longer holds the task overwrites nothing, and nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from agent.outputs import Outputs, OvertakenError
from agent.runtimes.base import Answer, Output
from contract.identifiers import TaskRef
from contract.objects import image_key, rand4, split_s3_url
from contract.record import Record, Status, Submission
from contract.s3 import S3
from contract.task import TaskType
from tests.support.deployment import Deployment

TASK = TaskRef("t")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32
GIF = b"GIF89a" + b"\0" * 32


def submission(**changes: object) -> Submission:
    return Submission(
        submission="01J00000000000000000000000",
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        submitted_at=datetime(2026, 1, 1, tzinfo=UTC),
    ).model_copy(update=changes)


def namesakes() -> tuple[str, str]:
    """Returns two submissions whose files would have the same names."""
    seen: dict[str, str] = {}
    for number in count():
        name = f"01J{number:023}"
        if (other := seen.setdefault(rand4(name), name)) != name:
            return other, name
    raise AssertionError


def answer(*data: bytes) -> Answer:
    return Answer(outputs=[Output(item) for item in data], raw=b'{"images": []}')


async def mine() -> bool:
    return True


async def not_mine() -> bool:
    return False


@pytest.fixture
async def outputs(deployment: Deployment) -> AsyncIterator[Outputs]:
    async with deployment.s3() as s3:
        yield Outputs(s3, deployment.place.output_bucket)


async def test_images_are_numbered_and_named_after_their_bytes(outputs: Outputs, deployment: Deployment) -> None:
    stored = await outputs.store(TASK, submission(), answer(PNG, GIF), is_mine=mine)

    assert [url.rpartition("-")[2] for url in stored.image_url] == ["1.png", "2.gif"]
    assert stored.output_url.endswith(".out")
    keys = [split_s3_url(url)[1] for url in [*stored.image_url, stored.output_url]]
    assert deployment.object_keys("output/") == sorted(keys)
    head = deployment.clients.s3.head_object(Bucket=deployment.place.output_bucket, Key=keys[1])
    assert head["ContentType"] == "image/gif"


async def test_a_file_keeps_the_name_that_its_server_gave_and_is_downloaded_when_a_browser_would_run_it(
    outputs: Outputs, deployment: Deployment
) -> None:
    made = Answer([Output(b"glTF", "sub/mesh_00001_.glb"), Output(b"<svg/>", "Z\u00fcrich 1.svg")], raw=b"{}")
    stored = await outputs.store(TASK, submission(), made, is_mine=mine)

    assert [url.rpartition("-")[2] for url in stored.image_url] == ["1.glb", "2.svg"]
    heads = [
        deployment.clients.s3.head_object(Bucket=deployment.place.output_bucket, Key=split_s3_url(url)[1])
        for url in stored.image_url
    ]
    assert [(head["ContentType"], head["ContentDisposition"]) for head in heads] == [
        ("model/gltf-binary", 'inline; filename="mesh_00001_.glb"'),
        ("image/svg+xml", "attachment; filename=\"Z_rich 1.svg\"; filename*=UTF-8''Z%C3%BCrich%201.svg"),
    ]


async def test_a_second_attempt_overwrites_what_the_first_has_left(outputs: Outputs, deployment: Deployment) -> None:
    first = await outputs.store(TASK, submission(), answer(PNG), is_mine=mine)
    second = await outputs.store(TASK, submission(), answer(PNG + b"second"), is_mine=mine)

    assert first == second
    assert deployment.object(split_s3_url(first.image_url[0])[1]) == PNG + b"second"


async def test_an_attempt_that_was_overtaken_overwrites_nothing(outputs: Outputs, deployment: Deployment) -> None:
    stored = await outputs.store(TASK, submission(), answer(PNG), is_mine=mine)

    with pytest.raises(OvertakenError):
        await outputs.store(TASK, submission(), answer(PNG + b"late"), is_mine=not_mine)

    assert deployment.object(split_s3_url(stored.image_url[0])[1]) == PNG


async def test_what_an_earlier_attempt_made_too_many_of_is_swept(outputs: Outputs, deployment: Deployment) -> None:
    await outputs.store(TASK, submission(), answer(PNG, PNG, PNG), is_mine=mine)
    stored = await outputs.store(TASK, submission(), answer(PNG), is_mine=mine)
    ended = submission(status=Status.SUCCEEDED, attempts=2, image_url=stored.image_url, output_url=stored.output_url)

    await outputs.sweep(TASK, Record(id="t", current=ended), ended)

    keys = [split_s3_url(url)[1] for url in [*stored.image_url, stored.output_url]]
    assert deployment.object_keys("output/") == sorted(keys)


async def test_a_failed_task_leaves_nothing_and_other_submissions_keep_theirs(
    outputs: Outputs, deployment: Deployment
) -> None:
    other = submission(submission="01J00000000000000000000001")
    kept = await outputs.store(TASK, other, answer(PNG), is_mine=mine)
    await outputs.store(TASK, submission(), answer(PNG, PNG), is_mine=mine)
    failed = submission(status=Status.FAILED, attempts=1)

    await outputs.sweep(TASK, Record(id="t", current=failed), failed)

    keys = [split_s3_url(url)[1] for url in [*kept.image_url, kept.output_url]]
    assert deployment.object_keys("output/") == sorted(keys)


async def test_sweeping_touches_no_object_that_only_looks_alike(outputs: Outputs, deployment: Deployment) -> None:
    name = submission().submission
    stranger = image_key("output", TASK, name, 1, "png") + ".bak"
    deployment.clients.s3.put_object(Bucket=deployment.place.output_bucket, Key=stranger, Body=b"x")
    failed = submission(status=Status.FAILED, attempts=1)

    await outputs.sweep(TASK, Record(id="t", current=failed), failed)

    assert deployment.object_keys("output/") == [stranger]


async def test_submissions_with_the_same_four_characters_keep_their_own_files(
    outputs: Outputs, deployment: Deployment
) -> None:
    """The record need not know the other one any more: it knows the newest twenty that have ended."""
    one, two = (submission(submission=name) for name in namesakes())
    first = await outputs.store(TASK, one, answer(PNG, PNG), is_mine=mine)
    second = await outputs.store(TASK, two, answer(GIF, PNG + b"second"), is_mine=mine)
    again = await outputs.store(TASK, two, answer(GIF, PNG + b"again"), is_mine=mine)

    assert again == second
    assert [url.rpartition("-")[2] for url in second.image_url] == ["1.gif", "2.png"]
    keys = [split_s3_url(url)[1] for url in (*first.image_url, first.output_url, *second.image_url, second.output_url)]
    assert deployment.object_keys("output/") == sorted(keys)
    assert [deployment.object(key) for key in (keys[1], keys[4])] == [PNG, PNG + b"again"]

    failed = two.model_copy(update={"status": Status.FAILED, "attempts": 3})
    await outputs.sweep(TASK, Record(id="t", current=failed), failed)

    assert deployment.object_keys("output/") == sorted(keys[:3])


async def test_what_older_agents_left_without_a_label_is_taken_for_the_submissions_own(
    outputs: Outputs, deployment: Deployment
) -> None:
    key = image_key("output", TASK, submission().submission, 1, "png")
    deployment.clients.s3.put_object(Bucket=deployment.place.output_bucket, Key=key, Body=b"old")

    stored = await outputs.store(TASK, submission(), answer(PNG), is_mine=mine)

    assert split_s3_url(stored.image_url[0])[1] == key
    assert deployment.object(key) == PNG


class Paged:
    """The client, whose listings come in pages of two keys; those of one that forgets come from the start again."""

    def __init__(self, s3: S3, *, forgets: bool) -> None:
        self._s3 = s3
        self._forgets = forgets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    async def list_objects_v2(self, **arguments: Any) -> Any:
        if self._forgets:
            arguments.pop("StartAfter", None)
        return await self._s3.list_objects_v2(**arguments, MaxKeys=2)


@pytest.mark.parametrize("forgets", [False, True])
async def test_every_page_of_a_listing_is_swept_and_one_that_repeats_itself_ends(
    deployment: Deployment, forgets: bool
) -> None:
    async with deployment.s3() as s3, asyncio.timeout(30):
        outputs = Outputs(cast("S3", Paged(s3, forgets=forgets)), deployment.place.output_bucket)
        await outputs.store(TASK, submission(), answer(*[PNG] * 6), is_mine=mine)
        failed = submission(status=Status.FAILED, attempts=1)

        swept = await outputs.sweep(TASK, Record(id="t", current=failed), failed)

    assert len(swept) == (2 if forgets else 7)
    assert len(deployment.object_keys("output/")) == 7 - len(swept)


class Denied:
    """A client that may neither list nor delete."""

    async def delete_object(self, **_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObject")

    async def list_objects_v2(self, **_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "ListObjectsV2")


async def test_nobody_waits_for_a_permission_to_tidy_up() -> None:
    """Who waits for it never deletes the task's message."""
    outputs = Outputs(cast("S3", Denied()), "bucket")
    failed = submission(status=Status.FAILED, attempts=1)
    async with asyncio.timeout(10):
        with pytest.raises(ClientError):
            await outputs.delete([".payloads/t/s.json"])
        with pytest.raises(ClientError):
            await outputs.sweep(TASK, Record(id="t", current=failed), failed)
