"""The commands of `python -m local`."""

from __future__ import annotations

import typer

from local.client import commands as client
from local.commands import models, stack

app = typer.Typer(
    name="python -m local",
    help="Darkroom on this machine: start the service, send it tasks, watch them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
stack.add_to(app)
client.add_to(app)
models.add_to(app)
