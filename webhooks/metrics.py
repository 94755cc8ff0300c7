"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.attempts = Counter(
            "darkroom_webhook_attempts_total",
            "Attempts to deliver, by what they came to",
            ["outcome"],
            registry=self.registry,
        )
        self.following = Gauge(
            "darkroom_webhook_nudges_in_flight", "Tasks that are being looked at", registry=self.registry
        )
        self.left_alone = Gauge(
            "darkroom_webhook_receivers_left_alone", "Receivers that fail and are left alone", registry=self.registry
        )

    def render(self) -> bytes:
        """Returns all of them in Prometheus' text format."""
        return generate_latest(self.registry)
