"""The Prometheus metrics of the API, in a registry of their own."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """What the API counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        requests = Counter(
            "darkroom_api_requests",
            "Requests answered.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        seconds = Histogram(
            "darkroom_api_request_seconds",
            "Seconds from the request's head to the last byte of its answer; event streams are left out.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        accepted = Counter(
            "darkroom_api_tasks_accepted",
            "Tasks accepted.",
            ("runtime", "tasktype", "dialect"),
            registry=self.registry,
        )
        # Each is found once for each of its few labels: looking one up anew costs more than to count.
        self.requests, self.seconds, self.accepted = (
            cache(requests.labels),
            cache(seconds.labels),
            cache(accepted.labels),
        )
        # Not by key: whoever may read the metrics need not know whose keys there are. The log names them.
        self.throttled = Counter("darkroom_api_throttled", "Requests refused with 429.", registry=self.registry)
        self.swept = Counter(
            "darkroom_api_swept",
            "Tasks that AWS forgot or could not deliver, by what was done: expired, cancelled, called_back, "
            "sent_again, undeliverable.",
            ("what",),
            registry=self.registry,
        )
        self.looks = Counter(
            "darkroom_api_event_looks",
            "Task records asked for on behalf of GET /v1/events.",
            registry=self.registry,
        )
        self.streams = Gauge("darkroom_api_event_streams", "Event streams open.", registry=self.registry)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
