"""Watches a canary for a window, and says what became of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from cloud.aws import Aws
from cloud.canary.observe import callbacks
from cloud.canary.verdict import Limits, Outcome, Sample, Verdict, judge
from cloud.reporter import Reporter
from contract.topology import Topology

_POLL: Final = 10
"""Seconds of a long poll; between two of them the pods are looked at."""

_READ_AT_MOST: Final = 30
"""Seconds between two looks at the pods, however fast callbacks come."""


def watch(
    aws: Aws,
    place: Topology,
    runtime: str,
    trouble_of_pods: Callable[[], str],
    *,
    limits: Limits,
    window: float,
    report: Reporter,
) -> Verdict:
    """Returns the verdict of a window, or of its first part when that is enough.

    Args:
        aws: where callbacks and records are.
        place: the deployment's topics and bucket.
        runtime: whose canary it is.
        trouble_of_pods: tells why the canary's pods cannot work; empty: they can.
        limits: what the canary may do worse.
        window: seconds.
        report: told the figures.

    Raises:
        ToolError: the cluster does not answer.
        botocore.exceptions.BotoCoreError, ClientError: AWS is out of reach or refuses.
    """
    deadline = time.monotonic() + window
    samples: list[Sample] = []
    told = ""
    with callbacks(aws, place, runtime) as listener:
        while True:
            if trouble := trouble_of_pods():
                return Verdict(Outcome.FAIL, trouble)
            left = deadline - time.monotonic()
            wait = max(0, min(_POLL, math.ceil(left)))
            # All that has come, not ten at a time: the end of the window must not find half of it unread.
            read_until = time.monotonic() + _READ_AT_MOST
            while heard := listener.receive(wait):
                samples += heard
                wait = 0
                if time.monotonic() > read_until:
                    break
            verdict = judge(samples, limits, over=left <= 0)
            if verdict.outcome is not Outcome.WAIT:
                return verdict
            if verdict.reason != told:
                told = verdict.reason
                report.detail(told)
