"""How ComfyUI behaves: its routes, events, queue, files and refusals.

Sources: observed on version 0.3.64, and its own source of that version (server.py, execution.py, main.py).
"""

from __future__ import annotations

from typing import Final

from tests.conformance.case import Case, cases_in
from tests.conformance.comfyui import cancelling, events, failures, files, inventory, process, queueing, refusals

CASES: Final[tuple[Case, ...]] = cases_in((inventory, queueing, events, cancelling, files, refusals, failures, process))
