"""Webhooks from end to end: a real receiver on loopback, LocalStack, and real processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from contract.webhook_secrets import Secrets
from tests.support.deployment import deploy
from tests.support.processes import http
from tests.support.receiver import Receiver, receiver
from tests.support.stack import SPARES, Stack, task, unique
from tests.support.waiting import eventually

TENANTS = {"alice": "a-key", "bob": "b-key"}
ROOTS = "a new root of all secrets, an old root of all secrets"
SETTINGS: dict[str, Any] = {
    "WEBHOOK_SECRETS": ROOTS,
    "WEBHOOK_ALLOWED_ORIGINS": "loopback",
    "WEBHOOK_LOOK_SECONDS": "3",
}
QUICK: dict[str, Any] = {"WEBHOOK_RETRY_SECONDS": 0.5, "WEBHOOK_TIMEOUT_SECONDS": 3, "WEBHOOK_VISIBILITY_SECONDS": 6}


@pytest.fixture(scope="module")
def stack(localstack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with two tenants and a deliverer."""
    with Stack(deploy(localstack, config=SPARES), tmp_path_factory.mktemp("stack")) as made:
        made.start_api(API_KEYS=",".join(f"{name}={key}" for name, key in TENANTS.items()), **SETTINGS)
        made.start_webhooks(**SETTINGS, **QUICK)
        yield made
        assert made.traces() == {}


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    """A receiver that takes all."""
    with receiver() as made:
        yield made


def submit(stack: Stack, runtime: str, webhook: Any, *, tenant: str = "alice", status: int = 202, **more: Any) -> Any:
    body = task(unique(), runtime, **more)
    body["metadata"]["webhook"] = webhook
    answer = stack.post("/v1/tasks", {"task": body}, **{"x-api-key": TENANTS[tenant]})
    assert answer.status_code == status, answer.text
    return answer.json()


def ask(stack: Stack, method: str, route: str, *, tenant: str = "alice") -> Any:
    return http().request(method, f"{stack.api}{route}", headers={"x-api-key": TENANTS[tenant]}, timeout=30)


def deliveries(stack: Stack, task_id: str, **who: str) -> list[Any]:
    found: list[Any] = ask(stack, "GET", f"/v1/tasks/{task_id}/deliveries", **who).json()["deliveries"]
    return found


def test_the_end_of_a_task_is_delivered_signed_by_each_secret_of_its_tenant(
    stack: Stack, runtime: str, hooks: Receiver
) -> None:
    stack.start_pod(runtime)
    sent = submit(stack, runtime, f"{hooks.url}/alice?token=secret")
    other = submit(stack, runtime, {"url": f"{hooks.url}/bob", "events": ["succeeded"]}, tenant="bob")
    (alice,), (bob,) = hooks.wait_for("/alice"), hooks.wait_for("/bob")
    secrets = {name: ask(stack, "GET", "/v1/webhook-secrets", tenant=name).json()["secrets"] for name in TENANTS}
    assert secrets["alice"] == list(Secrets.parse(ROOTS).of("alice"))
    assert len({*secrets["alice"], *secrets["bob"]}) == 4
    for secret in secrets["alice"]:
        assert alice.verify(secret)["data"]["id"] == sent["id"]
        with pytest.raises(WebhookVerificationError):
            bob.verify(secret)
    assert bob.verify(secrets["bob"][1])["data"]["id"] == other["id"]
    assert alice.type == "task.succeeded"
    view = ask(stack, "GET", f"/v1/tasks/{sent['id']}").json()
    data = alice.document["data"]
    changing = {"images", "output"}  # their links are signed anew each time
    for_caller = {"links", "webhook"}  # where to go on, and where the receiver is, which knows that
    assert view["webhook"] == f"{hooks.url}/alice"
    same = view.keys() - changing - for_caller
    assert {name: data[name] for name in same} == {name: view[name] for name in same}
    assert http().get(data["images"][0]["url"]).content.startswith(b"\x89PNG")
    (delivery,) = eventually(lambda: [item for item in deliveries(stack, sent["id"]) if item["state"] == "delivered"])
    assert (delivery["id"], delivery["attempts"], delivery["tries"][0]["status"]) == (alice.id, 1, 204)
    assert ask(stack, "GET", f"/v1/tasks/{sent['id']}/deliveries", tenant="bob").status_code == 404
    assert "token=secret" not in "".join(process.text() for process in stack.processes)


