"""`darkroom up`: starts the service from a checkout, as `uvx nox -s up` does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import typer

from local.client.options import USAGE, fail

_INSIDE: Final = "DARKROOM_UP"
"""Set for what is started, which must never come back here."""


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    # What it does not know is for the harness, `--help` included.
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("up", context_settings=passed_on)(up)


def up(context: typer.Context) -> None:
    """Start the whole service from a checkout of Darkroom, without Docker: `uvx nox -s up -- …`.

    Example: darkroom up --latency 0
    """
    folder = next((at for at in (Path.cwd(), *Path.cwd().parents) if (at / "local" / "harness").is_dir()), None)
    if folder is None or not (folder / "noxfile.py").is_file():
        fail("there is no checkout of Darkroom here or above: `up` starts the service from one; clone it first", USAGE)
    uvx = shutil.which("uvx")
    if uvx is None:
        fail("`up` needs uv: https://docs.astral.sh/uv/; with Docker: `docker compose up --wait`", USAGE)
    if os.environ.get(_INSIDE):
        fail("`darkroom up` was started by itself; use `uvx nox -s up`", USAGE)
    os.chdir(folder)
    # With what was installed for the command alone, the session would find the wrong packages.
    environment = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    os.execve(uvx, ["uvx", "nox", "-s", "up", "--", *context.args], environment | {_INSIDE: "1"})  # noqa: S606 - no shell is wanted
