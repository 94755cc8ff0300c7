"""How SD Web UI behaves: generation, upscaling, what it says of itself, interrupts, and every error body.

Sources: its own source (modules/api/api.py, modules/api/models.py, modules/call_queue.py) of 1.8 to 1.10, not a running
server. Where versions differ, both forms conform.
"""

from __future__ import annotations

from typing import Final

from tests.conformance.case import Case, cases_in
from tests.conformance.sdwebui import generation, inventory, process, refusals, stopping

CASES: Final[tuple[Case, ...]] = cases_in((inventory, generation, stopping, refusals, process))
