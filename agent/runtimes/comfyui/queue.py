"""Reads ComfyUI's queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Queued:
    """One prompt in the queue."""

    running: bool
    """Whether it runs; else it waits."""
    client_id: str
    """Who has sent it, by its `extra_data`; empty when that does not say."""


def read_queue(document: Mapping[str, Any]) -> dict[str, Queued]:
    """Returns the prompts of `GET /queue` by their ids; an id that is there twice counts as running if one of them is.

    An item is `[number, prompt_id, prompt, extra_data, outputs_to_execute]`; what is none is left out.
    """
    found: dict[str, Queued] = {}
    for part, running in (("queue_pending", False), ("queue_running", True)):
        for item in document.get(part) or ():
            if isinstance(item, list) and len(item) > 1 and isinstance(item[1], str):
                found[item[1]] = Queued(running, _client_of(item))
    return found


def prompts_of(history: Mapping[str, Any], client_id: str) -> list[str]:
    """Returns the ids of one client's prompts in `GET /history`, whose entries hold the items of the queue."""
    return [
        prompt_id
        for prompt_id, entry in history.items()
        if isinstance(entry, dict)
        and isinstance(entry.get("prompt"), list)
        and _client_of(entry["prompt"]) == client_id
    ]


def _client_of(item: list[Any]) -> str:
    extra = item[3] if len(item) > 3 else None
    client = extra.get("client_id") if isinstance(extra, dict) else None
    return client if isinstance(client, str) else ""
