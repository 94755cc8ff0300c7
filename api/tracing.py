"""OpenTelemetry spans around requests; nothing is loaded or done unless an endpoint is configured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from api.settings import Settings
from api.telemetry import trace_header

_PROPAGATED: Final = "X-Amzn-Trace-Id"
"""The header's name in the propagator's own spelling."""


class Span(Protocol):
    """What the middleware tells a span."""

    def end(self, route: str, status: int) -> None:
        """Names the span after its route and notes the status."""


class Tracer:
    """Makes no spans; passes the trace header on."""

    @contextmanager
    def request(self, method: str, incoming: str | None) -> Iterator[tuple[str, Span | None]]:
        """Yields the trace header to hand on and the request's span, if there is one."""
        yield trace_header(incoming), None

    def close(self) -> None:
        """Sends what is left."""


def make_tracer(settings: Settings) -> Tracer:
    """Returns a tracer that sends to the configured endpoint, or one that does nothing."""
    return _OpenTelemetryTracer() if settings.otel_exporter_otlp_endpoint else Tracer()


class _OpenTelemetryTracer(Tracer):
    def __init__(self) -> None:
        # Imported here: the SDK costs a third of the start-up time, and most deployments do not use it.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.propagators.aws import AwsXRayPropagator  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self._provider = TracerProvider(resource=Resource.create({"service.name": "darkroom-api"}))
        # The exporter reads the standard OTEL_EXPORTER_OTLP_* variables itself.
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("darkroom.api")
        self._propagator = AwsXRayPropagator()

    @contextmanager
    def request(self, method: str, incoming: str | None) -> Iterator[tuple[str, Span | None]]:
        from opentelemetry import trace  # noqa: PLC0415

        parent = self._propagator.extract({_PROPAGATED: trace_header(incoming)})
        with self._tracer.start_as_current_span(method, context=parent, kind=trace.SpanKind.SERVER) as span:
            span.set_attribute("http.request.method", method)
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
            header = next(iter(carrier.values()), None) or trace_header(incoming)
            yield header, _RequestSpan(method, span)

    def close(self) -> None:
        self._provider.shutdown()


class _RequestSpan:
    def __init__(self, method: str, span: object) -> None:
        self._method = method
        self._span = span

    def end(self, route: str, status: int) -> None:
        span = self._span
        span.update_name(f"{self._method} {route}")  # type: ignore[attr-defined]
        span.set_attribute("http.route", route)  # type: ignore[attr-defined]
        span.set_attribute("http.response.status_code", status)  # type: ignore[attr-defined]
