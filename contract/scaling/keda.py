"""What KEDA decides: the queue's number, whether it is active, and the steps between no replica and some.

Source: kedacore/keda v2.20, `pkg/scalers/aws_sqs_queue_scaler.go` (the number) and
`pkg/scaling/executor/scale_scaledobjects.go` (the steps). Between one replica and the maximum the HPA decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from contract.scaling.settings import Scaling


@dataclass(frozen=True, slots=True)
class Backlog:
    """What SQS says of a queue: `ApproximateNumberOfMessages` and its companions."""

    visible: int
    in_flight: int = 0
    """NotVisible: an agent holds them."""
    delayed: int = 0


def metric(scaling: Scaling, backlog: Backlog) -> int:
    """Returns the number of messages by which the queue is scaled."""
    return (
        backlog.visible
        + (backlog.in_flight if scaling.scale_on_in_flight else 0)
        + (backlog.delayed if scaling.scale_on_delayed else 0)
    )


def poll(
    scaling: Scaling, *, now: float, replicas: int, messages: int, last_active: float | None
) -> tuple[int, float | None]:
    """Decides at a poll, which comes every `pollingInterval`.

    Args:
        scaling: the settings.
        now: monotonic seconds.
        replicas: wanted at present.
        messages: the metric.
        last_active: when the queue was active the last time, as this function returned it.

    Returns:
        The replicas that are wanted now, and the time of the last activity.
    """
    if messages > scaling.activation_queue_length:
        return (replicas or max(1, scaling.min_replica_count)), now
    if replicas < scaling.min_replica_count:
        return scaling.min_replica_count, last_active
    cooled = last_active is None or now - last_active > scaling.cooldown_period
    if scaling.min_replica_count == 0 and replicas > 0 and cooled:
        return 0, last_active
    return replicas, last_active