def test_a_receiver_that_was_down_gets_all_of_it_under_the_same_ids_and_holds_up_nobody_else(
    stack: Stack, runtime: str, hooks: Receiver
) -> None:
    stack.start_pod(runtime)
    with receiver() as down:
        down.status = 503
        waiting = [submit(stack, runtime, f"{down.url}/{number}") for number in range(3)]
        for number in range(3):
            eventually(partial(down.all, f"/{number}"))
        submit(stack, runtime, f"{hooks.url}/meanwhile")
        hooks.wait_for("/meanwhile")
        eventually(lambda: len(down.all("/0")) >= 2, within=30)
        down.status = 200
        for number, sent in enumerate(waiting):
            down.wait_for(f"/{number}")
            tries = down.all(f"/{number}")
            assert len({item.id for item in tries}) == 1
            assert len({item.headers["webhook-timestamp"] for item in tries}) > 1
            (secret, _) = ask(stack, "GET", "/v1/webhook-secrets").json()["secrets"]
            assert tries[-1].verify(secret)["data"]["id"] == sent["id"]
        (delivery,) = deliveries(stack, waiting[0]["id"])
        assert [item["status"] for item in delivery["tries"]] == [503] * (len(delivery["tries"]) - 1) + [200]
        assert delivery["tries"][0]["error"] == "the receiver answered 503"


def test_what_a_deliverer_was_doing_when_it_was_killed_is_done_by_the_next_one(
    localstack: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Stack(deploy(localstack, config=SPARES), tmp_path_factory.mktemp("killed")) as made, receiver() as slow:
        made.start_api(**SETTINGS)
        first = made.start_webhooks(**SETTINGS, **QUICK)
        made.start_pod("spare0")
        slow.delay = 60
        body = task(unique(), "spare0")
        body["metadata"]["webhook"] = f"{slow.url}/hook"
        assert made.post("/v1/tasks", {"task": body}).status_code == 202
        eventually(lambda: made.get(f"/v1/tasks/{body['metadata']['id']}/deliveries").json()["deliveries"])
        first.kill()
        slow.delay = 0
        made.start_webhooks(**SETTINGS, **QUICK)
        (heard,) = slow.wait_for("/hook", within=60)
        assert heard.type == "task.succeeded"
        eventually(lambda: made.deployment.queue_counts(made.webhooks_url()) == (0, 0), within=30)
        assert made.traces() == {}


def test_an_end_that_bears_no_flag_is_found_all_the_same(stack: Stack, runtime: str, hooks: Receiver) -> None:
    """As from an agent that knows of no webhooks: it keeps the record's field, and publishes a plain callback."""
    stack.start_pod(runtime, program="tests.support.agent_without_webhooks", WEBHOOK_QUEUE_URL="")
    submit(stack, runtime, f"{hooks.url}/old")
    (heard,) = hooks.wait_for("/old", within=30)
    assert heard.type == "task.succeeded"


def test_a_task_that_the_api_ends_is_told_of_too(stack: Stack, runtime: str, hooks: Receiver) -> None:
    sent = submit(stack, runtime, f"{hooks.url}/cancelled")  # no agent is there
    assert ask(stack, "DELETE", f"/v1/tasks/{sent['id']}").status_code == 200
    (heard,) = hooks.wait_for("/cancelled")
    assert heard.type == "task.cancelled"
    assert heard.document["data"]["error"]["code"] == "cancelled"


def test_a_delivery_is_made_again_by_hand_under_its_own_id(stack: Stack, runtime: str, hooks: Receiver) -> None:
    with receiver() as gone:
        gone.status = 410
        sent = submit(stack, runtime, f"{gone.url}/gone")
        assert ask(stack, "DELETE", f"/v1/tasks/{sent['id']}").status_code == 200
        (delivery,) = eventually(
            lambda: [item for item in deliveries(stack, sent["id"]) if item["state"] == "exhausted"]
        )
        assert delivery["attempts"] == 1
        gone.status = 200
        answer = ask(stack, "POST", f"/v1/tasks/{sent['id']}/deliveries/1/redeliver")
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")
        (heard,) = gone.wait_for("/gone")
        assert heard.id == delivery["id"]
        (delivery,) = eventually(
            lambda: [item for item in deliveries(stack, sent["id"]) if item["state"] == "delivered"]
        )
        assert [item["status"] for item in delivery["tries"]] == [410, 200]
        missing = ask(stack, "POST", f"/v1/tasks/{sent['id']}/deliveries/7/redeliver")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_delivery")


def test_a_redirect_is_no_success_and_is_not_followed(stack: Stack, runtime: str, hooks: Receiver) -> None:
    with receiver() as moved:
        moved.status, moved.headers = 307, {"Location": f"{hooks.url}/stolen"}
        sent = submit(stack, runtime, f"{moved.url}/moved")
        assert ask(stack, "DELETE", f"/v1/tasks/{sent['id']}").status_code == 200
        eventually(lambda: len(moved.all()) >= 2, within=30)
        assert hooks.all("/stolen") == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://10.0.0.1/hook", "not to a private or reserved address"),
        ("https://169.254.169.254/latest", "not to a metadata address"),
        ("https://api.internal/hook", "a name of a local one"),
        ("http://example.com/hook", "must be an https:// address"),
        ("https://alice:word@example.com/", "user or password"),
        ("https://2130706433/", "unusual spelling"),
    ],
)
def test_an_address_that_is_not_public_is_refused_at_once(stack: Stack, runtime: str, url: str, words: str) -> None:
    error = submit(stack, runtime, url, status=400)["error"]
    assert words in error["message"]
    assert error["details"][0]["field"] == "task.metadata.webhook.url"


