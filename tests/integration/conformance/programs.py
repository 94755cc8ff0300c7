"""Our own runtimes, started and asked case by case; real servers are asked the same by `nox -s conformance`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from contract.task import RuntimeType
from tests.conformance.case import Case, Mark
from tests.conformance.run import Verdict, ask, choose
from tests.conformance.suites import SUITES
from tests.support.processes import Process
from tests.support.waiting import free_port

BUSY: Final = 1.0
"""Seconds of the jobs that cases meet while they run: long enough for a few requests on a busy machine."""

FAKE: Final = ("--latency", "0.12", "--boot-seconds", "6", "--log-level", "error")
PROGRAMS: Final[dict[RuntimeType, tuple[str, ...]]] = {
    RuntimeType.SDWEBUI: ("fake_runtime", "--type", "sdwebui", *FAKE, "--api-auth", "user:secret"),
    RuntimeType.COMFYUI: (
        "fake_runtime",
        "--type",
        "comfyui",
        *FAKE,
        "--previews",
        "--no-any-model",
        "--directory",
        "files",
    ),
    RuntimeType.INVOKEAI: ("fake_runtime", "--type", "invokeai", *FAKE, "--directory", "files"),
    RuntimeType.OPENAI: ("fake_runtime", "--type", "openai", *FAKE),
    RuntimeType.HTTP: ("local.example_runtime",),
}
"""Module and arguments of each type's program."""


class Program:
    """A runtime that cases may end and start again, on the same port and with the same files."""

    def __init__(self, runtime_type: RuntimeType, folder: Path, *options: str) -> None:
        port = free_port()
        credentials = "user:secret@" if "--api-auth" in PROGRAMS[runtime_type] else ""
        self.url = f"http://{credentials}127.0.0.1:{port}"
        self.notes: dict[str, Any] = {}
        """What one case found out for the others; see `Server`."""
        module, *arguments = PROGRAMS[runtime_type]
        arguments = [str(folder / "files") if item == "files" else item for item in arguments]
        self._suite = SUITES[runtime_type]
        self._module = module
        self._arguments = [*arguments, *options, "--port", str(port)]
        self._folder = folder
        self._ready_url = self.url + self._suite.client.ready_path
        self._process = self._begin()

    def _begin(self) -> Process:
        return Process(
            "runtime", self._module, folder=self._folder, arguments=self._arguments, ready_url=self._ready_url
        )

    def wait_ready(self) -> None:
        self._process.wait_ready()

    async def start(self) -> None:
        self._process = await asyncio.to_thread(self._begin)

    async def terminate(self) -> None:
        self._process.terminate()
        await asyncio.to_thread(self._process.wait_ended, 60)

    def stop(self) -> None:
        self._process.stop()

    async def check(self, case: Case, *, may_not_apply: bool = False) -> None:
        """Asks a case, which must come out as conformant, or as one that cannot be asked where that may be."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            client = self._suite.client(session, self.url, busy_seconds=BUSY, owner=self, notes=self.notes)
            outcome = await ask(case, client, within=60)
        if may_not_apply and outcome.verdict is Verdict.NOT_APPLICABLE:
            return
        assert outcome.verdict is Verdict.CONFORMANT, (
            f"{case.statement}\n{outcome.why}\nexpected {outcome.expected}\ngot {outcome.got}"
        )


@contextmanager
def running(runtime_type: RuntimeType, folder: Path, *options: str) -> Iterator[Program]:
    """Starts a type's program with more options, and ends it."""
    program = Program(runtime_type, folder, *options)
    try:
        program.wait_ready()
        yield program
    finally:
        program.stop()


def cases(runtime_type: RuntimeType) -> list[Case]:
    """Returns what is stated of a type, but for the slow cases."""
    return choose(SUITES[runtime_type].cases, without=[Mark.SLOW])
