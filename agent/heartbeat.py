"""Keeps every held message invisible to other agents, however long it takes: prefetched and finishing ones too."""

from __future__ import annotations

import asyncio
import time

import structlog

from agent.aws import backoff, describe
from agent.holdings import Holdings
from agent.operations.metrics import Metrics
from agent.task_queue import TaskQueue
from contract.outages import OUTAGES

log = structlog.get_logger()


class Heartbeat:
    """Renews the visibility timeout of all held messages together, three times within each timeout."""

    def __init__(self, queue: TaskQueue, holdings: Holdings, metrics: Metrics, *, visibility_timeout: float) -> None:
        self._queue = queue
        self._holdings = holdings
        self._metrics = metrics
        self.period = visibility_timeout / 3
        """Seconds between beats."""
        self.last_turn = time.monotonic()
        """When the loop last came round; old means that the event loop is stuck."""

    async def run(self) -> None:
        """Beats until cancelled."""
        failures = 0
        while True:
            self.last_turn = time.monotonic()
            pause = self.period if not failures else min(self.period, backoff(failures))
            await asyncio.sleep(pause)
            failures = 0 if await self.beat() else failures + 1

    async def beat(self) -> bool:
        """Renews once. Returns False when the queue was out of reach."""
        held = {item: item.delivery for item in self._holdings if not item.lost}
        if not held:
            return True
        asked_at = time.monotonic()
        try:
            ours = await self._queue.renew(held)
        except OUTAGES as error:
            self._metrics.heartbeats.labels("failed").inc()
            log.warning("heartbeat_failed", held=len(held), error=describe(error))
            return False
        for item, delivery in held.items():
            answer = ours.get(item.delivery.message_id)
            if answer:
                item.confirmed_at = asked_at
            elif answer is False and item in self._holdings and item.delivery is delivery:
                # Not one that was deleted meanwhile, nor one that has come again: its newer receipt is ours.
                item.lost = True
                self._metrics.heartbeats.labels("lost").inc()
                log.warning("message_lost", message_id=item.delivery.message_id, submission=item.submission_id)
        self._metrics.heartbeats.labels("renewed").inc()
        return True
