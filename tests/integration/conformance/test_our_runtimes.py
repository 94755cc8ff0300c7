"""Our own runtimes behave as stated, case by case; real servers are asked the same by `nox -s conformance`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from contract.task import RuntimeType
from tests.conformance.case import Case, Mark
from tests.conformance.run import Outcome, Verdict, ask, choose
from tests.conformance.suites import SUITES
from tests.support.processes import Process
from tests.support.waiting import free_port

BUSY: Final = 0.5
"""Seconds of the jobs that cases meet while they run."""

FAKE: Final = ("--latency", "0.12", "--boot-seconds", "3", "--log-level", "error")
PROGRAMS: Final[dict[RuntimeType, tuple[str, ...]]] = {
    RuntimeType.SDWEBUI: ("fake_runtime", "--type", "sdwebui", *FAKE, "--api-auth", "user:secret"),
    RuntimeType.COMFYUI: ("fake_runtime", "--type", "comfyui", *FAKE, "--previews", "--directory", "files"),
    RuntimeType.HTTP: ("local.example_runtime",),
}
"""Module and arguments of each type's program."""


class Program:
    """A runtime that cases may end and start again, on the same port and with the same files."""

    def __init__(self, runtime_type: RuntimeType, folder: Path) -> None:
        port = free_port()
        credentials = "user:secret@" if "--api-auth" in PROGRAMS[runtime_type] else ""
        self.url = f"http://{credentials}127.0.0.1:{port}"
        self.notes: dict[str, Any] = {}
        """What one case found out for the others; see `Server`."""
        module, *arguments = PROGRAMS[runtime_type]
        arguments = [str(folder / "files") if item == "files" else item for item in arguments]
        self._module = module
        self._arguments = [*arguments, "--port", str(port)]
        self._folder = folder
        self._ready_url = self.url + SUITES[runtime_type].ready_path
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
        await asyncio.to_thread(self._process.wait_ended, 10)

    def stop(self) -> None:
        self._process.stop()


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    program = Program(request.param, tmp_path_factory.mktemp(request.param))
    try:
        program.wait_ready()
        yield program
    finally:
        program.stop()


async def outcome_of(case: Case, runtime_type: RuntimeType, program: Program) -> Outcome:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        client = SUITES[runtime_type].client(
            session, program.url, busy_seconds=BUSY, owner=program, notes=program.notes
        )
        return await ask(case, client, within=60)


@pytest.mark.parametrize(
    ("program", "runtime_type", "case"),
    [
        pytest.param(runtime_type, runtime_type, case, id=f"{runtime_type}-{case.name}")
        for runtime_type in PROGRAMS
        for case in choose(SUITES[runtime_type].cases, without=[Mark.SLOW])
    ],
    indirect=["program"],
)
async def test_it_behaves_as_stated(program: Program, runtime_type: RuntimeType, case: Case) -> None:
    outcome = await outcome_of(case, runtime_type, program)
    assert outcome.verdict is Verdict.CONFORMANT, (
        f"{case.statement}\n{outcome.why}\nexpected {outcome.expected}\ngot {outcome.got}"
    )
