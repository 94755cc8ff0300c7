"""Dead letters are listed with reasons, sent back and deleted, each tenant's own, and nobody loses one by it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from contract import record as transitions
from contract.identifiers import new_ulid
from contract.record import Failure, Status
from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_errors import fault
from tests.integration.api.test_tasks import change, request, submit
from tests.support.deployment import Deployment

KEYS = {"api_keys": "alice=a-key,bob=b-key", "api_admin_keys": "ops=o-key"}
ALICE, BOB, OPS = ({"x-api-key": key} for key in ("a-key", "b-key", "o-key"))
RUNTIME = "sdruntime"


@pytest.fixture(autouse=True)
def nothing_left_over(module_deployment: Deployment) -> Iterator[None]:
    yield
    for url in (module_deployment.queue_url(RUNTIME), module_deployment.dead_letter_url(RUNTIME)):
        module_deployment.clients.sqs.purge_queue(QueueUrl=url)


def bury(api: Api, body: str, reason: str | None = "out of memory") -> str:
    """Puts a message into the dead-letter queue as an agent does (without a reason: as SQS does); returns its id."""
    attributes: dict[str, Any] = {"reason": {"DataType": "String", "StringValue": reason}} if reason else {}
    return str(
        api.deployment.clients.sqs.send_message(
            QueueUrl=api.deployment.dead_letter_url(RUNTIME), MessageBody=body, MessageAttributes=attributes
        )["MessageId"]
    )


def body_of(task_id: str, tenant: str = "", submission: str | None = None) -> str:
    metadata = {"id": task_id, "runtime": RUNTIME, "tasktype": "text-to-image", "prefix": "p"}
    metadata |= {"submission": submission or new_ulid(), "tenant": tenant}
    return json.dumps({"metadata": metadata, "content": {"prompt": "x"}})


async def failed(api: Api, task_id: str, **content: Any) -> str:
    """Lets a task fail as one does whose message becomes a dead letter; returns that message's id."""
    task = await submit(api, task_id, **content)
    message = await asyncio.to_thread(api.message, RUNTIME, task_id)
    end = partial(
        transitions.end_unstarted,
        submission=task["submission"],
        status=Status.FAILED,
        now=datetime.now(UTC),
        error=Failure(code="out_of_memory", message="too large"),
        dead_lettered=True,
    )
    await change(api, task_id, end)
    return bury(api, json.dumps(message))


async def letters(api: Api, headers: dict[str, str] | None = None, query: str = "") -> list[dict[str, Any]]:
    answer = await api.client.get(f"/v1/dead-letters{query}", headers=headers or {})
    assert answer.status_code == 200, answer.text
    assert answer.json()["whole"] is True
    return list(answer.json()["dead_letters"])


