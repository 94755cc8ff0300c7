"""How long a GPU has worked, from the `/metrics` of the fake runtime or of the agent."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable
from typing import Final

_BUSY: Final = ("fake_runtime_gpu_busy_seconds_total", "darkroom_agent_busy_seconds_total")
"""The runtime's own count, and the agent's, which books the seconds with a run under way."""
_TIMEOUT: Final = 2.0


def busy_seconds(text: str) -> float | None:
    """Returns the busy seconds in a page of metrics (Prometheus text format); None when it has none."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name.partition("{")[0] in _BUSY:
            try:
                return float(value.split()[0])
            except (ValueError, IndexError):
                return None
    return None


def fetch_busy_seconds(urls: Iterable[str]) -> float | None:
    """Returns the busy seconds by the first of some servers that tells them; None when none does."""
    for url in urls:
        try:
            with urllib.request.urlopen(f"{url}/metrics", timeout=_TIMEOUT) as answer:  # noqa: S310 - given by the target
                found = busy_seconds(answer.read().decode(errors="replace"))
        except OSError:
            continue
        if found is not None:
            return found
    return None
