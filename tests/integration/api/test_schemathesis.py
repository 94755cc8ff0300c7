"""Requests made up from the OpenAPI document find no 5xx and no answer that the document does not describe."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.server import Server, server_config
from api.services import make_front
from api.settings import Settings
from tests.integration.api.conftest import unhurried
from tests.support.deployment import Deployment

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
    )
    listening, found = threading.Event(), []

    def serve() -> None:
        async def main() -> None:
            config = unhurried(module_deployment.config)
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


@pytest.fixture
def document(address: str) -> Any:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@schema.exclude(path_regex="/events$").parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_finds_a_fault(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS, timeout=20)
