"""The command `darkroom`: sends tasks to the service and fetches what came of them."""

from __future__ import annotations

import sys

import typer

from local.client.commands import add_to


def main() -> None:
    """Runs the command line."""
    app = typer.Typer(
        name="darkroom",
        help="Send tasks to Darkroom, watch them, fetch their images.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    add_to(app)
    sys.exit(app(prog_name="darkroom"))


if __name__ == "__main__":
    main()
