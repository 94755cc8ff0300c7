"""Sends the journeys, waits for their images, saves and shows them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.table import Column, Table
from rich.text import Text

from cloud.aws import ToolError
from cloud.reporter import Reporter
from cloud.smoke.api import Api
from cloud.smoke.journeys import Journey
from cloud.smoke.picture import draw
from cloud.waiting import wait_until

_TERMINAL: Final = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True)
class Result:
    """How one journey ended."""

    journey: Journey
    status: str
    seconds: float
    files: list[Path] = field(default_factory=list)
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether images came."""
        return self.status == "succeeded" and bool(self.files)


def run_smoke(api: Api, journeys: list[Journey], *, folder: Path, within: float, report: Reporter) -> list[Result]:
    """Sends all journeys at once, then waits for each; a refusal of one does not keep the others from being sent.

    Args:
        api: the deployment's.
        journeys: what to send.
        folder: for the images.
        within: seconds for all of them; a GPU node that has yet to start is among them.
        report: told each journey's end.
    """
    began = time.monotonic()
    refused: dict[str, str] = {}
    with report.step(f"sending {len(journeys)} requests to {api.url}"):
        for journey in journeys:
            try:
                api.submit(journey.route, journey.body)
            except ToolError as error:
                refused[journey.task_id] = str(error)
    results = []
    for journey in journeys:
        if journey.task_id in refused:
            results.append(Result(journey, "refused", 0.0, error=refused[journey.task_id]))
            continue
        try:
            with report.step(journey.title):
                results.append(_await(api, journey, folder=folder, began=began, within=within, report=report))
        except ToolError as error:
            results.append(Result(journey, "failed", time.monotonic() - began, error=str(error)))
    return results


def _await(api: Api, journey: Journey, *, folder: Path, began: float, within: float, report: Reporter) -> Result:
    last: dict[str, Any] = {}

    def ended() -> dict[str, Any] | None:
        task = api.task(journey.task_id)
        if task["status"] != last.get("status") and task["status"] not in _TERMINAL:
            report.detail(f"{journey.title}: {task['status']}")
        last.update(task)
        return task if task["status"] in _TERMINAL else None

    left = max(1.0, began + within - time.monotonic())
    task = wait_until(ended, what=f"the end of {journey.task_id}", within=left, at_most_every=2)
    files = api.download(task, folder) if task["status"] == "succeeded" else []
    error = (task.get("error") or {}).get("message", "")
    return Result(journey, task["status"], time.monotonic() - began, files, error)


def show(results: list[Result], report: Reporter) -> None:
    """Shows each image, and a table of all journeys."""
    for result in results:
        if result.files and report.console.is_terminal and (picture := draw(result.files[0])) is not None:
            report.say(result.journey.title)
            report.show(picture)
    table = Table("request", "", "status", "after", Column("images", overflow="fold"))
    for result in results:
        mark = Text("✓", "green") if result.passed else Text("✗", "red")
        found = ", ".join(file.name for file in result.files) or result.error or "none"
        table.add_row(Text(result.journey.title), mark, result.status, f"{result.seconds:.1f} s", Text(found))
    report.show(table)
