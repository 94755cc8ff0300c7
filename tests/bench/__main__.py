"""`python -m tests.bench`: measures agents and the API side by side, and prints tables."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from local.emulators.environment import EnvironmentFailedError, ensure_environment
from local.emulators.process import Emulator, EmulatorFailedError
from local.folders import state_folder
from tests.bench import bare
from tests.bench.api import API_GOAL, measure_api
from tests.bench.contenders import Contender, ContenderError, Names, floor, is_ours, other, ours, with_slots
from tests.bench.lists import LIST_GOAL, TASKS, measure_lists
from tests.bench.measure import measure
from tests.bench.programs import BenchError
from tests.bench.report import (
    ApiRow,
    Figures,
    ListRow,
    Row,
    StackRow,
    api_table,
    document,
    list_table,
    scenario_table,
    stack_table,
)
from tests.bench.scenarios import SCENARIOS, Scenario
from tests.bench.stack import TASKS as STACK_TASKS
from tests.bench.stack import measure_stacks

API: Final = "api"
LIST: Final = "list"
STACK: Final = "stack"
_GROUPS: Final = {"g": ("gb", "gc"), "all": (*SCENARIOS, API)}
"""`list` is no part of all: it takes minutes to write its tasks. `stack` starts whole stacks."""
_QUICK: Final = ("a", "b", API)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def bench(
    scenario: Annotated[
        str,
        typer.Option(help=f"which, separated by commas: {', '.join(SCENARIOS)}, g, api, list, stack, all"),
    ] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="few tasks, to see that all works; figures mean little")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="write every figure there")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="measure so often, in turns; medians are shown")] = 1,
    agents: Annotated[int, typer.Option(min=1, max=8, help="agents, each with a runtime of its own")] = 1,
    tasks: Annotated[int, typer.Option(min=0, help="tasks of each scenario, instead of its own number")] = 0,
    peer: Annotated[bool, typer.Option(help="compare with the serial loop and the least gap")] = True,
    slots: Annotated[
        int, typer.Option(min=1, max=4, help="where the GPU takes time: compare with our agent with so many; 1: do not")
    ] = 2,
    agent_command: Annotated[str, typer.Option(help="compare with what this command line starts")] = "",
    agent_name: Annotated[str, typer.Option(help="what the tables call it")] = "other",
    env_queue: Annotated[str, typer.Option(help="its variable for the URL of the queue")] = Names.queue,
    env_runtime: Annotated[str, typer.Option(help="its variable for the URL of the runtime")] = Names.runtime,
    env_topic: Annotated[str, typer.Option(help="its variable for the ARN of the callback topic")] = Names.topic,
    env_bucket: Annotated[str, typer.Option(help="its variable for the bucket of results")] = Names.bucket,
    env: Annotated[list[str] | None, typer.Option(help="a further variable of it, NAME=VALUE; repeatable")] = None,
    sns_envelope: Annotated[
        bool, typer.Option("--sns-envelope", help="it expects messages as SNS wraps them without raw delivery")
    ] = False,
    agent_env: Annotated[list[str] | None, typer.Option(help="a further variable of our own agent")] = None,
    against: Annotated[
        Path | None, typer.Option(help="stack: another checkout, in which `uvx nox -s up` has been run once")
    ] = None,
    soak: Annotated[int, typer.Option(min=0, help="api: watch its memory over so many requests, such as 100000")] = 0,
) -> None:
    console = Console(width=None if os.isatty(1) else 180)
    try:
        chosen = _choose(scenario, quick=quick)
        contenders = [other_environment(ours(), agent_env or [])]
        if slots > 1:
            contenders.append(with_slots(contenders[0], slots))
        if peer:
            contenders.append(floor())
        if agent_command:
            names = Names(env_queue, env_runtime, env_topic, env_bucket)
            contenders.append(other(agent_name, agent_command, names, env or [], in_envelope=sns_envelope))
    except (ContenderError, typer.BadParameter) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="darkroom-bench-"))
    work = _Work(console, folder, quick=quick, repeat=repeat, agents=agents, tasks=tasks, soak=soak, against=against)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows, api, lists, stacks = runner.run(work.run(chosen, contenders))
    except (BenchError, EmulatorFailedError, EnvironmentFailedError) as error:
        console.print(f"[red]{error}[/red]\nlogs: {folder}")
        raise typer.Exit(1) from error
    if rows:
        console.print(scenario_table(rows))
    if api:
        console.print(api_table(api, API_GOAL))
    if lists:
        console.print(list_table(lists, LIST_GOAL))
    if stacks:
        console.print(stack_table(stacks, tasks or STACK_TASKS))
    console.print(f"[dim]{time.monotonic() - begun:.0f} s on {os.cpu_count()} processors[/dim]")
    if json is not None:
        found = document(rows, api, surroundings(quick=quick, repeat=repeat, agents=agents))
        json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    if any(row.error for row in rows):
        console.print(f"logs: {folder}")
        raise typer.Exit(1)
    shutil.rmtree(folder, ignore_errors=True)


class _Work:
    """One invocation."""

    def __init__(
        self,
        console: Console,
        folder: Path,
        *,
        quick: bool,
        repeat: int,
        agents: int,
        tasks: int,
        soak: int,
        against: Path | None,
    ) -> None:
        self._console = console
        self._folder = folder
        self._quick = quick
        self._repeat = repeat
        self._agents = agents
        self._tasks = tasks
        self._soak = soak
        self._against = against
        self._python = Path()

    async def run(
        self, chosen: Sequence[str], contenders: Sequence[Contender]
    ) -> tuple[list[Row], list[ApiRow], list[ListRow], list[StackRow]]:
        """Measures everything that is chosen."""
        self._python = await asyncio.to_thread(lambda: ensure_environment(state_folder(), say=self._console.print))
        rows: list[Row] = []
        api: list[ApiRow] = []
        lists: list[ListRow] = []
        stacks: list[StackRow] = []
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bars:
            for key in chosen:
                if key == STACK:  # each has an emulator of its own
                    stacks = await asyncio.to_thread(
                        measure_stacks,
                        self._against,
                        folder=self._folder / key,
                        tasks=self._tasks or STACK_TASKS,
                        repeat=self._repeat,
                        progress=_bar(bars, "stack"),
                    )
                    continue
                # One LocalStack for each scenario, the same for all agents: what it has to remember stays small.
                with self._localstack(key) as endpoint:
                    if key == API:
                        api = await measure_api(
                            endpoint,
                            folder=self._folder / key,
                            seconds=1.0 if self._quick else 5.0,
                            soak=self._soak,
                            progress=_bar(bars, "API"),
                        )
                    elif key == LIST:
                        lists = await measure_lists(
                            endpoint,
                            folder=self._folder / key,
                            tasks=self._tasks or (1000 if self._quick else TASKS),
                            progress=_bar(bars, "lists"),
                        )
                    else:
                        rows += await self._scenario(endpoint, SCENARIOS[key], contenders, bars)
        return rows, api, lists, stacks

    async def _scenario(
        self, endpoint: str, scenario: Scenario, contenders: Sequence[Contender], bars: Progress
    ) -> list[Row]:
        if self._quick:
            scenario = scenario.quick()
        if self._tasks:
            scenario = scenario.with_tasks(self._tasks)
        able = [
            contender
            for contender in contenders
            if scenario.runtime in contender.drives and (scenario.seconds_per_task > 0 or not contender.for_gaps)
        ]
        found: dict[str, list[Figures]] = {contender.name: [] for contender in able}
        errors: dict[str, str] = {}
        for turn in range(self._repeat):
            for contender in able:
                label = f"{scenario.key}: {scenario.title}: {contender.name}"
                if self._repeat > 1:
                    label += f" ({turn + 1} of {self._repeat})"
                folder = self._folder / f"{scenario.key}-{turn}-{contender.name}"
                try:
                    found[contender.name].append(
                        await measure(
                            endpoint,
                            scenario,
                            contender,
                            agents=self._agents,
                            folder=folder,
                            progress=_bar(bars, label),
                        )
                    )
                except BenchError as error:
                    if is_ours(contender.name):
                        raise
                    errors[contender.name] = str(error)
        rows = [
            Row(scenario, contender.name, tuple(found[contender.name]), errors.get(contender.name, ""))
            for contender in able
        ]
        if len(able) > 1 and bare.applies(scenario):
            label = f"{scenario.key}: {scenario.title}: {bare.NAME}"
            figures = await bare.measure_bare(
                scenario, folder=self._folder / f"{scenario.key}-bare", progress=_bar(bars, label)
            )
            rows.append(Row(scenario, bare.NAME, (figures,)))
        return rows

    @contextmanager
    def _localstack(self, key: str) -> Iterator[str]:
        folder = self._folder / f"localstack-{key}"
        folder.mkdir(parents=True)
        process = Emulator(python=self._python, folder=folder)
        process.start()
        try:
            yield process.wait_until_ready().endpoint
        finally:
            process.stop()


def other_environment(contender: Contender, extra: Sequence[str]) -> Contender:
    """Returns a contender with further variables, each `NAME=VALUE`."""
    parsed = other("checked", "true", Names(), extra).extra
    return replace(contender, extra={**contender.extra, **parsed})


def surroundings(**options: Any) -> dict[str, Any]:
    """Returns where and when the figures were measured."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "system": platform.platform(),
        **options,
    }


def _choose(text: str, *, quick: bool) -> list[str]:
    if not text:
        return list(_QUICK) if quick else list(_GROUPS["all"])
    chosen: list[str] = []
    for key in (item.strip() for item in text.split(",") if item.strip()):
        if key not in SCENARIOS and key not in _GROUPS and key not in {API, LIST, STACK}:
            known = ", ".join([*SCENARIOS, *_GROUPS, API, LIST, STACK])
            raise typer.BadParameter(f"--scenario: there is no {key!r}; there are {known}")
        chosen += _GROUPS.get(key, (key,))
    return list(dict.fromkeys(chosen))


def _bar(bars: Progress, label: str) -> Any:
    """Returns a function that shows one measurement's progress."""
    bar = bars.add_task(label, total=None)

    def show(what: str, done: int, total: int) -> None:
        bars.update(bar, description=f"{label} – {what}", completed=done, total=total, visible=done < total)

    return show


if __name__ == "__main__":
    app()
