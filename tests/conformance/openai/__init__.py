"""How servers of OpenAI's image API behave: what vLLM-Omni, SGLang and sd-server have in common, and where they differ.

Source: vLLM-Omni 0.30.0 and SGLang 0.5.23 by their source, sd-server 97d2990 of stable-diffusion.cpp.
"""

from __future__ import annotations

from typing import Final

from tests.conformance.case import Case, cases_in
from tests.conformance.openai import images, refusals, stopping, videos

CASES: Final[tuple[Case, ...]] = cases_in((images, refusals, stopping, videos))
