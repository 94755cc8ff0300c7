"""The commands that fill, show and check the model bucket: push, list, check, pull.

Exit status: 0 fine, 1 something was refused or is wrong, 2 wrongly called, 3 not reachable, 130 interrupted.
"""

# ruff: noqa: PLC0415 - the client's commands must not wait for boto3
from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from local.commands.stack import CONFIG, NOT_REACHABLE, USAGE, ConfigOption
from local.models.layout import FOLDERS, WrongPlaceError, known_folder

if TYPE_CHECKING:
    from local.models.bucket import StoredModel
    from local.models.target import Target

WRONG: Final = 1
INTERRUPTED: Final = 130

BucketOption = Annotated[str | None, typer.Option("--bucket", help="The bucket; otherwise config.yaml's.")]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        envvar="AWS_ENDPOINT_URL",
        help="S3's URL; otherwise the LocalStack that runs here.",
        show_envvar=True,
    ),
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="AWS itself, with the credentials of this profile of the AWS CLI.")
]
JobsOption = Annotated[int, typer.Option("--jobs", "-j", min=1, max=32, help="Transfers at once.")]

_console = Console(stderr=True, highlight=False)


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    models = typer.Typer(
        help="The model bucket. Its folders: " + "; ".join(f"{name} ({what})" for name, what in FOLDERS.items()) + ".",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    models.command("push")(_told(push))
    models.command("list")(_told(list_models))
    models.command("check")(_told(check))
    models.command("pull")(_told(pull))
    app.add_typer(models, name="models")


def push(  # noqa: PLR0917 - typer reads options from parameters
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Model files, or folders that are laid out like the bucket.")
    ],
    folder: Annotated[
        str | None, typer.Option("--folder", "-f", help="Where they go; otherwise it is read from the files' headers.")
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Take .ckpt, .pt, .pth and .bin too, which can run any code.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what differs under the same key.")] = False,
    jobs: JobsOption = 4,
    config: ConfigOption = CONFIG,
    bucket: BucketOption = None,
    endpoint: EndpointOption = None,
    profile: ProfileOption = None,
) -> None:
    """Put models into the bucket; what is there is skipped, an interrupted push is gone on with."""
    from local.models.inspection import RefusedFileError
    from local.models.progress import ShownProgress
    from local.models.push import Pusher
    from local.models.sources import named_files, planned

    if folder is not None:
        try:
            folder = known_folder(folder)
        except WrongPlaceError as error:
            _fail(f"--folder: {error}", USAGE)
    faults, plans = 0, []
    try:
        files = list(named_files(paths))
    except RefusedFileError as error:
        _fail(str(error), USAGE)
    for path, relative in files:
        try:
            plans.append(planned(path, relative, folder=folder, allow_pickle=allow_pickle))
        except RefusedFileError as error:
            faults += 1
            _say(str(error))
    if (twice := _repeated(plan.key for plan in plans)) is not None:
        _fail(f"{twice}: two of the files would go there; push one of them alone", USAGE)
    target = _target(config, bucket, endpoint, profile, jobs)
    with (
        ShownProgress(_console) as progress,
        # Ctrl-C may come between two outcomes, too: only a generator that is closed stops what is under way.
        closing(Pusher(target.bucket, progress, jobs=jobs, replace=replace).push(plans)) as outcomes,
    ):
        for file, outcome in outcomes:
            faults += isinstance(outcome, Exception)
            _tell(outcome, f"{file.key}: {outcome} ({decimal(file.size)})")
    raise typer.Exit(WRONG if faults else 0)


def list_models(
    config: ConfigOption = CONFIG,
    bucket: BucketOption = None,
    endpoint: EndpointOption = None,
    profile: ProfileOption = None,
) -> None:
    """List what is in the bucket, and the uploads that were interrupted."""
    target = _target(config, bucket, endpoint, profile, jobs=1)
    table = Table("model", "size", "modified", box=None, pad_edge=False)
    models = list(target.bucket.models())
    for model in models:
        table.add_row(model.key, decimal(model.size), f"{model.modified:%Y-%m-%d %H:%M}")
    if models:
        Console(highlight=False).print(table)
    else:
        typer.echo(f"bucket {target.bucket.name} ({target.place}) is empty")
    for upload in target.bucket.unfinished():
        parts = target.bucket.sent_parts(upload).values()
        typer.echo(
            f"{upload.key}: interrupted after {decimal(sum(part.size for part in parts))}; push it again to go on"
        )


def check(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE…]", help="Check files here, instead of the bucket.")
    ] = None,
    config: ConfigOption = CONFIG,
    bucket: BucketOption = None,
    endpoint: EndpointOption = None,
    profile: ProfileOption = None,
) -> None:
    """Check the bucket, or files: sound headers, no pickles, known folders, and config.yaml's models there."""
    faults = _check_files(files) if files else _check_bucket(config, bucket, endpoint, profile)
    raise typer.Exit(WRONG if faults else 0)


