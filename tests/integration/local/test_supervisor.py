"""Processes are started, mended and ended, with small ones in place of the real."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil
import pytest
from rich.console import Console

from contract.processes import EXIT_RESTART_RUNTIME
from local.harness.lines import Printer
from local.harness.plan import Component, Stage
from local.harness.probe import answers_ok
from local.harness.restarts import RestartPolicy
from local.harness.supervisor import StartFailedError, Supervisor
from tests.support.waiting import eventually_async, free_port

SERVER = """
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
else:
    signal.signal(signal.SIGTERM, lambda *_: (print("goodbye", flush=True), sys.exit(0)))
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("hello", flush=True)
server.serve_forever()
"""


def server(name: str, stage: Stage = Stage.RUNTIME, *, stubborn: bool = False, stop_timeout: float = 5) -> Component:
    port = free_port()
    return Component(
        name=name,
        stage=stage,
        command=(sys.executable, "-I", "-c", SERVER, str(port), *(["stubborn"] if stubborn else [])),
        environment={},
        port=port,
        ready_path="/",
        stop_timeout=stop_timeout,
    )


def failing(name: str, code: str) -> Component:
    return Component(
        name=name,
        stage=Stage.RUNTIME,
        command=(sys.executable, "-I", "-c", code),
        environment={},
        port=free_port(),
        ready_path="/",
    )


@dataclass
class Bench:
    supervisor: Supervisor
    out: io.StringIO

    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


@asynccontextmanager
async def supervised() -> AsyncIterator[Bench]:
    out = io.StringIO()
    printer = Printer(Console(file=out, width=200), ["one", "two"])
    async with Supervisor(printer, RestartPolicy(first=0.05, longest=0.2)) as supervisor:
        yield Bench(supervisor, out)


async def test_a_process_is_awaited_and_what_it_says_is_passed_on() -> None:
    async with supervised() as bench:
        await bench.supervisor.start(server("one"))
        await bench.supervisor.wait_until_ready("one", within=60)
        await eventually_async(lambda: asyncio.sleep(0, "one │ hello" in bench.lines()))
    assert bench.lines()[-1] == "one │ goodbye"


async def test_one_that_dies_while_it_starts_is_named_with_its_last_words() -> None:
    async with supervised() as bench:
        await bench.supervisor.start(failing("one", "print('HOST: is no address'); raise SystemExit(2)"))
        with pytest.raises(StartFailedError, match=r"one ended .*exit status 2.*HOST: is no address"):
            await bench.supervisor.wait_until_ready("one", within=60)


async def test_one_that_dies_after_it_was_ready_is_noticed_before_the_stack_is_called_ready() -> None:
    async with supervised() as bench:
        await bench.supervisor.start(server("one"))
        await bench.supervisor.wait_until_ready("one", within=60)
        os.kill(bench.supervisor.pids()["one"], signal.SIGKILL)
        await eventually_async(lambda: asyncio.sleep(0, not bench.supervisor.pids()))
        await eventually_async(lambda: asyncio.sleep(0, "one" in bench.supervisor.ended()))
        with pytest.raises(StartFailedError, match=r"one ended .*SIGKILL"):
            bench.supervisor.settle()


async def test_one_that_never_answers_is_named_with_its_address() -> None:
    component = failing("one", "import time; print('busy', flush=True); time.sleep(60)")
    async with supervised() as bench:
        await bench.supervisor.start(component)
        with pytest.raises(StartFailedError, match=rf"not ready after 1 s.*127\.0\.0\.1:{component.port}"):
            await bench.supervisor.wait_until_ready("one", within=1)


async def test_a_program_that_is_missing_gets_a_sentence() -> None:
    component = Component("one", Stage.API, ("/nowhere/python",), {}, free_port(), "/")
    async with supervised() as bench:
        with pytest.raises(StartFailedError, match=r"one cannot be started: .*/nowhere/python"):
            await bench.supervisor.start(component)


async def test_what_dies_later_is_started_again_and_welcomed() -> None:
    welcomed = asyncio.Event()

    async def welcome() -> None:
        welcomed.set()

    async with supervised() as bench:
        await bench.supervisor.start(server("one"), after_restart=welcome)
        await bench.supervisor.wait_until_ready("one", within=60)
        bench.supervisor.settle()
        first = bench.supervisor.pids()["one"]
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(10):
            await welcomed.wait()
        await eventually_async(lambda: asyncio.sleep(0, "up  │ one is ready again" in bench.lines()))
        assert bench.supervisor.pids()["one"] != first
        assert "up  │ one has ended (by signal SIGKILL); it is started again in 0.05 s" in bench.lines()


async def test_stages_end_in_order_and_the_stubborn_are_killed() -> None:
    async with supervised() as bench:
        await bench.supervisor.start(server("two", Stage.EMULATOR))
        await bench.supervisor.start(server("one", Stage.API, stubborn=True, stop_timeout=0.3))
        for name in ("one", "two"):
            await bench.supervisor.wait_until_ready(name, within=60)
        pids = bench.supervisor.pids()
    assert bench.lines()[-3:] == ["one │ no", "up  │ one takes too long to end: killed", "two │ goodbye"]
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


async def test_in_a_hurry_nobody_is_waited_for() -> None:
    async with supervised() as bench:
        await bench.supervisor.start(server("one", stubborn=True, stop_timeout=60))
        await bench.supervisor.wait_until_ready("one", within=60)
        bench.supervisor.hurry()
        async with asyncio.timeout(30):
            await bench.supervisor.stop()


async def test_an_agent_that_asks_for_it_gets_a_new_runtime_and_is_started_again_after_its_end() -> None:
    asking = f"""
