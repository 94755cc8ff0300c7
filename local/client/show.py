"""Shows tasks and runtimes in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_COLOURS: Final = {
    "queued": "yellow",
    "running": "cyan",
    "cancelling": "magenta",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
}


def show_progress(console: Console, states: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Shows a bar, or a line for each change where there is no terminal; returns the task's last state."""
    last: dict[str, Any] = {}
    if not console.is_terminal:
        for last in states:
            console.print(f"{last['id']}: {last['status']}{_percent(last)}", highlight=False, markup=False)
        return last
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[percent]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task("submitted", total=None, percent="")
        for last in states:
            share = 1.0 if last["status"] == "succeeded" else last.get("progress")
            total = None if share is None else 1.0
            text = f"{last['id']} on {last['runtime']}: {last['status']}"
            progress.update(bar, description=text, total=total, completed=share or 0, percent=_percent(last))
    return last


def _percent(task: dict[str, Any]) -> str:
    share = task.get("progress")
    return f" {share:.0%}" if share is not None and task["status"] == "running" else ""


def outcome(task: dict[str, Any]) -> str:
    """Returns how a task ended, in a sentence."""
    if task["status"] == "succeeded":
        count = len(task["images"])
        return f"{task['id']} succeeded: {count} image{'' if count == 1 else 's'} in {task['output_location']}"
    error = task.get("error") or {}
    reason = f": {error['message']} ({error['code']})" if error else ""
    return f"{task['id']} {task['status']}{reason}"


def task_table(tasks: Iterable[dict[str, Any]]) -> Table:
    """Returns a table of tasks."""
    table = Table("task", "status", "runtime", "submitted", "attempts", "images", "error")
    for task in tasks:
        error = task.get("error") or {}
        table.add_row(
            Text(task["id"]),
            Text(f"{task['status']}{_percent(task)}", style=_COLOURS.get(task["status"], "")),
            Text(task["runtime"]),
            Text(str(task["submitted_at"]).replace("T", " ").partition(".")[0]),
            str(task["attempts"]),
            str(len(task["images"])),
            Text(error.get("message", "")),
        )
    return table


def runtime_table(runtimes: Iterable[dict[str, Any]]) -> Table:
    """Returns a table of runtimes with the depth of their queues."""
    table = Table("runtime", "type", "model", "waiting", "in flight")
    for runtime in runtimes:
        queue = runtime.get("queue") or {}
        table.add_row(
            Text(runtime["name"]),
            Text(runtime["type"]),
            Text("any" if runtime.get("dynamic_model") else runtime.get("model") or "-"),
            str(queue.get("waiting", "?")),
            str(queue.get("in_flight", "?")),
        )
    return table
