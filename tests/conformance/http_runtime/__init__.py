"""How a runtime of one's own behaves, by the contract of `type: http` in docs/conformance.md."""

from __future__ import annotations

from typing import Final

from tests.conformance.case import Case, cases_in
from tests.conformance.http_runtime import process, running

CASES: Final[tuple[Case, ...]] = cases_in((running, process))