def test_a_run_is_told_from_its_beginning_in_order(stack: Stack, runtime: str, hooks: Receiver) -> None:
    fake = stack.start_fake(seconds_per_task=6)
    stack.start_pod(runtime, fake=fake)
    events = ["progress", "running", "succeeded"]
    submit(stack, runtime, {"url": f"{hooks.url}/run", "events": events}, steps=30)
    heard = hooks.wait_for("/run", 3)
    eventually(lambda: hooks.taken("/run")[-1].type == "task.succeeded")
    heard = hooks.taken("/run")
    types = [item.type for item in heard]
    assert types == ["task.running", *["task.progress"] * (len(types) - 2), "task.succeeded"]
    first, *reports, last = (item.document["data"] for item in heard)
    assert (first["status"], first["progress"], first["finished_at"]) == ("running", None, None)
    assert [0 < item["progress"] < 1 for item in reports] == [True] * len(reports)
    assert heard[0].document["timestamp"] == last["started_at"]


def test_a_slow_receiver_has_its_own_room_and_leaves_the_rest_to_others(
    stack: Stack, runtime: str, hooks: Receiver
) -> None:
    with receiver() as slow:
        slow.delay = 2.5
        sent = [submit(stack, runtime, f"{slow.url}/slow") for _ in range(20)]
        for item in sent:
            assert ask(stack, "DELETE", f"/v1/tasks/{item['id']}").status_code == 200
        quick = submit(stack, runtime, f"{hooks.url}/quick")
        assert ask(stack, "DELETE", f"/v1/tasks/{quick['id']}").status_code == 200
        began = time.monotonic()
        hooks.wait_for("/quick")
        assert time.monotonic() - began < 5  # the slow one takes longer, even eight at once
        slow.delay = 0
        slow.wait_for("/slow", 20, within=60)
        assert len({item.id for item in slow.taken("/slow")}) == 20
