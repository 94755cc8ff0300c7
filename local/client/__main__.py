"""The command `darkroom`: sends tasks to the service and fetches what came of them."""

from __future__ import annotations

import inspect
import sys

import typer

from local.client import starting
from local.client.commands import add_to


def make_app() -> typer.Typer:
    """Returns the command line."""
    app = typer.Typer(
        name="darkroom",
        help="Send tasks to Darkroom, watch them, fetch their images.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    add_to(app)
    starting.add_to(app)
    for command in app.registered_commands:
        # After this mark the help keeps its lines: an example that is wrapped cannot be copied.
        command.help = (inspect.getdoc(command.callback) or "").replace("\nExamples:\n", "\n\b\nExamples:\n")
    return app


def main() -> None:
    """Runs the command line."""
    sys.exit(make_app()(prog_name="darkroom"))


if __name__ == "__main__":
    main()
