"""The loop that starts and ends replicas: idle ones first, one at work never, and a start that fails is tried again."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from aiohttp import web
from rich.console import Console

from contract.scaling.keda import Backlog
from contract.scaling.settings import Scaling
from local.harness.autoscale import Fleet, LocalAutoscaling
from local.harness.lines import Printer
from local.harness.options import Autoscaling
from local.harness.plan import Component, Pair, Stage
from local.harness.replicas import Phase, StartDelays
from local.harness.supervisor import StartFailedError, Supervisor
from tests.support.waiting import eventually_async


@dataclass
class Machine:
    """Stands in for the supervisor and for the agents' health servers."""

    running: set[str] = field(default_factory=set)
    ended: list[str] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    """Names of agents."""
    broken: int = 0
    """So many starts fail."""
    messages: int | None = 0
    looks: int = 0

    async def start(self, component: Component, *, after_restart: object) -> None:
        self.running.add(component.name)

    async def wait_until_ready(self, name: str, *, within: float) -> None:
        if self.broken:
            self.broken -= 1
            raise StartFailedError(f"{name} is not ready")

    async def retire(self, name: str) -> None:
        if name in self.running:
            self.running.remove(name)
            self.ended.append(name)

    async def look(self, runtime: str) -> Backlog | None:
        self.looks += 1
        return None if self.messages is None else Backlog(self.messages)

    async def answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.json_response({"state": "busy" if name in self.busy else "ready", "held": 0})


@asynccontextmanager
async def scaled(machine: Machine, **settings: int) -> AsyncIterator[Fleet]:
    app = web.Application()
    app.router.add_get("/{name}", machine.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]

    def component(name: str, stage: Stage) -> Component:
        return Component(name, stage, (), {}, port, f"/{name}")

    pairs = {n: Pair(component(f"r-{n}", Stage.RUNTIME), component(f"r-{n}-agent", Stage.AGENT)) for n in (1, 2, 3)}
    scaling = Scaling.model_validate(
        {"queueLength": 1, "maxReplicaCount": 3, "cooldownPeriod": 0, **settings}
        | {"extraHPAConfig": {"scaleDown": {"stabilizationWindowSeconds": 0}}}
    )
    fleet = Fleet("r", pairs, scaling)

    async def changed() -> None:
        assert len({replica.number for replica in fleet.replicas}) == len(fleet.replicas)

    autoscaling = LocalAutoscaling(
        [fleet],
        Autoscaling(StartDelays(), sync_period=0.05),
        cast("Supervisor", machine),
        Printer(Console(file=io.StringIO()), ["r"]),
        look=machine.look,
        changed=changed,
        start_timeout=5,
    )
    task = asyncio.create_task(autoscaling.run())
    try:
        yield fleet
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runner.cleanup()


async def until(fleet: Fleet, *, ready: int, draining: int = 0) -> None:
    async def stands() -> bool:
        return fleet.count(Phase.READY) == ready and fleet.count(Phase.DRAINING) == draining

    await eventually_async(stands)


async def test_one_at_work_stays_until_it_is_idle() -> None:
    machine = Machine(messages=3)
    async with scaled(machine) as fleet:
        await until(fleet, ready=3)
        machine.busy = {"r-2-agent"}
        machine.messages = 0
        await eventually_async(lambda: asyncio.sleep(0, fleet.wanted == 0))
        await until(fleet, ready=1)
        assert "r-2" in machine.running
        machine.busy = set()
        await until(fleet, ready=0)
    assert machine.running == set()
    assert machine.ended.index("r-2-agent") < machine.ended.index("r-2")


async def test_a_start_that_fails_is_cleared_away_and_tried_again() -> None:
    machine = Machine(messages=1, broken=2)
    async with scaled(machine) as fleet:
        await until(fleet, ready=1)
        assert machine.running == {"r-1", "r-1-agent"}
        assert len(machine.ended) == 4


async def test_a_queue_that_cannot_be_read_changes_nothing() -> None:
    machine = Machine(messages=2)
    async with scaled(machine) as fleet:
        await until(fleet, ready=2)
        machine.messages = None
        looks = machine.looks
        await eventually_async(lambda: asyncio.sleep(0, machine.looks > looks + 3))
        assert (fleet.wanted, fleet.count(Phase.READY)) == (2, 2)
