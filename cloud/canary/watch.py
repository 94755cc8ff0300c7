"""Watches a canary for a window, and says what became of it."""

from __future__ import annotations

import time
from typing import Final

from cloud.aws import Aws
from cloud.canary.observe import callbacks
from cloud.canary.release import Release
from cloud.canary.verdict import Limits, Outcome, Sample, Verdict, judge
from contract.topology import Topology

_POLL: Final = 10
"""Seconds of a long poll; between two of them the pods are looked at."""


def watch(aws: Aws, place: Topology, release: Release, *, limits: Limits, window: float) -> Verdict:
    """Returns the verdict of a window, or of its first part when that is enough.

    Raises:
        ToolError: the cluster does not answer.
        botocore.exceptions.BotoCoreError, ClientError: AWS is out of reach or refuses.
    """
    deadline = time.monotonic() + window
    samples: list[Sample] = []
    told = ""
    with callbacks(aws, place, release.runtime.name) as listener:
        while True:
            if trouble := release.trouble():
                return Verdict(Outcome.FAIL, trouble)
            left = deadline - time.monotonic()
            wait = max(0, min(_POLL, int(left)))
            # All that has come, not ten at a time: the end of the window must not find half of it unread.
            while heard := listener.receive(wait):
                samples += heard
                wait = 0
            verdict = judge(samples, limits, over=left <= 0)
            if verdict.outcome is not Outcome.WAIT:
                return verdict
            if verdict.reason != told:
                told = verdict.reason
                release.report.detail(told)
