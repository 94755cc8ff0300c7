"""Learns the end of a task from the API alone, by asking or by its event stream, where SNS is out of reach."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from contract.record import Status
from loadtest.target import Target
from loadtest.tasks import Seen

_TIMEOUT: Final = 30.0
"""Seconds; the API sends a comment on a silent stream every 15."""


class WatchError(Exception):
    """The API could not tell how a task stands; worth asking again."""


def ask(target: Target, task_id: str, tenant: str = "") -> Seen:
    """Returns how a task of one of the target's keys stands.

    Raises:
        WatchError: the API does not say.
    """
    with _open(target, f"/v1/tasks/{quote(task_id, safe='')}", tenant) as answer:
        return seen_in(json.load(answer))


def tenant_of(target: Target, task_id: str, tenant: str = "") -> str:
    """Returns whose tasks one of the target's keys submits, by one of them; empty: all share one space.

    Raises:
        WatchError: the API does not say.
    """
    with _open(target, f"/v1/tasks/{quote(task_id, safe='')}", tenant) as answer:
        return str(json.load(answer).get("tenant", ""))


def follow(target: Target, task_id: str, tenant: str = "") -> Seen:
    """Returns how a task ended, once it has.

    Raises:
        WatchError: the stream broke off before.
    """
    with _open(target, f"/v1/tasks/{quote(task_id, safe='')}/events", tenant) as answer:
        for document in events(line.decode() for line in answer):
            seen = seen_in(document)
            if seen.status.terminal:
                return seen
    raise WatchError(f"the events of {task_id} ended before the task did")


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Yields the data of each server-sent event (HTML Living Standard, section 9.2.6) as JSON."""
    data: list[str] = []
    for line in lines:
        text = line.rstrip("\r\n")
        if text.startswith("data:"):
            data.append(text[5:].removeprefix(" "))
        elif not text and data:
            yield json.loads("\n".join(data))
            data = []


def seen_in(document: dict[str, Any]) -> Seen:
    """Returns what the API's view of a task (`GET /v1/tasks/{id}`) says.

    Raises:
        WatchError: it is no such view.
    """
    try:
        timings = document.get("timings") or {}
        error = document.get("error") or {}
        return Seen(
            status=Status(document["status"]),
            submitted_at=_stamp(document["submitted_at"]) or 0.0,
            started_at=_stamp(document["started_at"]),
            finished_at=_stamp(document["finished_at"]),
            attempts=document["attempts"],
            inputs=timings.get("inputs"),
            generation=timings.get("generation"),
            upload=timings.get("upload"),
            images=len(document["images"]),
            error=error.get("message", ""),
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise WatchError(f"the API's answer is no task: {problem!r}") from problem


def _stamp(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _open(target: Target, path: str, tenant: str) -> Any:
    request = urllib.request.Request(f"{target.api}{path}", headers=target.headers(tenant))  # noqa: S310 - ours
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except (OSError, urllib.error.URLError) as error:
        raise WatchError(f"{target.api}{path}: {error}") from error
