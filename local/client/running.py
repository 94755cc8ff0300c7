"""Finds the API of the `up` that runs on this machine, by the file that it leaves; without the rest of the project."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

_FILE: Final = "up.json"
_FOLDER: Final = ".darkroom"


def running_api(start: Path | None = None) -> str | None:
    """Returns the API's URL; None when no `up` runs.

    Args:
        start: the folder from which on, upwards, its state is looked for, unless `DARKROOM_HOME` names it; None: the
            current one, and then the one that holds this program.
    """
    home = os.environ.get("DARKROOM_HOME")
    here = [start] if start else [Path.cwd(), Path(__file__).resolve().parent]
    folders = [Path(home).expanduser()] if home else [up / _FOLDER for at in here for up in (at, *at.parents)]
    for folder in folders:
        try:
            state = json.loads((folder / _FILE).read_bytes())
            os.kill(int(state["pid"]), 0)
            return str(state["api"])
        except PermissionError:
            return str(state["api"])  # another user's process
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
