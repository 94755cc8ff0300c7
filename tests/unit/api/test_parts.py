"""The small pure parts: digests, event ids, trace headers, the OpenAPI document, the errors."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import examples
from api.app import create_app
from api.digest import digest
from api.errors import ApiError
from api.events import SLOWEST_POLL_SECONDS, Streams, encode_event, event_id, has_seen_the_end, next_poll
from api.idempotency import check_key
from api.metrics import Metrics
from api.openapi.document import openapi_document
from api.settings import Settings
from api.telemetry import trace_header
from contract.config import parse_config
from contract.record import Record, Status, Submission
from contract.task import TaskType
from tests.unit.api.strategies import JSON_VALUES, attempt

CONFIG = parse_config("modelBucketArn: arn:aws:s3:::models\nmodelsRuntime:\n- {name: sdruntime, type: sdwebui}\n")


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), JSON_VALUES, max_size=5))
def test_the_digest_does_not_depend_on_the_order_of_keys(document: dict[str, Any]) -> None:
    assert digest(document) == digest(dict(reversed(document.items())))
    assert digest(document) != digest({**document, "one more": 1, "key": None})


@given(st.text(max_size=300) | st.text(st.characters(codec="ascii"), max_size=300))
def test_an_idempotency_key_is_printable_ascii_of_at_most_255(key: str) -> None:
    outcome = attempt(check_key, key)

    if isinstance(outcome, ApiError):
        assert outcome.status == 400
    assert (outcome == key) is bool(re.fullmatch(r"[ -~]{1,255}", key))


TRACE = r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}(;Sampled=[01])?"


@given(st.none() | st.text(max_size=200) | st.from_regex(TRACE, fullmatch=True, alphabet=st.characters(codec="ascii")))
def test_a_trace_header_is_kept_when_it_is_one_and_made_otherwise(incoming: str | None) -> None:
    header = trace_header(incoming)

    assert "Root=" in header
    assert len(header) <= 400
    assert header.isascii()
    assert header.isprintable()
    if incoming and re.fullmatch(TRACE, incoming):
        assert header == incoming


def submission(status: Status, progress: float | None = None) -> Submission:
    return Submission(
        submission="s",
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        status=status,
        progress=progress,
        submitted_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_an_event_id_changes_with_status_and_progress() -> None:
    ids = {event_id(submission(status, progress)) for status in Status for progress in (None, 0.1, 0.2)}

    assert len(ids) == len(Status) * 3


def test_only_who_has_seen_the_end_is_told_to_stay_away() -> None:
    for status in Status:
        record = Record(id="a", current=submission(status))
        assert has_seen_the_end(record, event_id(record.current)) is status.terminal
        assert not has_seen_the_end(record, "")


@given(JSON_VALUES)
def test_an_event_is_one_block_however_its_text_looks(data: Any) -> None:
    lines = encode_event("running", data, "id").decode().split("\n")

    assert len(lines) == 5
    assert json.loads(lines[2].removeprefix("data: ")) == data


def test_polling_slows_down_to_its_limit() -> None:
    interval = next_poll(99, changed=True)
    for _ in range(50):
        interval = next_poll(interval, changed=False)
    assert interval == SLOWEST_POLL_SECONDS


def routes(app: Any) -> set[tuple[str, str]]:
    while hasattr(app, "_app"):
        app = app._app
    return {(route.path, method) for route in app.routes for method in route.methods if method != "HEAD"}


def test_examples_name_a_picture_of_this_deployment_where_it_has_one() -> None:
    address = "s3://bucket/samples/cat.png"
    document = json.dumps(openapi_document(CONFIG, root_path="", keys_needed=False, sample_image=address))
    assert examples.CAT not in document
    assert address in document
    assert examples.CAT in json.dumps(openapi_document(CONFIG, root_path="", keys_needed=False))


def test_the_openapi_document_describes_exactly_the_routes_there_are() -> None:
    settings = Settings(
        task_topic_arn="arn:aws:sns:us-east-1:0:t", callback_topic_arn="arn:aws:sns:us-east-1:0:c", s3_bucket="b"
    )
    document = openapi_document(CONFIG, root_path="/prod", keys_needed=True)

    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    pages = {(path, "GET") for path in ("/", "/docs", "/openapi.json", "/favicon.ico", "/static/{name:path}")}
    assert routes(create_app(settings, CONFIG)) == described | pages
    assert document["servers"] == [{"url": "/prod"}]


@pytest.mark.parametrize("keys_needed", [True, False])
def test_every_reference_in_the_openapi_document_leads_somewhere(keys_needed: bool) -> None:
    document = openapi_document(CONFIG, root_path="", keys_needed=keys_needed)
    text = json.dumps(document)

    for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert name in document["components"]["schemas"]
    assert ('"security"' in text) is keys_needed
    assert '"422"' not in text


def test_one_key_leaves_event_streams_to_others() -> None:
    streams = Streams(Metrics().streams, 4)
    with ExitStack() as stack:
        for _ in range(2):
            assert streams.has_room("alice")
            stack.enter_context(streams.one("alice"))
        assert not streams.has_room("alice")
        for _ in range(2):
            assert streams.has_room("bob")
            stack.enter_context(streams.one("bob"))
        assert not streams.has_room("carol")
        assert streams.open == 4
    assert streams.open == 0
    with ExitStack() as stack:
        for _ in range(4):
            assert streams.has_room("")
            stack.enter_context(streams.one(""))
        assert not streams.has_room("")
