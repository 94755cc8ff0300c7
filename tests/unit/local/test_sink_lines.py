"""What the parts of a stack say of a task: passed on by the harness, remembered by the sink, found by the task's id."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from rich.console import Console

from contract.heard_callbacks import Memory
from contract.hosts import AllowedHosts
from local.harness.lines import Printer
from local.harness.plan import Component, Stage
from local.harness.restarts import RestartPolicy
from local.harness.supervisor import Supervisor
from local.sink.lines import MOST, MOST_CHARACTERS, MOST_SHOWN, Line, Lines
from local.sink.server import make_app
from local.sink.subscription import Listener
from tests.support.waiting import until


def found(lines: Lines, task_id: str) -> list[str]:
    return [line.line for line in lines.about(task_id)]


@pytest.mark.parametrize(
    "line",
    [
        "task_id=cat done",
        "GET /v1/tasks/cat 200",
        '{"task_id": "cat"}',
        "s3://b/output/cat/cat-ab12-1.png",
        "ended: cat.",
    ],
)
def test_a_line_that_names_the_task_is_found(line: str) -> None:
    lines = Lines()
    lines.add(Line("api", line))
    assert found(lines, "cat") == [line]


@pytest.mark.parametrize("line", ["task_id=cat-2", "task_id=my-cat", "task_id=cats", "a cat.png", "", "nothing"])
def test_another_tasks_line_is_not(line: str) -> None:
    lines = Lines()
    lines.add(Line("api", line))
    assert found(lines, "cat") == found(lines, "") == []


def test_the_newest_lines_are_remembered_and_their_number_and_size_are_bounded() -> None:
    lines = Lines()
    for number in range(MOST + 10):
        lines.add(Line("api", f"{number} x" if number < 20 else f"{number} y"))
    assert found(lines, "x")[0] == "10 x"
    assert len(found(lines, "y")) == MOST_SHOWN
    lines.add(Line("api", "z" * (MOST_CHARACTERS - 10)))
    assert found(lines, "x") == found(lines, f"{MOST}") == []


async def test_lines_are_heard_without_their_colours_and_what_makes_no_sense_is_left_out() -> None:
    reading, writing = os.pipe()
    lines = Lines()
    with os.fdopen(writing, "wb") as source:
        for said in (
            b"no json",
            b"[]",
            b'{"part": "api"}',
            json.dumps({"part": "api", "line": "\x1b[32mcat\x1b[0m"}).encode(),
        ):
            source.write(said + b"\n")
    await lines.hear(os.fdopen(reading, "rb"))

    assert lines.about("cat") == [Line("api", "cat")]


@pytest.mark.parametrize(("lines", "status"), [(Lines(), 200), (None, 404)])
async def test_a_sink_that_hears_nothing_says_so(lines: Lines | None, status: int) -> None:
    app = make_app(Memory(), cast("Listener", None), AllowedHosts(frozenset()), lines)
    async with TestClient(TestServer(app)) as client:
        if lines is not None:
            lines.add(Line("sdruntime-agent", "task_id=cat"))
        answer = await client.get("/lines?id=cat")
        assert answer.status == status
        if status == 200:
            assert await answer.json() == [{"part": "sdruntime-agent", "line": "task_id=cat"}]


async def test_the_harness_passes_on_what_each_process_says(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    listening = f"import sys; out = open({str(heard)!r}, 'w', buffering=1)\nfor line in sys.stdin: out.write(line)"

    def component(name: str, program: str, *, hears: bool = False) -> Component:
        command = (sys.executable, "-c", program)
        return Component(name, Stage.SINK, command, dict(os.environ), 0, "/", hears=hears)

    printer = Printer(Console(file=(tmp_path / "shown").open("w")), ["sink", "api"])
    async with Supervisor(printer, RestartPolicy()) as supervisor:
        await supervisor.start(component("sink", listening, hears=True))
        await until(heard.exists)
        await supervisor.start(component("api", "print('task_id=cat', flush=True); import time; time.sleep(60)"))
        await until(heard.read_text)
        await asyncio.sleep(0)

    assert json.loads(heard.read_text()) == {"part": "api", "line": "task_id=cat"}