import http.server, pathlib, sys
sys.argv = ["", {(port := free_port())!r}]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        if self.path == "/ask": import os; os._exit({EXIT_RESTART_RUNTIME})
    def log_message(self, *_): pass
print("agent here", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", sys.argv[1]), Handler).serve_forever()
"""
    runtime = server("one")
    agent = Component("two", Stage.AGENT, (sys.executable, "-I", "-c", asking), {}, port, "/", runtime="one")
    async with supervised() as bench:
        for component in (runtime, agent):
            await bench.supervisor.start(component)
            await bench.supervisor.wait_until_ready(component.name, within=60)
        bench.supervisor.settle()
        before = bench.supervisor.pids()
        await answers_ok(port, "/ask")
        await eventually_async(
            lambda: asyncio.sleep(0, len(set(bench.supervisor.pids().values()) - {*before.values()}) == 2)
        )
        for component in (runtime, agent):
            await bench.supervisor.wait_until_ready(component.name, within=60)
        await eventually_async(lambda: asyncio.sleep(0, bench.lines().count("two │ agent here") == 2))
        lines = bench.lines()
    assert "up  │ two asks for a new one" in lines
    assert lines.index("one │ goodbye") < len(lines) - 1 - lines[::-1].index("two │ agent here")
    assert not [line for line in lines if "has ended" in line], "it was asked for, and is no failure"


async def test_one_that_is_retired_ends_in_order_and_stays_away() -> None:
    async with supervised() as bench:
        for name in ("one", "two"):
            await bench.supervisor.start(server(name))
            await bench.supervisor.wait_until_ready(name, within=60)
        bench.supervisor.settle()
        await bench.supervisor.retire("one")
        await bench.supervisor.retire("one")
        assert list(bench.supervisor.pids()) == ["two"]
        assert "one │ goodbye" in bench.lines()
        assert not [line for line in bench.lines() if "started again" in line]
        await bench.supervisor.start(server("one"))
        await bench.supervisor.wait_until_ready("one", within=60)


async def test_one_that_is_retired_while_it_waits_to_be_started_again_is_not_started_again() -> None:
    async with supervised() as bench:
        await bench.supervisor.start(server("one"))
        await bench.supervisor.wait_until_ready("one", within=60)
        bench.supervisor.settle()
        os.kill(bench.supervisor.pids()["one"], signal.SIGKILL)
        await eventually_async(lambda: asyncio.sleep(0, any("started again" in line for line in bench.lines())))
        await bench.supervisor.retire("one")
        assert bench.supervisor.pids() == {}
