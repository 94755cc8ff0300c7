"""Starts and ends replicas by the rules that KEDA and the HPA apply in the cloud; a stand-in for one machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from contract.scaling.autoscaler import Autoscaler
from contract.scaling.keda import Backlog
from contract.scaling.settings import Scaling
from local.harness.lines import Printer
from local.harness.options import Autoscaling
from local.harness.plan import Component, Pair
from local.harness.replicas import LIVING, Phase, Replica, free_numbers, surplus
from local.harness.supervisor import StartFailedError, Supervisor

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_IDLE_STATE: Final = "ready"
"""What an agent's /readyz says of itself when it has nothing to do."""
_ASK_TIMEOUT: Final = 2.0
"""Seconds."""

type Look = Callable[[str], Awaitable[Backlog | None]]
"""Returns what is in the queue of the runtime of this name; None when it cannot be read."""


@dataclass
class Fleet:
    """The replicas of one runtime."""

    name: str
    pairs: Mapping[int, Pair]
    """By the replica's number: as many as this machine is to run at most."""
    scaling: Scaling
    replicas: list[Replica] = field(default_factory=list)
    wanted: int = 0

    def keep_all(self) -> None:
        """Says that every replica runs, and always will."""
        self.wanted = len(self.pairs)
        self.replicas = [Replica(number, Phase.READY) for number in self.pairs]

    def count(self, *phases: Phase) -> int:
        """Returns how many replicas are in these phases; without any, in all but the last."""
        return sum(replica.phase in (phases or LIVING) for replica in self.replicas)


class LocalAutoscaling:
    """Keeps each fleet as large as its autoscaler wants it, until it is cancelled.

    Args:
        fleets: of every runtime.
        options: the delays and the pace.
        supervisor: starts and ends processes.
        printer: of the lines.
        look: reads a queue.
        changed: is awaited after every change, to write the state file.
        start_timeout: seconds until a replica must be ready.
    """

    def __init__(
        self,
        fleets: list[Fleet],
        options: Autoscaling,
        supervisor: Supervisor,
        printer: Printer,
        *,
        look: Look,
        changed: Callable[[], Awaitable[None]],
        start_timeout: float,
    ) -> None:
        self._fleets = fleets
        self._options = options
        self._supervisor = supervisor
        self._say = printer.say
        self._look = look
        self._changed = changed
        self._start_timeout = start_timeout
        self._group = asyncio.TaskGroup()
        self._starts: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Scales until it is cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_ASK_TIMEOUT)) as http, self._group:
            for fleet in self._fleets:
                self._spawn(self._scale(fleet, http), f"scale {fleet.name}")

    async def _scale(self, fleet: Fleet, http: aiohttp.ClientSession) -> None:
        autoscaler = Autoscaler(fleet.scaling, sync_period=self._options.sync_period, began=time.monotonic())
        while True:
            backlog = await self._look(fleet.name)
            before = fleet.wanted
            fleet.wanted = autoscaler.decide(time.monotonic(), backlog)
            if fleet.wanted != before:
                self._say(
                    f"{fleet.name}: {before} → {fleet.wanted} replicas wanted ({_described(backlog)})", style="cyan"
                )
                await self._changed()
            await self._adjust(fleet, http)
            await asyncio.sleep(max(0.0, autoscaler.due - time.monotonic()))

    async def _adjust(self, fleet: Fleet, http: aiohttp.ClientSession) -> None:
        missing = fleet.wanted - fleet.count()
        free = free_numbers([replica.number for replica in fleet.replicas], len(fleet.pairs))
        for number in free[: max(0, missing)]:
            replica = Replica(number)
            fleet.replicas.append(replica)
            key = (fleet.name, number)
            self._starts[key] = self._spawn(self._start(fleet, replica), f"start {fleet.name}-{number}")
        if missing < 0:
            busy = await self._busy(fleet, http)
            for replica in surplus(fleet.replicas, fleet.wanted, busy):
                replica.enter(Phase.DRAINING)
                self._starts.pop((fleet.name, replica.number)).cancel()
                self._spawn(self._end(fleet, replica), f"end {fleet.name}-{replica.number}")

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        return self._group.create_task(work, name=name)

    async def _start(self, fleet: Fleet, replica: Replica) -> None:
        pair, delays = fleet.pairs[replica.number], self._options.delays
        began = time.monotonic()
        for phase, seconds in delays.phases():
            if seconds:
                await self._enter(replica, phase)
                await asyncio.sleep(seconds)
        try:
            await self._enter(replica, Phase.MODEL)
            await self._supervisor.start(pair.runtime, after_restart=self._changed)
            await asyncio.sleep(delays.model)
            await self._supervisor.start(pair.agent, after_restart=self._changed)
            await self._enter(replica, Phase.STARTING)
            await self._supervisor.wait_until_ready(pair.agent.name, within=self._start_timeout)
        except StartFailedError as error:
            self._say(str(error), style="red")
            replica.enter(Phase.DRAINING)
            await self._end(fleet, replica)
            return
        await self._enter(replica, Phase.READY)
        self._say(
            f"{pair.runtime.name} is ready after {time.monotonic() - began:.1f} s; {_standing(fleet)}", style="cyan"
        )

    async def _end(self, fleet: Fleet, replica: Replica) -> None:
        """Lets the agent drain, ends the runtime after it, and frees their ports."""
        await self._changed()
        pair = fleet.pairs[replica.number]
        for component in (pair.agent, pair.runtime):
            await self._supervisor.retire(component.name)
        fleet.replicas.remove(replica)
        await self._changed()
        self._say(f"{pair.runtime.name} has ended; {_standing(fleet)}", style="cyan")

    async def _busy(self, fleet: Fleet, http: aiohttp.ClientSession) -> set[int]:
        """Returns who is at work, or cannot be asked."""
        asked = [replica.number for replica in fleet.replicas if replica.phase in {Phase.STARTING, Phase.READY}]
        answers = await asyncio.gather(*(_is_idle(http, fleet.pairs[number].agent) for number in asked))
        return {number for number, idle in zip(asked, answers, strict=True) if not idle}

    async def _enter(self, replica: Replica, phase: Phase) -> None:
        replica.enter(phase)
        await self._changed()


async def read_backlog(sqs: SQSClient, queue_urls: Mapping[str, str], runtime: str) -> Backlog | None:
    """Returns what is in a runtime's queue; None when SQS does not say."""
    try:
        answer = await asyncio.to_thread(
            sqs.get_queue_attributes,
            QueueUrl=queue_urls[runtime],
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )
    except (BotoCoreError, ClientError):
        return None
    numbers = answer["Attributes"]
    return Backlog(
        visible=int(numbers["ApproximateNumberOfMessages"]),
        in_flight=int(numbers["ApproximateNumberOfMessagesNotVisible"]),
        delayed=int(numbers["ApproximateNumberOfMessagesDelayed"]),
    )


async def _is_idle(http: aiohttp.ClientSession, agent: Component) -> bool:
    try:
        async with http.get(agent.ready_url) as answer:
            body: dict[str, Any] = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False
    return bool(body.get("state") == _IDLE_STATE and body.get("held") == 0)


def _described(backlog: Backlog | None) -> str:
    if backlog is None:
        return "the queue cannot be read"
    return f"{backlog.visible} tasks waiting, {backlog.in_flight} in flight"


def _standing(fleet: Fleet) -> str:
    return f"{fleet.name}: {fleet.count(Phase.READY)} of {fleet.wanted} wanted replicas ready"
