"""How InvokeAI behaves: its queue, its cache, its images, its refusals and failures.

Source: observed on version 6.14.2.
"""

from __future__ import annotations

from typing import Final

from tests.conformance.case import Case, cases_in
from tests.conformance.invokeai import cancelling, failures, images, process, queueing, refusals

CASES: Final[tuple[Case, ...]] = cases_in((queueing, cancelling, images, refusals, failures, process))
"""What cases do to an InvokeAI server."""