async def act(api: Api, what: str, *ids: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    method, path = {"redrive": ("POST", "/v1/dead-letters/redrive"), "delete": ("DELETE", "/v1/dead-letters")}[what]
    document = {"runtime": RUNTIME, "message_ids": list(ids)}
    answer = await api.client.request(method, path, json=document, headers=headers or {})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def dead(api: Api) -> int:
    return sum(api.deployment.queue_counts(api.deployment.dead_letter_url(RUNTIME)))


@pytest.mark.parametrize(("task_id", "content"), [("fails-once", {}), ("large", {"n": [*range(8000)]})])
async def test_a_failed_task_is_listed_with_its_reason_and_runs_anew_when_it_is_sent_back(
    api: Api, task_id: str, content: dict[str, Any]
) -> None:
    name = await failed(api, task_id, **content)

    [letter] = await letters(api, query=f"?runtime={RUNTIME}")
    assert {key: letter[key] for key in ("runtime", "message_id", "id", "reason", "status", "attempts")} == {
        "runtime": RUNTIME,
        "message_id": name,
        "id": task_id,
        "reason": "out of memory",
        "status": "failed",
        "attempts": 0,
    }
    assert await letters(api, query="?runtime=dynamicruntime") == []
    assert dead(api) == 1, "to look must change nothing"

    outcome = await act(api, "redrive", name, "nobody-knows-it")

    assert outcome == {"sent_back": [name], "stayed": [], "not_found": ["nobody-knows-it"]}
    again = (await api.client.get(f"/v1/tasks/{task_id}")).json()
    assert (again["status"], dead(api)) == ("queued", 0)
    assert again["submission"] != letter["submission"]
    listed = (await api.client.get(f"/v1/tasks?id_prefix={task_id[:4]}")).json()["tasks"]
    assert [item["submission"] for item in listed] == [again["submission"]], "a list loses no task by it"
    message = await asyncio.to_thread(api.message, RUNTIME, task_id)
    assert message["metadata"]["submission"] == again["submission"]
    asked = (await api.client.get(f"/v1/tasks/{task_id}/request")).json()
    assert asked["content"] == message["content"], "it can be sent again once more"
    assert await letters(api) == []


async def test_a_letter_is_deleted_unless_nothing_else_is_left_that_ends_its_task(api: Api) -> None:
    ended = await failed(api, "ended")
    waits = await submit(api, "waits")
    waiting = bury(api, json.dumps(await asyncio.to_thread(api.message, RUNTIME, "waits")), None)
    unreadable = bury(api, "no json", "unreadable")

    outcome = await act(api, "delete", ended, waiting, unreadable)

    assert sorted(outcome["deleted"]) == sorted([ended, unreadable])
    [stayed] = outcome["stayed"]
    assert stayed["message_id"] == waiting
    assert "has not ended, it is queued; send it back, or cancel it first" in stayed["reason"]
    [left] = await letters(api)
    assert (left["reason"], left["submission"]) == ("received too often", waits["submission"])
    await api.client.delete("/v1/tasks/waits")
    assert (await act(api, "delete", waiting))["deleted"] == [waiting]
    assert dead(api) == 0


async def test_a_tenant_has_its_own_letters_and_an_admin_all(start_api: StartApi) -> None:
    api = await start_api(**KEYS)
    hers, his = bury(api, body_of("t", "alice")), bury(api, body_of("t", "bob"))
    nobodys = bury(api, "no json", "unreadable")

    assert [item["message_id"] for item in await letters(api, ALICE)] == [hers]
    assert {item["message_id"] for item in await letters(api, OPS)} == {hers, his, nobodys}
    for what, done in (("redrive", "sent_back"), ("delete", "deleted")):
        outcome = await act(api, what, his, nobodys, headers=ALICE)
        assert outcome == {done: [], "stayed": [], "not_found": [his, nobodys]}
    assert dead(api) == 3
    assert (await act(api, "delete", nobodys, headers=OPS))["deleted"] == [nobodys]
    assert (await act(api, "redrive", hers, headers=ALICE))["sent_back"] == [hers]
    assert (await act(api, "delete", his, headers=BOB))["deleted"] == [his]


async def test_letters_that_were_looked_at_are_there_for_others_at_once(start_api: StartApi) -> None:
    one, other = await start_api(), await start_api()
    for number in range(25):
        bury(one, body_of(f"many-{number}"))
    assert len(await letters(one)) == 25
    assert len(await letters(other)) == 25
    assert len(await letters(one)) == 25


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"runtime": "nobody", "message_ids": ["x"]}, "runtime"),
        ({"runtime": RUNTIME}, "message_ids"),
        ({"runtime": RUNTIME, "message_ids": []}, "message_ids"),
        ({"runtime": RUNTIME, "message_ids": ["x"] * 101}, "message_ids"),
        ({"runtime": RUNTIME, "message_ids": "x"}, "message_ids"),
        ({"runtime": RUNTIME, "messages": ["x"], "message_ids": ["x"]}, "messages"),
        ([], "body"),
    ],
)
async def test_what_names_no_letters_is_refused_by_its_field(api: Api, document: Any, field: str) -> None:
    for method, path in (("POST", "/v1/dead-letters/redrive"), ("DELETE", "/v1/dead-letters")):
        error = fault(await api.client.request(method, path, json=document), 400, "invalid_request")
        assert error["details"][0]["field"].startswith(field)


async def test_an_unknown_runtime_or_parameter_of_the_list_is_refused(api: Api) -> None:
    error = fault(await api.client.get("/v1/dead-letters?runtime=nobody"), 400, "invalid_request")
    assert RUNTIME in error["message"]
    fault(await api.client.get("/v1/dead-letters?limit=3"), 400, "invalid_request")


async def test_a_letter_without_its_record_goes_back_as_it_is(api: Api) -> None:
    body = request("foreign")["task"]
    name = bury(api, json.dumps(body), None)
    [letter] = await letters(api)
    assert (letter["status"], letter["attempts"]) == (None, None)
    assert (await act(api, "redrive", name))["sent_back"] == [name]
    assert (await asyncio.to_thread(api.message, RUNTIME, "foreign"))["metadata"]["id"] == "foreign"
