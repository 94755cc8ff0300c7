"""The tab "Scaling" on Locust's web page: queue, replicas, nodes and GPUs of each runtime, live."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from flask import Response, request

from loadtest.conductor import Conductor
from loadtest.samples import Sample, usage_between

_TAB: Final = "scaling"
_COLUMNS: Final = {
    "name": "Runtime",
    "waiting": "Messages waiting",
    "inFlight": "In flight",
    "ready": "Replicas ready",
    "starting": "Starting",
    "draining": "Draining",
    "wanted": "Wanted",
    "idle": "GPU idle % (last 15 s)",
}
_IDLE_OVER: Final = 15.0
"""Seconds."""


def add_tab(web_ui: Any, conductor: Callable[[], Conductor | None]) -> None:
    """Adds the tab, by the hooks that Locust has for it ("Extending the web UI").

    Args:
        web_ui: Locust's.
        conductor: returns that of the test under way, or of the last one.
    """
    structure = [{"key": key, "title": title} for key, title in _COLUMNS.items()]
    web_ui.template_args["extended_tabs"] = [{"title": "Scaling", "key": _TAB}]
    web_ui.template_args["extended_tables"] = [{"key": _TAB, "structure": structure}]

    def extend(response: Response) -> Response:
        leader = conductor()
        if request.path.endswith("/stats/requests") and leader is not None and response.is_json:
            rows = live_rows(leader.observer.samples)
            response.set_data(json.dumps({**response.get_json(), "extended_stats": [{"key": _TAB, "data": rows}]}))
        return response

    web_ui.app.after_request(extend)


def live_rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Returns the tab's rows: one for each runtime, and one for the nodes of each pool; newest values."""
    if not samples:
        return []
    newest = samples[-1]
    rows: list[dict[str, Any]] = []
    for runtime in sorted({*newest.queues, *newest.replicas}):
        row: dict[str, Any] = dict.fromkeys(_COLUMNS, "–") | {"name": runtime}
        if runtime in newest.queues:
            row |= {"waiting": newest.queues[runtime].visible, "inFlight": newest.queues[runtime].in_flight}
        if runtime in newest.replicas:
            replicas = newest.replicas[runtime]
            row |= {"ready": replicas.ready, "starting": replicas.starting, "draining": replicas.draining}
            row["wanted"] = "–" if replicas.wanted is None else replicas.wanted
        recent = samples[-int(_IDLE_OVER) - 2 :]
        idle = usage_between(recent, newest.at - _IDLE_OVER, newest.at, runtime).idle_share
        row["idle"] = "–" if idle is None else round(100 * idle)
        rows.append(row)
    rows += [
        dict.fromkeys(_COLUMNS, "–") | {"name": f"nodes: {pool}", "ready": count}
        for pool, count in newest.nodes.items()
    ]
    return rows
