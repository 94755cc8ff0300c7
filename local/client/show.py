"""Shows tasks, runtimes and dead letters in the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from darkroom import Task

_WIDEST: Final = 60
"""Characters of a value."""

_COLOURS: Final = {
    "queued": "yellow",
    "running": "cyan",
    "cancelling": "magenta",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "expired": "magenta",
}


def percent(task: Task) -> str:
    """Returns how far a task that runs has come; empty when it does not, or that is not known."""
    return f" {task.progress:.0%}" if task.progress is not None and task.status == "running" else ""


def outcome(task: Task) -> str:
    """Returns how a task ended, in a sentence."""
    if task.succeeded:
        return f"{task.id} succeeded: {_images(task)} in {task.output_location}"
    return f"{task.id} {task.status}" + (f": {task.error}" if task.error else "")


def _images(task: Task) -> str:
    count = len(task.images)
    return f"{count} image{'' if count == 1 else 's'}"


def show_tasks(tasks: Iterable[Task]) -> None:
    """Prints a table of tasks."""
    # An id that is cut cannot be named in the next command: the result gives way to it, and `get` tells the whole.
    whole = Column("task", no_wrap=True), Column("status", no_wrap=True)
    table = Table(*whole, "runtime", "submitted", "result", box=SIMPLE_HEAD, pad_edge=False)
    today = datetime.now(UTC).date()
    for task in tasks:
        form = "%H:%M:%S" if task.submitted_at.date() == today else "%m-%d %H:%M"
        table.add_row(
            Text(task.id, no_wrap=True, overflow="fold"),
            Text(f"{task.status}{percent(task)}", style=_COLOURS.get(task.status, "")),
            *(
                Text(told, no_wrap=True, overflow="ellipsis")
                for told in (
                    task.runtime,
                    f"{task.submitted_at:{form}}",
                    task.error or (_images(task) if task.succeeded else ""),
                )
            ),
        )
    _print(table, "no task is like that")


def _print(table: Table, nothing: str) -> None:
    if table.row_count:
        Console().print(table)
    else:
        Console(stderr=True).print(nothing)


def show_runtimes(runtimes: Iterable[dict[str, Any]]) -> None:
    """Prints a table of runtimes with the depth of their queues."""
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
    Console().print(table)


def show_usage(usage: dict[str, Any]) -> None:
    """Prints a table of what tasks have cost, and their sum."""
    parts = usage["by"]
    table = Table(*parts, "tasks", "GPU seconds", "USD", box=SIMPLE_HEAD, pad_edge=False)
    rest = [{"tasks": 0, **usage["rest"]}] if usage["rest"] else []
    for row in [*usage["rows"], *rest]:
        table.add_row(*(Text(str(row.get(part) or "-")) for part in parts), *_spent(row))
    total = usage["total"]
    if parts:
        table.add_section()
    table.add_row(*(Text("total" if at == 0 else "") for at, _ in enumerate(parts)), *_spent(total))
    _print(table, "")
    if total["unpriced_tasks"]:
        Console(stderr=True).print(f"the price of {total['unpriced_tasks']} tasks is not known", highlight=False)


def _spent(row: dict[str, Any]) -> tuple[str, str, str]:
    usd = "unknown" if row["usd"] is None else f"{row['usd']:.6f}"
    return str(row["tasks"]), f"{row['gpu_seconds']:,.1f}", usd


def show_letters(letters: Iterable[dict[str, Any]]) -> None:
    """Prints a table of dead letters."""
    table = Table("message", "runtime", "task", "status", "attempts", "sent", "reason")
    for letter in letters:
        table.add_row(
            Text(letter["message_id"], no_wrap=True, overflow="fold"),
            Text(letter["runtime"]),
            Text(letter["id"] or "-"),
            Text(letter["status"] or "-"),
            str(letter["attempts"] if letter["attempts"] is not None else "-"),
            str(letter["sent_at"]).replace("T", " ").partition(".")[0],
            Text(letter["reason"]),
        )
    _print(table, "no dead letters")


def show_fields(fields: Iterable[dict[str, Any]]) -> None:
    """Prints a table of what can be set in a workflow, with the places that `--set` and `--input` take."""
    table = Table("place", "what", "now", "takes")
    for item in fields:
        now = item["default"] if isinstance(item["default"], str) else json.dumps(item["default"])
        table.add_row(
            Text(f"{item['node']}.{item['input']}", no_wrap=True, overflow="fold"),
            Text(item["label"]),
            Text(_shortened(now)),
            Text(_shortened(_takes(item))),
        )
    Console().print(table)


def _takes(item: dict[str, Any]) -> str:
    if item["type"] == "file":
        return f"{item.get('media') or 'a file'} (--input)"
    if item.get("choices"):
        return ", ".join(str(choice) for choice in item["choices"])
    low, high = item.get("minimum"), item.get("maximum")
    bounds = f" {'' if low is None else low}…{'' if high is None else high}" if (low, high) != (None, None) else ""
    return f"{item['type']}{bounds}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"
