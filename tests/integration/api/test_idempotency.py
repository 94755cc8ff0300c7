"""A request with an Idempotency-Key happens once, however often it is sent and wherever the first sending died."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_errors import fault
from tests.integration.api.test_tasks import request


def submissions(api: Api) -> list[str]:
    return [message["metadata"]["submission"] for message in api.messages("sdruntime", wait=2)]


async def test_the_same_request_is_answered_the_same_and_published_once(api: Api) -> None:
    headers = {"idempotency-key": "again"}
    first = await api.client.post("/v1/tasks", json=request(), headers=headers)
    second = await api.client.post("/v1/tasks", json=request(), headers=headers)

    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert first.headers["location"] == second.headers["location"]
    assert submissions(api) == [first.json()["submission"]]


async def test_another_request_with_the_same_key_is_409(api: Api) -> None:
    headers = {"idempotency-key": "other"}
    await api.client.post("/v1/tasks", json=request("one"), headers=headers)

    fault(await api.client.post("/v1/tasks", json=request("two"), headers=headers), 409, "idempotency_conflict")
    submissions(api)


async def test_keys_of_different_owners_do_not_meet(start_api: StartApi) -> None:
    api = await start_api(api_keys="alice=a-key,bob=b-key")
    answers = [
        await api.client.post("/v1/tasks", json=request(name), headers={"x-api-key": key, "idempotency-key": "same"})
        for name, key in (("one", "a-key"), ("two", "b-key"))
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    submissions(api)


async def test_many_at_once_are_one_task(api: Api) -> None:
    answers = await asyncio.gather(
        *(api.client.post("/v1/tasks", json=request(), headers={"idempotency-key": "burst"}) for _ in range(8))
    )

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["submission"] for answer in answers}) == 1
    # A repetition that overlaps the first sending may publish again; the submission is the same, so the agent knows it.
    assert set(submissions(api)) == {answers[0].json()["submission"]}


async def test_after_a_503_the_repetition_is_accepted_as_a_new_submission_of_the_same_task(api: Api) -> None:
    headers = {"idempotency-key": "refused"}
    api.faults.fail["publish"] = 1
    fault(await api.client.post("/v1/tasks", json=request(), headers=headers), 503, "unavailable")

    answer = await api.client.post("/v1/tasks", json=request(), headers=headers)

    assert answer.status_code == 202
    assert submissions(api) == [answer.json()["submission"]]
    assert (await api.client.get(answer.headers["location"])).json()["status"] == "queued"


async def test_a_first_sending_that_died_before_publishing_is_completed_by_the_repetition(api: Api) -> None:
    """Publishing fails and so does the withdrawal, as when the process dies in between: the record stays queued."""
    headers = {"idempotency-key": "died"}
    api.faults.fail["publish"] = 1
    api.faults.fail["get_object"] = 1
    fault(await api.client.post("/v1/tasks", json=request("died"), headers=headers), 503, "unavailable")
    before = (await api.client.get("/v1/tasks/died")).json()
    assert before["status"] == "queued"

    answer = await api.client.post("/v1/tasks", json=request("died"), headers=headers)

    assert answer.status_code == 202
    assert answer.json()["submission"] == before["submission"]
    assert submissions(api) == [before["submission"]]


async def test_a_note_that_cannot_be_written_is_503(api: Api) -> None:
    api.faults.fail["put_object"] = 1

    fault(await api.client.post("/v1/tasks", json=request(), headers={"idempotency-key": "x"}), 503, "unavailable")


@pytest.mark.parametrize("key", ["x" * 256, "", "\u00e4"])
async def test_a_key_that_is_no_key_is_400(api: Api, key: str) -> None:
    answer = await api.client.post("/v1/tasks", json=request(), headers={b"idempotency-key": key.encode()})

    fault(answer, 400, "invalid_request")
