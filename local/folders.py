"""Where the project lies, and where what it makes on this machine goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parent.parent
"""The root of the repository (in an image: the folder that holds `local/`)."""


def state_folder() -> Path:
    """Returns the folder of everything that can be made again: `DARKROOM_HOME`, or `.darkroom/` in the project."""
    override = os.environ.get("DARKROOM_HOME")
    return Path(override).expanduser().resolve() if override else PROJECT / ".darkroom"
