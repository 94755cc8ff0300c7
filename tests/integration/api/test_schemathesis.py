"""Requests made up from the OpenAPI document find no 5xx and no answer that the document does not describe."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.openapi.document import openapi_document
from api.server import Server, server_config
from api.services import make_front
from api.settings import Settings
from contract.config import parse_config
from tests.integration.api.conftest import throttled
from tests.support.deployment import CONFIG, Deployment

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def address(module_deployment: Deployment) -> Iterator[str]:
    """An API on a thread of its own, since schemathesis calls from plain functions."""
    os.environ.update(module_deployment.aws_environment())
    place = module_deployment.place
    options = Settings(
        task_topic_arn=place.task_topic_arn,
        callback_topic_arn=place.callback_topic_arn,
        s3_bucket=place.output_bucket,
        aws_endpoint_url=module_deployment.endpoint,
        port=0,
        grace_period_seconds=1,
        max_wait_seconds=0.1,
    )
    listening, found = threading.Event(), []

    def serve() -> None:
        async def main() -> None:
            config = throttled(module_deployment.config)
            front = make_front(options, config)
            app = create_app(options, config, front=front)

            def say(url: str) -> None:
                found.append((url, server))
                listening.set()

            server = Server(server_config(app, options), front.stopping, say)
            await server._serve()

        asyncio.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    assert listening.wait(20)
    url, server = found[0]
    yield url
    server.should_exit = True
    thread.join(20)


SCHEMA = schemathesis.openapi.from_dict(
    openapi_document(parse_config(CONFIG.format(stack="described")), root_path="", keys_needed=False)
)
OPERATIONS = {
    operation.label: operation
    for operation in (result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok))
    # A stream does not end by itself; it has tests of its own.
    if not operation.path.endswith("/events")
}


@pytest.mark.parametrize("label", OPERATIONS)
def test_no_request_finds_a_fault(address: str, label: str) -> None:
    operation = OPERATIONS[label]

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=strategies.one_of(
            operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
            operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        )
        if operation.body or len(operation.query) or len(operation.headers)
        else operation.as_strategy()
    )
    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=address, checks=CHECKS, timeout=20)

    check()
