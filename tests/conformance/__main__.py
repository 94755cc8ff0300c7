"""`python -m tests.conformance`: asks a runtime server whether it behaves as its type does."""

from __future__ import annotations

import asyncio
import json as encoder
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console

from contract.task import RuntimeType
from tests.conformance.case import Case, DeviationError, Mark
from tests.conformance.launch import CommandLine
from tests.conformance.report import counts, document, line, summary
from tests.conformance.run import Outcome, Verdict, ask_all, choose
from tests.conformance.server import START_WITHIN, Server, eventually
from tests.conformance.suites import SUITES, Suite

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class CannotAskError(Exception):
    """The suite cannot begin; the text says why, and what to do."""


@dataclass(frozen=True)
class _Work:
    suite: Suite
    cases: list[Case]
    url: str
    command: str
    within: float
    busy: float
    notes: dict[str, Any]
    console: Console

    async def run(self) -> tuple[str, list[Outcome]]:
        """Asks the server all cases; returns what it says it is, and the outcomes."""
        owner = CommandLine(self.command) if self.command else None
        # No connection is kept: a restarted server would find it broken.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            server = self.suite.client(session, self.url, busy_seconds=self.busy, owner=owner, notes=self.notes)
            try:
                if owner is not None:
                    if await server.listens():
                        raise CannotAskError(
                            f"{self.url} is taken by a server that runs already; end it, or omit --start"
                        )
                    await owner.start()
                who = await self._meet(server)
                outcomes = await ask_all(
                    self.cases, server, within=self.within, say=lambda outcome: self.console.print(line(outcome))
                )
            finally:
                if owner is not None:
                    await owner.terminate()
        return who, outcomes

    async def _meet(self, server: Server) -> str:
        try:
            await eventually("the server listens", server.listens, within=START_WITHIN if self.command else 5.0)
            return await self.suite.version(server)
        except (DeviationError, aiohttp.ClientError, LookupError, TypeError, AttributeError) as error:
            # What answers may be any web page, in which the check does not find its way.
            why = error.what if isinstance(error, DeviationError) else "its answer is another's"
            raise CannotAskError(
                f"{self.url}{server.ready_path} does not answer as such a server does: {why}; check --type and --url"
            ) from error


@app.command(help=__doc__)
def conformance(
    runtime_type: Annotated[RuntimeType, typer.Option("--type", help="whose behaviour is stated")],
    url: Annotated[str, typer.Option(help="where the server listens, such as http://127.0.0.1:8188")] = "",
    case: Annotated[list[str] | None, typer.Option(help="ask these only, such as 'refuses-*'; repeatable")] = None,
    without: Annotated[list[Mark] | None, typer.Option(help="leave these out; repeatable")] = None,
    start: Annotated[
        str, typer.Option(help="the command line that starts the server; then restarts are asked for, too")
    ] = "",
    json: Annotated[
        Path | None, typer.Option(help="write all outcomes there, with both bodies of each deviation")
    ] = None,
    busy: Annotated[float, typer.Option(min=0.1, help="seconds of the jobs that cases meet while they run")] = 2.5,
    task: Annotated[
        Path | None, typer.Option(help="type http: a JSON file with the type and content of a task that takes a second")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds for one case")] = 180,
    show: Annotated[bool, typer.Option("--list", help="list the cases, and ask nobody")] = False,
) -> None:
    """Asks a server that nobody else uses meanwhile: some cases interrupt whatever runs, and empty the queue."""
    console = Console(width=None if os.isatty(1) else 180, highlight=False)
    suite = SUITES[runtime_type]
    cases = choose(suite.cases, only=case or (), without=without or ())
    if not cases:
        console.print("[red]no case fits; --list shows them all[/red]")
        raise typer.Exit(2)
    if show:
        for item in cases:
            console.print(f"{item.name} [dim]{' '.join(sorted(item.marks))}[/dim]\n    {item.statement}")
        return
    if not url:
        console.print("[red]--url is missing; name where the server listens, or give --list[/red]")
        raise typer.Exit(2)
    if json is not None and not json.absolute().parent.is_dir():
        console.print(f"[red]--json: the folder {json.parent} is not there[/red]")
        raise typer.Exit(2)
    try:
        notes = {} if task is None else {"task": encoder.loads(task.read_bytes())}
        work = _Work(suite, cases, url.rstrip("/"), start, timeout, busy, notes, console)
        who, outcomes = asyncio.run(work.run())
    except (CannotAskError, OSError, ValueError) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    console.print(summary(outcomes, who))
    if json is not None:
        about = {"type": runtime_type, "server": who, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        json.write_text(encoder.dumps(document(outcomes, **about), indent=1, ensure_ascii=False, default=repr))
    raise typer.Exit(1 if counts(outcomes)[Verdict.DEVIATING] else 0)


if __name__ == "__main__":
    app()
