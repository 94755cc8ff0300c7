"""The commands that talk to the API: submit, watch, get, cancel, status, runtimes, upload.

Exit status: 0 fine, 1 the task failed, 2 refused or wrongly called, 3 not reachable.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console

from local.client.api import TERMINAL, Api, NotReachableError, RefusedError
from local.client.changes import ChangeError, change, content_of, from_workflow, is_editors, is_workflow, split
from local.client.requests import UnknownRequestError, from_prompt, route_of, task_id_of
from local.client.running import running_api
from local.client.show import outcome, runtime_table, show_progress, task_table

FAILED: Final = 1
USAGE: Final = 2
NOT_REACHABLE: Final = 3
INTERRUPTED: Final = 130

DEFAULT_API: Final = "http://127.0.0.1:8000"

ApiOption = Annotated[
    str | None,
    typer.Option(
        "--api", envvar="DARKROOM_API_URL", help="The API's URL; otherwise that of the running `up`.", show_envvar=True
    ),
]
KeyOption = Annotated[
    str | None, typer.Option("--api-key", envvar="DARKROOM_API_KEY", help="The x-api-key.", show_envvar=True)
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the images.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]

OUTPUT: Final = Path("images")


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("submit")(submit)
    app.command("watch")(watch)
    app.command("status")(status)
    app.command("cancel")(cancel)
    app.command("get")(get)
    app.command("runtimes")(runtimes)
    app.command("upload")(upload)


def submit(  # noqa: PLR0917 - typer reads options from parameters
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A ComfyUI workflow in API format, or a request as JSON in any form that the API takes; - reads "
            "standard input."
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="Text to image, instead of a file.")] = None,
    runtime: Annotated[str | None, typer.Option("--runtime", "-r", help="Whose queue; otherwise the first.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PLACE=VALUE", help="Change a value of the file: 6.text='a fox', steps=30."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="PLACE=FILE", help="Upload a file and name it there: 10.image=cat.png."),
    ] = None,
    task_id: Annotated[str | None, typer.Option("--id", help="The task's id; otherwise one is made.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 20,
    width: Annotated[int, typer.Option(min=1)] = 512,
    height: Annotated[int, typer.Option(min=1)] = 512,
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 1,
    seed: Annotated[int | None, typer.Option()] = None,
    output: OutputOption = OUTPUT,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the task and save its images.")] = True,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Submit a task, watch it, and save its images."""
    if (file is None) == (prompt is None):
        _fail("give either a file with a request, or --prompt", USAGE)
    with _api(api, api_key) as client:
        if file is not None:
            document = _read(file)
            if is_editors(document):
                _fail(f"{file} is the editor's own format; save it by ComfyUI's menu: Export (API)", USAGE)
            if is_workflow(document):
                document = from_workflow(
                    document, runtime=runtime or _first_runtime(client, "comfyui"), task_id=task_id
                )
            _change(client, content_of(document), changes or [], inputs or [])
        elif changes or inputs:
            _fail("--set and --input change the values of a file; name one", USAGE)
        else:
            document = from_prompt(
                prompt or "",
                runtime=runtime or _first_runtime(client, "sdwebui"),
                task_id=task_id,
                steps=steps,
                width=width,
                height=height,
                count=count,
                seed=seed,
            )
        accepted = task_id_of(client.submit(route_of(document), document))
        typer.echo(f"accepted: {accepted}")
        if wait:
            _follow(client, accepted, output)


def watch(
    task_id: IdArgument,
    output: OutputOption = OUTPUT,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Watch a task until it has ended, and save its images."""
    with _api(api, api_key) as client:
        _follow(client, task_id, output)


def status(
    task_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Tasks; none: the runtimes.")] = None,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Show how tasks stand; without an id, the runtimes and their queues."""
    console = Console()
    with _api(api, api_key) as client:
        if task_ids:
            console.print(task_table([client.task(task_id) for task_id in task_ids]))
        else:
            console.print(runtime_table(client.runtimes()))


def cancel(task_id: IdArgument, api: ApiOption = None, api_key: KeyOption = None) -> None:
    """Cancel a task: one that waits never runs, one that runs is interrupted."""
    with _api(api, api_key) as client:
        task = client.cancel(task_id)
        typer.echo(f"{task_id}: {task['status']}")


def get(
    task_id: IdArgument,
    output: OutputOption = OUTPUT,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Save the images of a task that has ended."""
    with _api(api, api_key) as client:
        task = client.task(task_id)
        if task["status"] not in TERMINAL:
            _fail(f"{task_id} has not ended, it is {task['status']}: watch it with `watch {task_id}`", USAGE)
        _finish(client, task, output)


def runtimes(api: ApiOption = None, api_key: KeyOption = None) -> None:
    """Show the runtimes and their queues."""
    status(None, api, api_key)


def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Images, videos, sounds, models in 3D.")],
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Upload input files; prints the s3:// address of each, by which tasks name it."""
    with _api(api, api_key) as client:
        for file in files:
            typer.echo(client.upload(file)["s3"])


def _follow(client: Api, task_id: str, output: Path) -> None:
    try:
        task = show_progress(Console(), client.follow(task_id))
    except KeyboardInterrupt:
        _fail(f"\n{task_id} goes on; `watch {task_id}` watches it again, `cancel {task_id}` ends it", INTERRUPTED)
    _finish(client, task, output)


def _finish(client: Api, task: dict[str, Any], output: Path) -> None:
    typer.echo(outcome(task))
    if task["images"]:
        for path in client.download(task, output):
            typer.echo(f"saved: {path}")
    if task["status"] != "succeeded":
        raise typer.Exit(FAILED)


def _change(client: Api, content: Any, changes: list[str], inputs: list[str]) -> None:
    """Puts into a request's content what `--set` and `--input` say."""
    for typed in changes:
        change(content, *split(typed, "--set"), "--set")
    for typed in inputs:
        place, name = split(typed, "--input")
        change(content, place, partial(_uploaded, client, Path(name)), "--input")


def _uploaded(client: Api, file: Path) -> str:
    return str(client.upload(file)["s3"])


def _first_runtime(client: Api, kind: str) -> str:  # noqa: RET503 - `_fail` does not return
    name = next((str(item["name"]) for item in client.runtimes() if item["type"] == kind), None)
    if name is not None:
        return name
    if kind == "comfyui":
        _fail("no runtime here is of type comfyui; name one that takes a workflow by --runtime", USAGE)
    _fail("no runtime here takes a prompt alone; submit a file with a workflow for a comfyui runtime", USAGE)


def _read(file: Path) -> Any:
    name = "standard input" if str(file) == "-" else str(file)
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        _fail(f"{name} cannot be read: {error.strerror}", USAGE)
    except UnicodeDecodeError:
        _fail(f"{name} is not UTF-8 text", USAGE)
    except json.JSONDecodeError as error:
        _fail(f"{name} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}", USAGE)
    except RecursionError:
        _fail(f"{name} is nested too deeply", USAGE)


@contextmanager
def _api(url: str | None, key: str | None) -> Iterator[Api]:
    """Yields the API that is meant; turns its refusals into a sentence and an exit status."""
    address = url or running_api() or DEFAULT_API
    if not address.startswith(("http://", "https://")):
        _fail(f"the API's URL must begin with http:// or https://; found {address!r}", USAGE)
    try:
        with Api(address, key) as client:
            yield client
    except NotReachableError as error:
        _fail(str(error), NOT_REACHABLE)
    except (RefusedError, UnknownRequestError, ChangeError) as error:
        _fail(str(error), USAGE)


def _fail(sentence: str, code: int) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(code)
