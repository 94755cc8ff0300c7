"""What the commands share: which API is meant, how they fail, and how they print.

Exit status: 0 fine, 1 a task failed, 2 refused or wrongly called, 3 not reachable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Final, NoReturn

import typer

from darkroom import Darkroom, NotReachableError, RefusedError
from local.client.changes import ChangeError
from local.client.requests import UnknownRequestError
from local.client.running import running_api
from local.client.workflows import FileError

FAILED: Final = 1
USAGE: Final = 2
NOT_REACHABLE: Final = 3
INTERRUPTED: Final = 130

DEFAULT_API: Final = "http://127.0.0.1:8000"

ApiOption = Annotated[
    str | None,
    typer.Option(
        "--api",
        envvar="DARKROOM_API_URL",
        help="The API's URL; otherwise that of the `up` of this checkout.",
        show_envvar=True,
    ),
]
KeyOption = Annotated[
    str | None, typer.Option("--api-key", envvar="DARKROOM_API_KEY", help="The x-api-key.", show_envvar=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document a line, as the API has it.")]


def print_json(document: Mapping[str, Any]) -> None:
    """Prints one line of JSON."""
    typer.echo(json.dumps(document, ensure_ascii=False))


def address_of(url: str | None) -> str:
    """Returns the API's URL: the one that was typed, or that of the running `up`."""
    address = url or running_api() or DEFAULT_API
    if not address.startswith(("http://", "https://")):
        fail(f"the API's URL must begin with http:// or https://; found {address!r}", USAGE)
    return address


@contextmanager
def connected(url: str | None, key: str | None) -> Iterator[Darkroom]:
    """Yields the API that is meant; turns its refusals into a sentence and an exit status."""
    address = address_of(url)
    with plain_errors(), Darkroom(address, key=key) as client:
        yield client


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns refusals into a sentence and an exit status."""
    try:
        yield
    except NotReachableError as error:
        fail(f"{error}{_way_out(error)}", NOT_REACHABLE)
    except RefusedError as error:
        key = "; give a key with --api-key or DARKROOM_API_KEY" if error.status in {401, 403} else ""
        fail(f"{error}{key}", USAGE)
    except (UnknownRequestError, ChangeError, FileError) as error:
        fail(str(error), USAGE)


def _way_out(error: NotReachableError) -> str:
    if error.status:
        return ""
    return (
        "; start one with `uvx nox -s up` or `docker compose up --wait`, or name another with --api or DARKROOM_API_URL"
    )


def fail(sentence: str, code: int) -> NoReturn:
    """Ends the command with a sentence on standard error."""
    typer.echo(sentence, err=True)
    raise typer.Exit(code)
