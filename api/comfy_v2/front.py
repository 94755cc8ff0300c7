"""What stands before the gate on v2's paths."""

from __future__ import annotations

from starlette.types import ASGIApp

from api.comfy_v2.keys import BearerKeys
from api.comfy_v2.patience import Patience
from api.events import Streams


def before(gate: ASGIApp, streams: Streams) -> ASGIApp:
    """Returns the gate as v2's clients meet it: it knows their keys, and lets those that read wait for their turn."""
    return Patience(BearerKeys(gate), streams)
