"""A request with an Idempotency-Key happens once, however often it is sent and wherever the first sending died."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from contract.identifiers import TaskRef
from contract.objects import record_key
from contract.record import Record
from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_errors import fault
from tests.integration.api.test_tasks import request
from tests.support.waiting import until


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
    """Publishing fails and so does noting that, as when the process dies in between: the record stays queued."""
    headers = {"idempotency-key": "died"}
    first, held = await send_until_publishing(api, "died")
    api.faults.fail["publish"] = api.faults.fail["put_object"] = 1
    held.set()
    fault(await first, 503, "unavailable")
    before = (await api.client.get("/v1/tasks/died")).json()
    assert before["status"] == "queued"

    answer = await api.client.post("/v1/tasks", json=request("died"), headers=headers)

    assert answer.status_code == 202
    assert answer.json()["submission"] == before["submission"]
    assert submissions(api) == [before["submission"]]


async def test_a_first_sending_that_died_while_it_withdrew_is_withdrawn_by_the_repetition(api: Api) -> None:
    headers = {"idempotency-key": "half"}
    api.faults.fail["publish"] = api.faults.fail["get_object"] = 1
    fault(await api.client.post("/v1/tasks", json=request("half"), headers=headers), 503, "unavailable")
    before = (await api.client.get("/v1/tasks/half")).json()
    assert before["status"] == "queued"

    answer = await api.client.post("/v1/tasks", json=request("half"), headers=headers)

    record = Record.model_validate_json(api.deployment.object(record_key(TaskRef("half"))))
    assert record.earlier[before["submission"]].status == "failed"
    assert record.current.submission == answer.json()["submission"]
    assert submissions(api) == [answer.json()["submission"]]


async def send_until_publishing(api: Api, task_id: str) -> tuple[asyncio.Task[httpx.Response], asyncio.Event]:
    """Sends a request whose key is its id; returns its answer to come, and what lets its publishing go on."""
    held = api.faults.hold["publish"] = asyncio.Event()
    headers = {"idempotency-key": task_id}
    sending = asyncio.create_task(api.client.post("/v1/tasks", json=request(task_id), headers=headers))
    await until(lambda: api.faults.calls["publish"] == 1)
    del api.faults.hold["publish"]
    return sending, held


async def test_a_first_sending_that_fails_late_does_not_withdraw_what_its_repetition_was_accepted_for(api: Api) -> None:
    """The client gives up on an answer that SNS keeps back, and sends again, before the first sending fails."""
    first, held = await send_until_publishing(api, "late")
    second = await api.client.post("/v1/tasks", json=request("late"), headers={"idempotency-key": "late"})
    assert second.status_code == 202

    api.faults.fail["publish"] = 1
    held.set()

    assert (await first).status_code == 202
    assert (await api.client.get("/v1/tasks/late")).json()["status"] == "queued"
    assert submissions(api) == [second.json()["submission"]]


async def test_a_sending_whose_submission_another_has_withdrawn_is_not_accepted(api: Api) -> None:
    first, held = await send_until_publishing(api, "beside")
    api.faults.fail["publish"] = 1
    again = await api.client.post("/v1/tasks", json=request("beside"), headers={"idempotency-key": "beside"})
    assert fault(again, 503, "unavailable")["details"] == {"id": "beside", "fate": "not_accepted"}

    held.set()

    assert fault(await first, 503, "unavailable")["details"] == {"id": "beside", "fate": "not_accepted"}
    submissions(api)


async def test_a_note_that_cannot_be_written_is_503(api: Api) -> None:
    api.faults.fail["put_object"] = 1

    fault(await api.client.post("/v1/tasks", json=request(), headers={"idempotency-key": "x"}), 503, "unavailable")


@pytest.mark.parametrize("key", ["x" * 256, "", "\u00e4"])
async def test_a_key_that_is_no_key_is_400(api: Api, key: str) -> None:
    answer = await api.client.post("/v1/tasks", json=request(), headers={b"idempotency-key": key.encode()})

    fault(answer, 400, "invalid_request")