def pull(  # noqa: PLR0917 - typer reads options from parameters
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY…]", help="Folders or models of the bucket; otherwise all.")
    ] = None,
    into: Annotated[Path, typer.Option("--into", help="The folder that a runtime has its models from.")] = Path(
        "models"
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched, and fetch nothing.")] = False,
    jobs: JobsOption = 4,
    config: ConfigOption = CONFIG,
    bucket: BucketOption = None,
    endpoint: EndpointOption = None,
    profile: ProfileOption = None,
) -> None:
    """Bring the bucket into a folder, as Mountpoint for S3 shows it in the cloud; nothing is removed there."""
    from local.models.progress import ShownProgress
    from local.models.pull import Puller

    target = _target(config, bucket, endpoint, profile, jobs)
    wanted = _wanted(target, names or [])
    with ShownProgress(_console) as progress:
        puller = Puller(target.bucket, into, progress, jobs)
        if dry_run:
            for model in (model for model in wanted if not puller.is_there(model)):
                typer.echo(f"{model.key}: would be fetched ({decimal(model.size)})")
            return
        faults = 0
        with closing(puller.pull(wanted)) as outcomes:
            for model, outcome in outcomes:
                faults += isinstance(outcome, Exception)
                _tell(outcome, f"{model.key}: {outcome} ({decimal(model.size)})")
    raise typer.Exit(WRONG if faults else 0)


def _wanted(target: Target, names: list[str]) -> list[StoredModel]:
    """Returns the models of the bucket that were named; a name that names nothing ends the command."""
    from local.models.layout import fault_of

    found = []
    for model in target.bucket.models():
        if model.key.endswith("/"):
            continue
        if (fault := fault_of(model.key)) is not None:
            _say(f"{model.key!r}: left out: {fault}")
        else:
            found.append(model)
    for name in names:
        if not any(_below(model.key, name) for model in found):
            _fail(f"{name}: there is nothing of that name in bucket {target.bucket.name}", USAGE)
    return [model for model in found if not names or any(_below(model.key, name) for name in names)]


def _below(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name.rstrip('/')}/")


def _check_files(files: list[Path]) -> int:
    from local.models.inspection import RefusedFileError
    from local.models.sources import named_files, planned

    faults = 0
    try:
        found = list(named_files(files))
    except RefusedFileError as error:
        _fail(str(error), USAGE)
    for path, relative in found:
        try:
            typer.echo(f"{path}: sound, goes to {planned(path, relative, folder=None, allow_pickle=False).key}")
        except RefusedFileError as error:
            faults += 1
            _say(str(error))
    return faults


def _check_bucket(config: Path, bucket: str | None, endpoint: str | None, profile: str | None) -> int:
    from contract.config import load_config
    from local.models.check import fault_of_model, missing_models

    target = _target(config, bucket, endpoint, profile, jobs=1)
    faults, keys = 0, list[str]()
    with _console.status("reading headers"):
        for model in target.bucket.models():
            keys.append(model.key)
            if (fault := fault_of_model(target.bucket, model)) is not None:
                faults += 1
                _say(f"{model.key}: {fault}")
    for sentence in missing_models(load_config(config), keys):
        faults += 1
        _say(sentence)
    if not faults:
        typer.echo(f"bucket {target.bucket.name} ({target.place}): {len(keys)} models, all sound")
    return faults


def _target(config: Path, bucket: str | None, endpoint: str | None, profile: str | None, jobs: int) -> Target:
    from contract.config import load_config
    from local.models.target import choose

    return choose(bucket or load_config(config), endpoint=endpoint, profile=profile, jobs=jobs)


def _repeated(keys: Iterable[str]) -> str | None:
    seen = set[str]()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def _told[**P](command: Callable[P, None]) -> Callable[P, None]:
    """Gives a command one-line errors, and the exit status that belongs to them."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from contract.config import ConfigError
        from local.models.bucket import BucketError

        try:
            command(*args, **kwargs)
        except ConfigError as error:
            _fail(str(error), USAGE)
        except BucketError as error:
            _fail(str(error), NOT_REACHABLE)
        except KeyboardInterrupt:
            _fail("stopped; the same command goes on where it was", INTERRUPTED)

    return run


def _tell(outcome: StrEnum | Exception, otherwise: str) -> None:
    """Says what became of a file: a fault as such, or the sentence."""
    if isinstance(outcome, Exception):
        _say(str(outcome))
    else:
        typer.echo(otherwise)


def _say(sentence: str) -> None:
    _console.print(sentence, markup=False, soft_wrap=True)


def _fail(sentence: str, status: int) -> NoReturn:
    _say(sentence)
    raise typer.Exit(status)
