"""What all commands share: their common options, and how trouble becomes one line and an exit status.

Exit status: 0 fine, 1 the thing itself failed, 2 refused or wrongly called, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cloud.aws import ToolError, explain, is_about_credentials
from contract.config import Config, ConfigError, load_config
from contract.identifiers import check_stack_name

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

CONFIG: Final = Path("config.yaml")

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="CONFIG_FILE", help="The deployment's config.yaml.", show_envvar=True)
]
StackOption = Annotated[
    str | None, typer.Option("--stack", "-n", "--stack-name", help="Name of the deployment; otherwise the config's.")
]
RegionOption = Annotated[
    str | None, typer.Option("--region", "-R", help="AWS region; otherwise the environment's or the profile's.")
]
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint-url", help="An emulator in place of AWS; AWS_ENDPOINT_URL does too."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", "-d", help="Only say what would be done.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns what can go wrong outside this program into one line; SIGTERM ends it as Ctrl-C does, cleaning up."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except (ToolError, ConfigError) as error:
        fail(str(error), USAGE)
    except (BotoCoreError, ClientError) as error:
        fail(explain(error), USAGE if is_about_credentials(error) else FAILED)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


def fail(sentence: str, code: int = USAGE) -> NoReturn:
    """Ends the command with a sentence on standard error."""
    typer.echo(sentence, err=True)
    raise typer.Exit(code)


def loaded(path: Path, stack: str | None) -> Config:
    """Returns the config, under another stack's name if one is given.

    Raises:
        ConfigError: it cannot be used.
        ToolError: the name cannot.
    """
    config = load_config(path)
    if stack is None:
        return config
    try:
        return config.model_copy(update={"stack_name": check_stack_name(stack)})
    except ValueError as error:
        raise ToolError(f"--stack {stack!r}: {error}") from error


def state_folder() -> Path:
    """Returns the folder of what can be made again: `DARKROOM_HOME`, as for the local stack, or `.darkroom/` here."""
    override = os.environ.get("DARKROOM_HOME")
    return Path(override).expanduser() if override else Path(__file__).parents[2] / ".darkroom"


def confirm(question: str, *, yes: bool) -> None:
    """Asks; ends the command when the answer is no."""
    if not yes and not typer.confirm(question):
        fail("nothing was done", USAGE)
