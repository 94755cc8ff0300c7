"""The commands that talk to the API about single tasks and files; `browsing` has those about many."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from darkroom import Darkroom
from local.client import browsing, environments
from local.client.changes import change, content_of, from_workflow, split
from local.client.following import follow, outcomes
from local.client.options import (
    USAGE,
    ApiOption,
    JsonOption,
    KeyOption,
    address_of,
    connected,
    fail,
    print_json,
)
from local.client.requests import demand, from_prompt, route_of, task_id_of
from local.client.workflows import Converted, convert, is_any_workflow, read_file

OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the images.")]
IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="The tasks' ids.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]

OUTPUT: Final = Path("images")


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("submit")(submit)
    app.command("fields")(fields)
    app.command("list")(browsing.tasks)
    app.command("watch")(watch)
    app.command("get")(get)
    app.command("status")(status)
    app.command("cancel")(cancel)
    app.command("retry")(browsing.retry)
    app.command("upload")(upload)
    app.command("runtimes")(runtimes)
    app.command("usage")(browsing.usage)
    app.command("dead-letters")(browsing.dead_letters)
    app.add_typer(environments.app, name="environment")


def submit(  # noqa: PLR0917 - typer reads options from parameters
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A ComfyUI workflow: JSON as the editor saves or exports it, or a picture, video or sound that "
            "ComfyUI has saved. Or a request as JSON in any form that the API takes. - reads standard input."
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
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="By which usage is summed up: team=ads.")
    ] = None,
    start_by: Annotated[
        str | None,
        typer.Option("--start-by", metavar="TIME", help="Begin by then, or expire: seconds from now, or a time."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1)] = 20,
    width: Annotated[int, typer.Option(min=1)] = 512,
    height: Annotated[int, typer.Option(min=1)] = 512,
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 1,
    seed: Annotated[int | None, typer.Option()] = None,
    output: OutputOption = OUTPUT,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the task and save its images.")] = True,
    as_json: JsonOption = False,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Submit a task, watch it, and save its images.

    Examples:
      darkroom submit --prompt "A dog"
      darkroom submit workflow_api.json --set 6.text="a fox" --set 3.seed=7 --input 10.image=cat.png
    """
    if (file is None) == (prompt is None):
        fail("give either a file with a request, or --prompt", USAGE)
    with connected(api, api_key) as client:
        if file is not None:
            data, document = read_file(file)
            if is_any_workflow(document):
                name = runtime or _first_runtime(client, "comfyui")
                converted = convert(client, name, data, document)
                _warn(converted)
                document = from_workflow(converted.content, runtime=name, task_id=task_id)
            _change(client, content_of(document), changes or [], inputs or [])
        elif changes or inputs:
            fail("--set and --input change the values of a file; name one", USAGE)
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
        route = route_of(document)
        if tags or start_by is not None:
            route, document = "/v1/tasks", demand(document, tags=tags or [], start_by=start_by)
        answer = client.post(route, document)
        accepted = task_id_of(answer)
        if as_json and not wait:
            print_json({"id": accepted, **answer})
        elif not as_json:
            typer.echo(f"accepted: {accepted}")
        if wait:
            outcomes(client, follow(address_of(api), api_key, [accepted], as_json=as_json), output, as_json=as_json)


