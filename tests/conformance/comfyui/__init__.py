"""How ComfyUI behaves: its routes, events, queue, files and refusals.

Sources: observed on versions 0.3.64 and 0.33.0, and their own source (server.py, execution.py, main.py). A server is
judged by the version that it tells.
"""

from __future__ import annotations

from typing import Final

from tests.conformance.case import Case, cases_in
from tests.conformance.comfyui import (
    cancelling,
    events,
    failures,
    files,
    inventory,
    jobs,
    process,
    queueing,
    refusals,
)

CASES: Final[tuple[Case, ...]] = cases_in(
    (inventory, queueing, events, cancelling, jobs, files, refusals, failures, process)
)
