"""API and agent send the spans of one task to a collector as one trace, which may have begun with the client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from tests.support.deployment import deploy
from tests.support.serving import ThreadedServer
from tests.support.stack import SPARES, Stack, task, unique
from tests.support.waiting import eventually

AGENT_SPANS = {"receive", "prepare", "run", "finish"}


@dataclass(frozen=True)
class Span:
    """What a collector was told, ids in hexadecimal."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    said: Mapping[str, str | int]
    """Its attributes, of texts and whole numbers."""


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """Takes spans as an OpenTelemetry Collector does (OTLP 1.x over HTTP, binary); yields its address and the spans."""
    # Here: OpenTelemetry must not be imported into the other tests' process before it is used.
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans: list[Span] = []

    async def take(request: web.Request) -> web.Response:
        for resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            names = {item.key: item.value.string_value for item in resource.resource.attributes}
            spans.extend(
                Span(
                    names["service.name"],
                    item.name,
                    item.trace_id.hex(),
                    item.span_id.hex(),
                    item.parent_span_id.hex(),
                    {told.key: told.value.string_value or told.value.int_value for told in item.attributes},
                )
                for scope in resource.scope_spans
                for item in scope.spans
            )
        return web.Response(content_type="application/x-protobuf")

    async def application() -> web.Application:
        made = web.Application()
        made.router.add_post("/v1/traces", take)
        return made

    with ThreadedServer(application) as server:
        yield server.url, spans


def test_the_spans_of_a_task_are_one_trace_from_the_request_to_the_end(localstack: str, tmp_path: Path) -> None:
    with collector() as (url, spans), Stack(deploy(localstack, config=SPARES), tmp_path) as stack:
        runtime = stack.spare_runtime("traces")
        # The standard's variables: spans are sent every tenth of a second.
        stack.start_api(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="100")
        stack.start_pod(runtime, ready=False, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="100")
        clients_trace, clients_span = "6b016d550e07cad5c3eec9fbfb5c2e43", "53995c3f42cd8ad8"
        header = f"Root=1-{clients_trace[:8]}-{clients_trace[8:]};Parent={clients_span};Sampled=1"
        for more in ({}, {"x-amzn-trace-id": header}):
            answer = stack.post("/v1alpha2", {"task": task(unique("traced"), runtime, seed=11)}, **more)
            assert answer.status_code == 200, answer.text

        def requests() -> list[Span]:
            return [span for span in spans if span.name == "POST /v1alpha2"]

        def of_agent(request: Span) -> list[Span]:
            return [span for span in spans if span.service == "darkroom-agent" and span.trace == request.trace]

        eventually(lambda: len(requests()) == 2, within=30)
        eventually(lambda: all({span.name for span in of_agent(item)} >= AGENT_SPANS for item in requests()), within=60)

        ours, clients = sorted(requests(), key=lambda span: span.parent)
        assert (clients.trace, clients.parent) == (clients_trace, clients_span)
        assert ours.parent == "", "a trace of its own"
        assert ours.trace != clients_trace
        for request in (ours, clients):
            assert request.service == "darkroom-api"
            assert {span.parent for span in of_agent(request)} == {request.span}
            [run] = [span for span in of_agent(request) if span.name == "run"]
            assert run.said["gen_ai.output.type"] == "image"
            assert run.said["gen_ai.request.seed"] == 11
            assert "error.type" not in run.said
        assert "GET /readyz" not in {span.name for span in spans}, "probes would be nearly all that there is to see"
