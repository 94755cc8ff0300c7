"""Follows tasks until all have ended, and says how."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

from darkroom import AsyncDarkroom, Darkroom, Task
from local.client.options import FAILED, INTERRUPTED, fail, plain_errors, print_json

_AT_ONCE: Final = 20
"""Streams that are open; more tasks wait for their turn."""


def follow(url: str, key: str | None, task_ids: Sequence[str], *, as_json: bool = False) -> list[Task]:
    """Shows tasks until all have ended; returns how each has.

    Ctrl-C ends the watching, and not the tasks.
    """
    from local.client.progress import Progress  # noqa: PLC0415 - rich takes longer than the rest of the command

    wanted = list(dict.fromkeys(task_ids))

    async def all_of_them() -> list[Task]:
        room = asyncio.Semaphore(_AT_ONCE)
        async with AsyncDarkroom(url, key=key) as client:
            with Progress(hidden=as_json) as progress:

                async def one(task_id: str) -> Task:
                    last = None
                    async with room:
                        async for last in client.events(task_id):
                            progress.show(last)
                            if as_json:
                                print_json(last.view)
                    return last or await client.get(task_id)

                return await asyncio.gather(*(one(task_id) for task_id in wanted))

    try:
        with plain_errors():
            return asyncio.run(all_of_them())
    except KeyboardInterrupt:
        names = " ".join(wanted)
        fail(
            f"\n{names} {'goes' if len(wanted) == 1 else 'go'} on; `darkroom watch {names}` watches again, "
            "`darkroom cancel` ends one",
            INTERRUPTED,
        )


def outcomes(client: Darkroom, tasks: Sequence[Task], output: Path, *, as_json: bool = False) -> None:
    """Says how tasks have ended, and saves their images; exits with 1 if one has not succeeded."""
    from local.client.show import outcome  # noqa: PLC0415 - as above

    for task in tasks:
        if not as_json:
            typer.echo(outcome(task))
        for path in client.files(task, output) if task.images else ():
            typer.echo(f"saved: {path}", err=as_json)
    if not all(task.succeeded for task in tasks):
        raise typer.Exit(FAILED)
