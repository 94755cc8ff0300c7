"""OpenTelemetry spans that continue the request's X-Ray trace, when an endpoint is set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from agent.settings import Settings


class Tracer(Protocol):
    """Makes spans."""

    on: bool
    """Whether anybody gets them."""

    def span(self, name: str, trace: str | None, **attributes: str | int) -> AbstractContextManager[Any]:
        """Returns a span that is a child of an X-Ray trace header (`Root=…;Parent=…;Sampled=…`), if there is one."""

    def note(self, name: str, trace: str | None, *, since: float | None) -> None:
        """Makes a span that ends now and began at `since` (Unix seconds; None: now too)."""

    def close(self) -> None:
        """Sends what is left."""


class NoTracer:
    """Tracing that is off."""

    on = False

    def span(self, name: str, trace: str | None, **attributes: str | int) -> AbstractContextManager[Any]:
        """Returns a context that does nothing."""
        return nullcontext()

    def note(self, name: str, trace: str | None, *, since: float | None) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def make_tracer(settings: Settings) -> Tracer:
    """Returns the tracer that the settings ask for. OpenTelemetry is imported only when it is used."""
    if not settings.otel_exporter_otlp_endpoint:
        return NoTracer()
    return _OpenTelemetryTracer(settings)


class _OpenTelemetryTracer:
    """Spans in batches to an OTLP/HTTP endpoint, from a thread of its own."""

    on = True

    def __init__(self, settings: Settings) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.propagators.aws import AwsXRayPropagator  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        resource = Resource.create({"service.name": "darkroom-agent", "darkroom.runtime": settings.runtime_name})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=5)))
        self._tracer = self._provider.get_tracer("darkroom.agent")
        self._propagator = AwsXRayPropagator()

    @contextmanager
    def span(self, name: str, trace: str | None, **attributes: str | int) -> Iterator[Any]:
        """Returns a span that is a child of the header's segment."""
        with self._tracer.start_as_current_span(name, context=self._context(trace), attributes=attributes) as span:
            yield span

    def note(self, name: str, trace: str | None, *, since: float | None) -> None:
        """Makes a span that has ended."""
        # It began by SQS's clock, and ends by this machine's, which may be behind.
        began = None if since is None else int(min(since, time.time()) * 1e9)
        self._tracer.start_span(name, context=self._context(trace), start_time=began).end()

    def _context(self, trace: str | None) -> Any:
        return self._propagator.extract({"X-Amzn-Trace-Id": trace}) if trace else None

    def close(self) -> None:
        """Sends what is left, for two seconds at most."""
        self._provider.force_flush(timeout_millis=2_000)
        self._provider.shutdown()
