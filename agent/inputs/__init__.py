"""What a task names by a link instead of holding it: found, judged, and fetched."""

from __future__ import annotations

from agent.inputs.sources import Inputs, InputSource

__all__ = ["InputSource", "Inputs"]
