"""What the API itself does of webhooks: takes or refuses them, anchors them, and shows what was delivered."""

from __future__ import annotations

from typing import Any

from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_errors import changed, fault
from tests.support.stack import unique

SETTINGS = {"webhook_secrets": "a root that nobody can guess", "webhook_look_seconds": 0}
URL = "https://example.com/hook?token=secret"


def webhook(value: Any, **metadata: Any) -> dict[str, Any]:
    return changed(**{"id": unique(), "webhook": value, **metadata})


def nudges(api: Api) -> list[dict[str, str]]:
    """Takes all that waits in the queue of webhooks, as its attributes."""
    sqs = api.deployment.clients.sqs
    url = sqs.get_queue_url(QueueName=api.deployment.place.webhooks)["QueueUrl"]
    found = []
    while messages := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
    ).get("Messages", []):
        for message in messages:
            found.append({name: item["StringValue"] for name, item in message["MessageAttributes"].items()})
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


async def test_a_webhook_is_refused_with_the_way_out_where_nothing_would_deliver(api: Api) -> None:
    error = fault(await api.client.post("/v1/tasks", json=webhook(URL)), 400, "invalid_request")
    assert "WEBHOOK_SECRETS" in error["message"]
    assert (await api.client.get("/v1/webhook-secrets")).json() == {"secrets": []}


async def test_a_webhook_is_in_the_record_and_the_message_and_has_an_anchor(start_api: StartApi) -> None:
    api = await start_api(**SETTINGS)
    nudges(api)
    wanted = {"url": URL, "events": ["running", "failed"]}
    sent = (await api.client.post("/v1/tasks", json=webhook(wanted))).json()
    assert [item for item in nudges(api) if item["id"] == sent["id"]] == [
        {"id": sent["id"], "submission": sent["submission"], "anchor": "true"}
    ]
    assert api.message(sent["runtime"], sent["id"])["metadata"]["webhook"] == wanted
    found = (await api.client.get(f"/v1/tasks/{sent['id']}/deliveries")).json()
    assert found == {
        "submission": sent["submission"],
        "url": "https://example.com/hook",
        "events": ["running", "failed"],
        "deliveries": [],
    }
    assert (await api.client.get(f"/v1/tasks/{sent['id']}")).json()["webhook"] == "https://example.com/hook"
    plain = (await api.client.post("/v1/tasks", json=changed(id=unique()))).json()
    assert nudges(api) == []
    fault(await api.client.get(f"/v1/tasks/{plain['id']}/deliveries"), 404, "no_webhook")
    assert (await api.client.get(f"/v1/tasks/{plain['id']}")).json()["webhook"] is None
    fault(await api.client.get(f"/v1/tasks/{sent['id']}/deliveries?submission=x"), 404, "unknown_submission")


async def test_a_task_whose_anchor_cannot_be_sent_is_not_accepted_and_can_be_sent_again(start_api: StartApi) -> None:
    api = await start_api(**SETTINGS)
    body = webhook(URL)
    api.faults.fail["send_message"] = 1
    error = fault(await api.client.post("/v1/tasks", json=body), 503, "unavailable")
    assert error["details"]["fate"] == "not_accepted"
    assert (await api.client.post("/v1/tasks", json=body)).status_code == 202


async def test_what_is_wrong_with_a_webhook_is_named(start_api: StartApi) -> None:
    api = await start_api(**SETTINGS)
    for value, field, words in (
        ("http://example.com/", "task.metadata.webhook.url", "https://"),
        ("https://[::1]/", "task.metadata.webhook.url", "loopback"),
        ({"url": URL, "events": ["done"]}, "task.metadata.webhook.events.0", "succeeded"),
        ({"url": URL, "event": []}, "task.metadata.webhook.event", "did you mean 'events'?"),
        ({}, "task.metadata.webhook.url", "required"),
    ):
        error = fault(await api.client.post("/v1/tasks", json=webhook(value)), 400, "invalid_request")
        assert error["details"][0]["field"] == field, error
        assert words in error["message"]
        assert "secret" not in error["message"]


async def test_a_page_of_another_site_cannot_order_a_delivery_unasked(start_api: StartApi) -> None:
    api = await start_api(**SETTINGS)
    sent = (await api.client.post("/v1/tasks", json=webhook(URL))).json()
    route = f"/v1/tasks/{sent['id']}/deliveries/1/redeliver"
    fault(await api.client.post(route, headers={"origin": "https://evil.example"}), 403, "cors_refused")
    fault(await api.client.post(route), 404, "unknown_delivery")
    own = {"origin": str(api.client.base_url).rstrip("/")}
    proxied = {"origin": "https://studio.example", "sec-fetch-site": "same-origin"}
    for headers in (own, proxied):
        fault(await api.client.post(route, headers=headers), 404, "unknown_delivery")
    foreign = {**own, "sec-fetch-site": "cross-site"}
    fault(await api.client.post(f"/v1/tasks/{sent['id']}/retry", headers=foreign), 403, "cors_refused")
