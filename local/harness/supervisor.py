"""Starts processes, passes on what they say, starts again what dies, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Self

from contract.processes import EXIT_RESTART_RUNTIME
from local.harness.lines import LineSplitter, Printer
from local.harness.plan import Component, Stage
from local.harness.probe import answers_ok
from local.harness.restarts import RestartPolicy

WATCHDOG: Final = Path(__file__).with_name("watchdog.py")

_CHUNK: Final = 1 << 16
_POLL: Final = 0.1
_UNREAD: Final = 1 << 20
"""Bytes that wait for a process that hears all lines."""


class StartFailedError(Exception):
    """A process that did not become ready; the text names it and gives its last words."""


@dataclass
class _Child:
    component: Component
    after_restart: Callable[[], Awaitable[None]] | None
    process: asyncio.subprocess.Process | None = None
    last_line: str = "nothing"
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is dead and will not be started again."""
    renewing: bool = False
    """Its end was asked for, and is no failure."""
    retired: bool = False
    """It is to end for good."""
    keeper: asyncio.Task[None] | None = None
    welcome: asyncio.Task[None] | None = None


class Supervisor:
    """Keeps processes running until `stop`.

    Until `settle` is called the stack is starting, and a death is an error; from then on it is mended.

    Args:
        printer: of the lines.
        policy: of the restarts.
    """

    def __init__(self, printer: Printer, policy: RestartPolicy) -> None:
        self._printer = printer
        self._policy = policy
        self._children: dict[str, _Child] = {}
        self._settled = False
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._watchdog: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._watchdog = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(WATCHDOG)), stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
            await self._watchdog.wait()

    async def start(self, component: Component, *, after_restart: Callable[[], Awaitable[None]] | None = None) -> None:
        """Starts a process; does not wait until it is ready.

        Args:
            component: what to start.
            after_restart: is awaited when it had died and is ready again.

        Raises:
            StartFailedError: its program or its port cannot be had.
        """
        child = _Child(component, after_restart)
        self._children[component.name] = child
        await self._spawn(child)
        child.keeper = asyncio.create_task(self._keep(child), name=f"keep {component.name}")

    async def wait_until_ready(self, name: str, *, within: float) -> None:
        """Returns once a process answers its readiness URL with 200.

        Raises:
            StartFailedError: it died, or took longer than `within` seconds.
        """
        child = self._children[name]
        ready = asyncio.create_task(self._poll_until_ready(child.component))
        ended = asyncio.create_task(child.ended.wait())
        try:
            done, _ = await asyncio.wait({ready, ended}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if ended in done:
            raise self._failed(child)
        if ready not in done:
            raise StartFailedError(
                f"{name} is not ready after {within:.0f} s: {child.component.ready_url} does not answer 200; "
                f"it said: {child.last_line}"
            )

    def settle(self) -> None:
        """Says that the start is over: what dies from now on is started again.

        Raises:
            StartFailedError: something was ready, and has died since.
        """
        for name in self.ended():
            raise self._failed(self._children[name])
        self._settled = True

    def ended(self) -> list[str]:
        """Returns what has died and will not be started again."""
        return [name for name, child in self._children.items() if child.ended.is_set()]

    @staticmethod
    def _failed(child: _Child) -> StartFailedError:
        how = _how(child.process.returncode if child.process is not None else None)
        name = child.component.name
        return StartFailedError(f"{name} ended while the stack was starting ({how}); it said: {child.last_line}")

    def pids(self) -> dict[str, int]:
        """Returns the process id of everything that runs."""
        return {
            name: child.process.pid
            for name, child in self._children.items()
            if child.process is not None and child.process.returncode is None
        }

    def hurry(self) -> None:
        """Ends everything at once, and `stop` with it."""
        self._hurried.set()

    async def retire(self, name: str, *, within: float | None = None) -> None:
        """Ends one process for good, in order, and forgets it; without effect when there is none of that name.

        Args:
            name: of the process.
            within: seconds from SIGTERM to SIGKILL, if not those of its component.
        """
        child = self._children.get(name)
        if child is None:
            return
        child.retired = True
        await self._end(child, within)
        del self._children[name]

    async def stop(self) -> None:
        """Ends every process, stage after stage: SIGTERM, and SIGKILL to its group when it takes too long."""
        self._stopping.set()
        for stage in Stage:
            children = [child for child in self._children.values() if child.component.stage is stage]
            await asyncio.gather(*(self._end(child) for child in children))

    async def _end(self, child: _Child, within: float | None = None) -> None:
        process = child.process
        timeout = child.component.stop_timeout if within is None else within
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            waits = {asyncio.create_task(process.wait()), asyncio.create_task(self._hurried.wait())}
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if process.returncode is None and not self._hurried.is_set():
                self._printer.say(f"{child.component.name} takes too long to end: killed", style="yellow")
            _kill_group(process.pid)
            await process.wait()
        tasks = [task for task in (child.keeper, child.welcome) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _spawn(self, child: _Child) -> None:
        component = child.component
        listener: socket.socket | None = None
        command = list(component.command)
        try:
            if component.listens:
                listener = _listener(component.port)
                command = [part.replace("{fd}", str(listener.fileno())) for part in command]
            child.process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE if component.leash or component.hears else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(component.environment),
                pass_fds=[] if listener is None else [listener.fileno()],
                # Ctrl-C in a terminal goes to a whole process group; the order of the end is ours to choose.
                start_new_session=True,
            )
        except OSError as error:
            raise StartFailedError(f"{component.name} cannot be started: {error}") from error
        finally:
            if listener is not None:
                listener.close()
        self._tell_watchdog("+", child.process.pid)

    async def _keep(self, child: _Child) -> None:
        name, failures = child.component.name, 0
        while True:
            process = child.process
            if process is None:  # never: it has been spawned
                return
            began = time.monotonic()
            pump = asyncio.create_task(self._pump(child, process))
            code = await process.wait()
            _kill_group(process.pid)  # whatever it may have left behind
            self._tell_watchdog("-", process.pid)
            await asyncio.wait({pump}, timeout=1)
            pump.cancel()
            if self._stopping.is_set() or child.retired or not self._settled:
                child.ended.set()
                return
            failures = self._policy.failures(failures, time.monotonic() - began)
            if code == EXIT_RESTART_RUNTIME and child.component.runtime in self._children:
                await self._renew(self._children[child.component.runtime], asked_by=name)
                child.renewing = True
            if child.renewing:
                failures = 0
            child.renewing = False
            while not await self._restarted(child, code, failures):
                failures += 1
            if self._stopping.is_set() or child.retired:
                return
            child.welcome = asyncio.create_task(self._welcome(child), name=f"welcome {name}")

    async def _renew(self, child: _Child, *, asked_by: str) -> None:
        """Ends a process, which its own keeper then starts again; returns when it is dead."""
        self._printer.say(f"{asked_by} asks for a new {child.component.name}", style="yellow")
        process = child.process
        if process is None or process.returncode is not None:
            return
        child.renewing = True
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(child.component.stop_timeout):
                await process.wait()
        except TimeoutError:
            _kill_group(process.pid)
            await process.wait()

    async def _restarted(self, child: _Child, code: int | None, failures: int) -> bool:
        """Returns whether a dead process has been started again; True too if it need not be any more."""
        name = child.component.name
        if failures:
            delay = self._policy.delay(failures)
            self._printer.say(f"{name} has ended ({_how(code)}); it is started again in {delay:g} s", style="yellow")
            await asyncio.sleep(delay)
        if self._stopping.is_set() or child.retired:
            return True
        try:
            await self._spawn(child)
        except StartFailedError as error:
            self._printer.say(str(error), style="red")
            return False
        return True

    async def _welcome(self, child: _Child) -> None:
        """Says that a restarted process is ready again, if it gets that far."""
        process = child.process
        await self._poll_until_ready(child.component)
        if child.process is process and not self._stopping.is_set():
            if child.after_restart is not None:
                await child.after_restart()
            self._printer.say(f"{child.component.name} is ready again", style="green")

    async def _pump(self, child: _Child, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:  # never: it is a pipe
            return
        splitter = LineSplitter()
        while chunk := await process.stdout.read(_CHUNK):
            self._show(child, splitter.feed(chunk))
        self._show(child, splitter.end())

    def _show(self, child: _Child, lines: list[str]) -> None:
        for line in lines:
            if line.strip():
                child.last_line = line.strip()
            if child.component.log is None:
                self._printer.line(child.component.name, line)
            self._pass_on(child.component.name, line)
        if child.component.log is not None and lines:
            with child.component.log.open("a", encoding="utf-8") as log:
                log.writelines(f"{line}\n" for line in lines)

    def _pass_on(self, name: str, line: str) -> None:
        """Writes a line to whoever hears all of them; one that does not read misses some."""
        for child in self._children.values():
            stdin = child.process.stdin if child.component.hears and child.process is not None else None
            if stdin is None or stdin.is_closing() or stdin.transport.get_write_buffer_size() > _UNREAD:
                continue
            stdin.write(json.dumps({"part": name, "line": line}).encode() + b"\n")

    async def _poll_until_ready(self, component: Component) -> None:
        ask = partial(answers_ok, host=component.host, secure=component.secure)
        while not await ask(component.port, component.ready_path):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(_POLL)

    def _tell_watchdog(self, sign: str, pid: int) -> None:
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.write(f"{sign}{pid}\n".encode())


def _listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _how(code: int | None) -> str:
    if code is None:
        return "status unknown"
    if code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"exit status {code}"
