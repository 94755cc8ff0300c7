"""How SD Web UI behaves: generation, upscaling, what it says of itself, interrupts, and every error body.

Sources: a real 1.10.1, asked over HTTP, and its own source (modules/api/api.py, modules/api/models.py,
modules/call_queue.py) from 1.8 on. Where versions differ, both forms conform.
"""

from __future__ import annotations

from typing import Final

from tests.conformance.case import Case, cases_in
from tests.conformance.sdwebui import failures, generation, inventory, process, refusals, stopping, waiting

CASES: Final[tuple[Case, ...]] = cases_in((inventory, generation, waiting, stopping, refusals, failures, process))
