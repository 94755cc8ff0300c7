"""Two tenants behind one agent: the same id is two tasks from end to end, and neither can name the other's results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.callback import callback_for
from contract.identifiers import TaskRef
from contract.objects import output_prefix, payload_folder, record_key, split_s3_url
from contract.record import Record, Status
from tests.support.deployment import deploy
from tests.support.processes import http
from tests.support.stack import SPARES, Stack, task
from tests.support.waiting import eventually

TENANTS = {"alice": "a-key", "bob": "b-key"}
ADMIN = "o-key"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


@pytest.fixture(scope="module")
def stack(localstack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose API has a key for each tenant."""
    with Stack(deploy(localstack, config=SPARES), tmp_path_factory.mktemp("stack")) as made:
        made.start_api(
            API_KEYS=",".join(f"{name}={key}" for name, key in TENANTS.items()), API_ADMIN_KEYS=f"ops={ADMIN}"
        )
        yield made
        assert made.traces() == {}


def submit(stack: Stack, runtime: str, task_id: str, tenant: str, **more: Any) -> str:
    """Submits a task of a tenant; returns its submission."""
    answer = stack.post("/v1/tasks", {"task": task(task_id, runtime, **more)}, **{"x-api-key": TENANTS[tenant]})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["submission"])


def ended(stack: Stack, task_id: str, tenant: str) -> Record:
    """Returns a tenant's record once it has ended, after comparing callback, record and objects."""

    def heard() -> Any:
        found = stack.deployment.callbacks.heard(task_id, wait=1)
        return [item for item in found if item.attributes.get("tenant") == tenant]

    callbacks = eventually(heard)
    ref = TaskRef(task_id, tenant)
    record = Record.model_validate_json(stack.deployment.object(record_key(ref)))
    wanted = callback_for(task_id, record.current).model_dump(mode="json")
    assert [item.body for item in callbacks] == [wanted]
    assert callbacks[0].attributes["submission"] == record.current.submission
    named = {split_s3_url(url)[1] for url in [*record.current.image_url, record.current.output_url] if url}
    assert set(stack.deployment.object_keys(output_prefix(record.current.prefix, ref) + "/")) == named
    assert stack.deployment.object_keys(payload_folder(ref)) == []
    return record


def test_one_id_of_two_tenants_is_two_tasks_that_run_and_are_called_back(stack: Stack, runtime: str) -> None:
    # Both are under way before there is an agent: it holds them at the same time. One has a content too large for SNS.
    submissions = {
        "alice": submit(stack, runtime, "twin", "alice", prompt="hers"),
        "bob": submit(stack, runtime, "twin", "bob", prompt="his", padding="x" * 300_000),
    }
    stack.start_pod(runtime, PREFETCH=4)

    for tenant, submission in submissions.items():
        record = ended(stack, "twin", tenant)
        assert record.current.status is Status.SUCCEEDED
        assert (record.current.submission, record.tenant) == (submission, tenant)
        shown = http().get(f"{stack.api}/v1/tasks/twin", headers={"x-api-key": TENANTS[tenant]}).json()
        assert shown["images"][0]["s3"].startswith(f"s3://{stack.deployment.place.output_bucket}/{tenant}/output/twin/")
        assert http().get(shown["images"][0]["url"]).status_code == 200
    stack.wait_drained(runtime)
    assert stack.deployment.object_keys(".tasks/") == [".tasks/alice/twin.json", ".tasks/bob/twin.json"]


def test_a_link_may_name_the_tenants_own_results_alone(stack: Stack, runtime: str) -> None:
    stack.start_pod(runtime)
    bucket, s3 = stack.deployment.place.output_bucket, stack.deployment.clients.s3
    keys = {
        "own": "alice/output/older/older-abcd-1.png",
        "others": "bob/output/older/older-abcd-1.png",
        "alike": "alice-2/output/older/older-abcd-1.png",
        "shared": "output/older/older-abcd-1.png",
        "reserved": ".payloads/alice/older/x.png",
    }
    for name, key in keys.items():
        s3.put_object(Bucket=bucket, Key=key, Body=PNG)
        submit(
            stack,
            runtime,
            f"from-{name}",
            "alice",
            tasktype="extra-single-image",
            image=f"s3://{bucket}/{key}",
        )

    outcomes = {name: ended(stack, f"from-{name}", "alice").current for name in keys}

    assert outcomes["own"].error is None or outcomes["own"].error.code != "input_refused"
    for name in keys.keys() - {"own"}:
        error = outcomes[name].error
        assert error is not None
        assert error.code == "input_refused"
    assert f"begin with s3://{bucket}/alice/" in str(outcomes["others"].error)


def test_a_foreign_publisher_cannot_name_a_tenant_that_is_no_folder(stack: Stack, runtime: str) -> None:
    sqs, url = stack.deployment.clients.sqs, stack.deployment.queue_url(runtime)
    metadata = {**task("forged", runtime)["metadata"], "tenant": "../bob"}
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"metadata": metadata, "content": {}}))
    stack.start_pod(runtime)

    letters = eventually(lambda: stack.dead_letters(runtime))

    assert "metadata.tenant" in letters[0]["reason"]
    assert not [key for key in stack.deployment.object_keys() if "forged" in key]


def usage(stack: Stack, key: str, by: str) -> dict[str, Any]:
    """Returns what tasks have cost in the last two days."""
    since = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    answer = http().get(f"{stack.api}/v1/usage", params={"by": by, "from": since}, headers={"x-api-key": key})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_what_a_task_cost_is_in_its_record_its_callback_and_its_tenants_usage(stack: Stack, runtime: str) -> None:
    fake = stack.start_fake("error:count=1", seconds_per_task=0.3)
    for tenant, tags in (("alice", {"team": "x"}), ("bob", {})):
        sent = task(f"priced-{tenant}", runtime)
        sent["metadata"] |= {"tags": tags} if tags else {}
        answer = stack.post("/v1/tasks", {"task": sent}, **{"x-api-key": TENANTS[tenant]})
        assert answer.status_code == 202, answer.text
    stack.start_pod(runtime, fake=fake, GPU_HOUR_USD="3600")

    records = {tenant: ended(stack, f"priced-{tenant}", tenant) for tenant in TENANTS}
    stack.wait_drained(runtime)

    costs = {tenant: record.current.cost for tenant, record in records.items() if record.current.cost is not None}
    assert costs.keys() == TENANTS.keys()
    for tenant, record in records.items():
        cost, timings = costs[tenant], record.current.timings
        assert timings is not None
        assert cost.usd == cost.gpu_seconds, "a dollar a second"
        assert cost.gpu_seconds >= (timings.generation or 0) - 0.002
        [heard] = stack.deployment.callbacks.heard(record.id)
        assert float(heard.attributes["cost_usd"]) == cost.usd
    assert sorted(record.current.attempts for record in records.values()) == [1, 2]
    assert records["alice"].current.tags == {"team": "x"}
    alice, everybody = usage(stack, TENANTS["alice"], "tag:team,runtime"), usage(stack, ADMIN, "key")
    spent = {
        "tasks": 1,
        "gpu_seconds": costs["alice"].gpu_seconds,
        "usd": costs["alice"].usd,
        "unpriced_tasks": 0,
    }
    assert alice["rows"] == [{"tag:team": "x", "runtime": runtime, **spent}]
    assert alice["total"] == spent
    assert {row["key"]: row["usd"] for row in everybody["rows"]} == {name: costs[name].usd for name in TENANTS}
    refused = http().get(f"{stack.api}/v1/usage?tenant=bob", headers={"x-api-key": TENANTS["alice"]})
    assert refused.status_code == 403