def fields(  # noqa: PLR0917 - as above
    file: Annotated[Path, typer.Argument(help="A ComfyUI workflow, as for submit.")],
    runtime: Annotated[str | None, typer.Option("--runtime", "-r", help="Whose nodes; otherwise the first's.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show what is seldom changed, too.")] = False,
    as_json: JsonOption = False,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Show what --set and --input can change in a workflow, and what the runtime lacks for it.

    Example: darkroom fields workflow.json
    """
    with connected(api, api_key) as client:
        data, document = read_file(file)
        if not is_any_workflow(document):
            fail(f"{file} is no ComfyUI workflow", USAGE)
        converted = convert(client, runtime or _first_runtime(client, "comfyui"), data, document)
        usual = [item for item in converted.fields if every or item["role"] not in {None, "model"}]
        if as_json:
            for item in usual or converted.fields:
                print_json(item)
        else:
            from local.client.show import show_fields  # noqa: PLC0415 - rich takes longer than the rest of the command

            show_fields(usual or converted.fields)
        _warn(converted)


def watch(
    task_ids: IdsArgument,
    output: OutputOption = OUTPUT,
    as_json: JsonOption = False,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Watch tasks until all have ended, and save their images.

    Example: darkroom watch one-task another-task
    """
    with connected(api, api_key) as client:
        outcomes(client, follow(address_of(api), api_key, task_ids, as_json=as_json), output, as_json=as_json)


def status(
    task_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Tasks; none: the runtimes.")] = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Show how tasks stand; without an id, the runtimes and their queues.

    Example: darkroom status my-task --json | jq .timings
    """
    if not task_ids:
        runtimes(as_json, api, api_key)
        return
    with connected(api, api_key) as client:
        found = [client.get(task_id) for task_id in task_ids]
        if as_json:
            for task in found:
                print_json(task.view)
            return
        from local.client.show import show_tasks  # noqa: PLC0415 - rich takes longer than the rest of the command

        show_tasks(found)


def cancel(task_ids: IdsArgument, api: ApiOption = None, api_key: KeyOption = None) -> None:
    """Cancel tasks: one that waits never runs, one that runs is interrupted."""
    with connected(api, api_key) as client:
        for task_id in task_ids:
            typer.echo(f"{task_id}: {client.cancel(task_id).status}")


def get(
    task_id: IdArgument,
    output: OutputOption = OUTPUT,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Save the images of a task that has ended."""
    with connected(api, api_key) as client:
        task = client.get(task_id)
        if not task.ended:
            fail(f"{task_id} has not ended, it is {task.status}: watch it with `darkroom watch {task_id}`", USAGE)
        outcomes(client, [task], output)


def runtimes(as_json: JsonOption = False, api: ApiOption = None, api_key: KeyOption = None) -> None:
    """Show the runtimes and their queues."""
    with connected(api, api_key) as client:
        found = client.runtimes()
        if as_json:
            for runtime in found:
                print_json(runtime)
            return
        from local.client.show import show_runtimes  # noqa: PLC0415 - as above

        show_runtimes(found)


def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Images, videos, sounds, models in 3D.")],
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Upload input files; prints the s3:// address of each, by which tasks name it.

    Example: darkroom upload cat.png
    """
    with connected(api, api_key) as client:
        for file in files:
            typer.echo(_uploaded(client, file))


def _change(client: Darkroom, content: Any, changes: list[str], inputs: list[str]) -> None:
    """Puts into a request's content what `--set` and `--input` say."""
    for typed in changes:
        change(content, *split(typed, "--set"), "--set")
    for typed in inputs:
        place, name = split(typed, "--input")
        change(content, place, partial(_uploaded, client, Path(name)), "--input")


def _uploaded(client: Darkroom, file: Path) -> str:
    """Uploads a file; a terminal sees how far it is."""
    size = file.stat().st_size if file.is_file() else 0
    with typer.progressbar(length=size, label=file.name, file=sys.stderr, hidden=not sys.stderr.isatty()) as shown:
        return client.upload(file, progress=lambda sent, _: shown.update(sent - shown.pos))


def _first_runtime(client: Darkroom, kind: str) -> str:  # noqa: RET503 - `fail` does not return
    name = next((str(item["name"]) for item in client.runtimes() if item["type"] == kind), None)
    if name is not None:
        return name
    if kind == "comfyui":
        fail("no runtime here is of type comfyui; name one that takes a workflow by --runtime", USAGE)
    fail("no runtime here takes a prompt alone; submit a file with a workflow for a comfyui runtime", USAGE)


def _warn(converted: Converted) -> None:
    for warning in converted.warnings:
        typer.echo(f"warning: {warning}", err=True)
