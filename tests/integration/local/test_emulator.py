"""An emulator is asked before it is relied on, and what it lacks is said by its name."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, cast

import pytest

from local.clients import Clients
from local.emulator import Findings, UnfitEmulatorError, check, examine, name_of
from tests.support.deployment import Deployment


class Careless:
    """A client of LocalStack that leaves out some of what it is told, as emulators do."""

    def __init__(self, client: Any, **changes: Any) -> None:
        self._client = client
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        change = self._changes.get(name)
        method = getattr(self._client, name)
        return method if change is None else lambda **arguments: change(method, arguments)


def without(*names: str) -> Any:
    return lambda call, arguments: call(**{name: value for name, value in arguments.items() if name not in names})


def without_attributes(*names: str) -> Any:
    def change(call: Any, arguments: dict[str, Any]) -> Any:
        left = {name: value for name, value in arguments["Attributes"].items() if name not in names}
        return call(**arguments | {"Attributes": left})

    return change


def deaf(_: Any, __: Any) -> dict[str, str]:
    return {"MessageId": "taken, and never delivered"}


def careless(clients: Clients, service: str, **changes: Any) -> Clients:
    return replace(clients, **cast("Any", {service: Careless(getattr(clients, service), **changes)}))


def left_behind(deployment: Deployment) -> list[str]:
    clients = deployment.clients
    topics = [topic["TopicArn"] for topic in clients.sns.list_topics()["Topics"]]
    queues = clients.sqs.list_queues().get("QueueUrls", [])
    keys = clients.s3.list_objects_v2(Bucket=deployment.place.output_bucket).get("Contents", [])
    subscriptions = [item["TopicArn"] for item in clients.sns.list_subscriptions()["Subscriptions"]]
    return [name for name in [*topics, *queues, *subscriptions, *map(str, keys)] if "probe" in name]


def test_localstack_has_all_that_is_needed_and_is_as_it_was(deployment: Deployment) -> None:
    began = time.monotonic()
    assert examine(deployment.clients, deployment.place) == Findings()
    assert time.monotonic() - began < 2  # a tenth of a second on a quiet machine
    assert left_behind(deployment) == []
    assert name_of(deployment.endpoint).startswith("LocalStack 20")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"publish": deaf}, "SomeStack delivered nothing from SNS to SQS"),
        ({"subscribe": without_attributes("FilterPolicy")}, "SomeStack ignores the filter policies of subscriptions"),
        ({"subscribe": without_attributes("RawMessageDelivery")}, "SomeStack ignores RawMessageDelivery"),
    ],
)
def test_one_on_which_no_task_would_run_is_refused_by_its_name(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr("local.emulator.MESSAGE_SECONDS", 1)
    with pytest.raises(UnfitEmulatorError, match=said):
        check(careless(deployment.clients, "sns", **change), deployment.place, "SomeStack")
    assert left_behind(deployment) == []


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (
            "IfNoneMatch",
            "SomeStack ignores If-None-Match (of 4 writers of one key 4 won): a task could be stored twice",
        ),
        ("IfMatch", "SomeStack ignores If-Match: an agent could overwrite what another has recorded"),
    ],
)
def test_one_that_ignores_write_conditions_is_named_with_what_comes_of_it(
    deployment: Deployment, condition: str, said: str
) -> None:
    clients = careless(deployment.clients, "s3", put_object=without(condition))
    [sentence] = check(clients, deployment.place, "SomeStack")
    assert sentence.startswith(said)
    assert left_behind(deployment) == []


class OpenToAll(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"services": {}, "version": "1.2"}).encode()
        self.send_response(200 if self.path in {"/", "/_ministack/health"} else 404)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_one_that_lets_every_web_page_in_is_named(deployment: Deployment) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OpenToAll) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        assert name_of(endpoint) == "MiniStack 1.2"
        [sentence] = check(replace(deployment.clients, endpoint=endpoint), deployment.place, name_of(endpoint))
        server.shutdown()
    assert sentence.startswith("MiniStack 1.2 lets every web page that you open read and change what it holds")
