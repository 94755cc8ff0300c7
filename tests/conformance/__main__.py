"""`python -m tests.conformance`: asks a runtime server whether it behaves as its type does."""

from __future__ import annotations

import json as encoder
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
from rich.console import Console

from contract.task import RuntimeType
from tests.conformance.case import Case, DeviationError, Mark
from tests.conformance.launch import CommandError, CommandLine, StoppedError, run_until_signalled
from tests.conformance.report import counts, document, line, summary
from tests.conformance.run import Outcome, Verdict, ask_all, choose
from tests.conformance.server import START_WITHIN, Server, eventually
from tests.conformance.suites import SUITES, Suite

MEET_WITHIN: Final = 5.0
"""Seconds in which a server that was there before must answer."""

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
        token = os.environ.get("RUNTIME_TOKEN", "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), headers=headers) as session:
            server = self.suite.client(session, self.url, busy_seconds=self.busy, owner=owner, notes=self.notes)
            if owner is not None:
                if await server.listens():
                    raise CannotAskError(f"{self.url} is taken by a server that runs already; end it, or omit --start")
                self.console.print(f"[dim]starting the server, and waiting until {self.url} answers …[/dim]")
                await owner.start()
            try:
                who = await self._meet(server, owner)
                outcomes = await ask_all(
                    self.cases, server, within=self.within, say=lambda outcome: self.console.print(line(outcome))
                )
            finally:
                if owner is not None:
                    self.console.print("[dim]ending the server …[/dim]")
                    await owner.terminate()
        return who, outcomes

    async def _meet(self, server: Server, owner: CommandLine | None) -> str:
        async def listens() -> bool:
            if owner is not None and (status := owner.status) is not None:
                raise CannotAskError(
                    f"--start: the command ended with status {status} before {self.url} answered; run it by hand"
                )
            return await server.listens()

        try:
            await eventually("the server listens", listens, within=MEET_WITHIN if owner is None else START_WITHIN)
            return await self.suite.version(server)
        except (DeviationError, aiohttp.ClientError, LookupError, TypeError, AttributeError) as error:
            # What answers may be any web page, in which the check does not find its way.
            raise CannotAskError(await self._why_not(server)) from error

    async def _why_not(self, server: Server) -> str:
        try:
            status = (await server.send("GET", server.ready_path)).status
        except (aiohttp.ClientError, OSError):
            return f"nobody answers at {self.url}; start the server, or check --url"
        where = f"{self.url}{server.ready_path}"
        if status in {401, 403}:
            return (
                f"{where} answers {status}; put user and password into --url, as in "
                "http://user:password@127.0.0.1:8188, or an API key into RUNTIME_TOKEN"
            )
        return f"{where} answers {status}, but not as such a server does; check --type and --url"


def _read_task(path: Path) -> dict[str, Any]:
    try:
        document = encoder.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CannotAskError(f"--task {path}: {error}") from error
    if not isinstance(document, dict) or not document.keys() >= {"type", "content"}:
        raise CannotAskError(f'--task {path}: it must hold {{"type": …, "content": …}}')
    return document


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
    if not url.startswith(("http://", "https://")):
        what = f"--url {url} is no URL" if url else "--url is missing"
        console.print(f"[red]{what}; name where the server listens, as in http://127.0.0.1:8188, or give --list[/red]")
        raise typer.Exit(2)
    if json is not None and not json.absolute().parent.is_dir():
        console.print(f"[red]--json: the folder {json.parent} is not there[/red]")
        raise typer.Exit(2)
    begun = time.monotonic()
    try:
        notes = {} if task is None else {"task": _read_task(task)}
        work = _Work(suite, cases, url.rstrip("/"), start, timeout, busy, notes, console)
        who, outcomes = run_until_signalled(work.run())
    except (CannotAskError, CommandError) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    except StoppedError as error:
        console.print(f"[red]stopped by {error}[/red]")
        raise typer.Exit(128 + error.number) from error
    console.print(summary(outcomes, who, time.monotonic() - begun))
    if json is not None:
        about = {"type": runtime_type, "server": who, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        json.write_text(encoder.dumps(document(outcomes, **about), indent=1, ensure_ascii=False, default=repr))
    raise typer.Exit(1 if counts(outcomes)[Verdict.DEVIATING] else 0)


if __name__ == "__main__":
    app()
