"""What becomes of a submission that was answered 503, and of the same request when it comes again."""

from __future__ import annotations

from typing import Any

import pytest

from api import submit
from contract.identifiers import TaskRef
from contract.objects import record_key
from contract.record import Record
from tests.integration.api.conftest import Api
from tests.integration.api.test_errors import changed, fault
from tests.integration.api.test_tasks import start
from tests.support.waiting import eventually_async


async def refuse(api: Api, task_id: str, fate: str) -> dict[str, Any]:
    """Sends a request whose publishing fails, so that it has that fate; returns its record as the API shows it."""
    api.faults.lose_answer["publish"] = 1
    if fate == "unknown":
        api.faults.fail["get_object"] = 1  # it cannot be withdrawn
    error = fault(await api.client.post("/v1alpha2", json=changed(id=task_id)), 503, "unavailable")
    assert error["details"] == {"id": task_id, "fate": fate}
    shown: dict[str, Any] = (await api.client.get(f"/v1/tasks/{task_id}")).json()
    return shown


def record_of(api: Api, task_id: str) -> Record:
    return Record.model_validate_json(api.deployment.object(record_key(TaskRef(task_id))))


@pytest.fixture
def slow_to_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends its request again is faster than the API."""
    monkeypatch.setattr(submit, "_SETTLE_SECONDS", 1000.0)


async def test_what_could_not_be_withdrawn_is_withdrawn_once_aws_is_back(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await refuse(api, "settled", "unknown")
    assert before["status"] == "queued"

    async def withdrawn() -> bool:
        after = (await api.client.get("/v1/tasks/settled")).json()
        assert after["submission"] == before["submission"]
        return bool(after["error"]) and after["error"]["code"] == "not_accepted"

    await eventually_async(withdrawn)


@pytest.mark.usefixtures("slow_to_settle")
async def test_the_next_sending_withdraws_the_earlier_one_whose_fate_was_unknown(api: Api) -> None:
    before = await refuse(api, "withdrawn", "unknown")

    assert (await api.client.post("/v1alpha2", json=changed(id="withdrawn"))).status_code == 200

    record = record_of(api, "withdrawn")
    earlier = record.earlier[before["submission"]]
    assert (earlier.status, earlier.callback_sent) == ("failed", True), "no agent runs it, nor calls back for it"
    assert record.current.status == "queued"
    assert [message["metadata"]["submission"] for message in api.messages("sdruntime")][-1] == record.current.submission


@pytest.mark.usefixtures("slow_to_settle")
async def test_the_next_sending_is_told_of_the_earlier_one_that_runs_after_all(api: Api) -> None:
    before = await refuse(api, "arrived", "unknown")
    await start(api, before)
    api.messages("sdruntime")

    answer = await api.client.post("/v1alpha2", json=changed(id="arrived"))

    assert answer.status_code == 200
    assert record_of(api, "arrived").current.submission == before["submission"]
    assert api.messages("sdruntime") == []


@pytest.mark.usefixtures("slow_to_settle")
async def test_another_request_for_the_same_task_leaves_the_earlier_one_as_it_is(api: Api) -> None:
    before = await refuse(api, "other", "unknown")

    assert (await api.client.post("/v1alpha2", json=changed(id="other", context={"another": 1}))).status_code == 200

    assert record_of(api, "other").earlier[before["submission"]].status == "queued"


@pytest.mark.usefixtures("slow_to_settle")
async def test_a_request_that_is_sent_again_after_its_cancel_runs(api: Api) -> None:
    before = await refuse(api, "anew", "unknown")
    assert (await api.client.delete("/v1/tasks/anew")).status_code == 200

    assert (await api.client.post("/v1alpha2", json=changed(id="anew"))).status_code == 200

    record = record_of(api, "anew")
    assert record.earlier[before["submission"]].status == "cancelled"
    assert record.current.status == "queued"
    assert api.deployment.callbacks.wait_for("anew").attributes["submission"] == before["submission"]
    assert record.current.submission in [item["metadata"]["submission"] for item in api.messages("sdruntime", wait=2)]
