"""What processes tell whoever keeps them running, by the way they end."""

from __future__ import annotations

from typing import Final

EXIT_RESTART_RUNTIME: Final = 75
"""An agent's exit status that asks for a restart of its runtime and then of itself (sysexits.h, EX_TEMPFAIL).

`local/harness` does so. In Kubernetes the agent's own restart leaves its sidecars alone; a container restart rule with
the action `RestartAllContainers` for this status restarts them too (KEP-5532, beta since 1.36).
"""
