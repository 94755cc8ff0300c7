"""The commands about what the runtimes' servers are made of: environment show, environment diff."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from darkroom import Darkroom, RefusedError
from local.client.options import USAGE, ApiOption, JsonOption, KeyOption, connected, fail, print_json

app: Final = typer.Typer(no_args_is_help=True, help="Show what a runtime's server is made of, and what has changed.")

_DIGITS: Final = 64
"""Of a whole hash."""

RuntimeOption = Annotated[str | None, typer.Option("--runtime", "-r", help="Whose; otherwise the first that has it.")]


@app.command("show")
def show(
    environment: Annotated[
        str | None, typer.Argument(metavar="[HASH]", help="Or how it begins; otherwise the newest.")
    ] = None,
    runtime: RuntimeOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Show an environment: versions, node packs, models with their digests.

    Example: darkroom environment show --runtime comfyruntime
    """
    with connected(api, api_key) as client:
        found = _find(client, runtime, environment)
        if as_json:
            print_json(found)
            return
        for line in _lines(found):
            typer.echo(line)


@app.command("diff")
def diff(  # noqa: PLR0917 - typer reads options from parameters
    before: Annotated[str, typer.Argument(metavar="A", help="A hash, or how it begins.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one of the same runtime.")],
    runtime: RuntimeOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Show what changed from one environment to another; the exit status is 0 if nothing did, otherwise 1.

    Example: darkroom environment diff 3f2a 91bc
    """
    with connected(api, api_key) as client:
        older = _find(client, runtime, before)
        newer = _find(client, older["runtime"], after)
        found = client.environment(older["runtime"], newer["hash"], against=older["hash"])
    changes = found["difference"]["changes"]
    if as_json:
        print_json(found["difference"])
    else:
        for change in changes:
            typer.echo(change["sentence"])
    raise typer.Exit(1 if changes else 0)


def _find(client: Darkroom, runtime: str | None, environment: str | None) -> dict[str, Any]:
    """Returns what the API tells of an environment that is named by its hash, or by how that begins."""
    if runtime is not None:
        found = _find_in(client, runtime, environment)
        names = [runtime]
    else:
        names = [item["name"] for item in client.runtimes()]
        found = next((known for name in names if (known := _find_in(client, name, environment))), None)
    if found is None:
        what = "its environment" if environment is None else f"an environment {environment!r}"
        fail(
            f"no agent of {', '.join(names)} has told of {what}; `darkroom environment show` lists what is known", USAGE
        )
    return found


def _find_in(client: Darkroom, runtime: str, environment: str | None) -> dict[str, Any] | None:
    """Returns the same for one runtime; None where that has none."""
    try:
        if environment is not None and len(environment) == _DIGITS:
            return client.environment(runtime, environment)
        newest = client.environment(runtime)
    except RefusedError as error:
        if error.code in {"environment_not_known", "unknown_environment"}:
            return None
        raise
    if environment is None:
        return newest
    matches = [item["hash"] for item in newest["known"] if item["hash"].startswith(environment)]
    if len(matches) > 1:
        fail(f"{environment!r} is how {len(matches)} environments of {runtime} begin; write more of it", USAGE)
    return client.environment(runtime, matches[0]) if matches else None


def _lines(found: dict[str, Any]) -> list[str]:
    lock = found["environment"]
    unknown = "unknown"
    lines = [f"{found['runtime']}  {found['hash']}  {found['seen_at'] or 'seen long ago'}", ""]
    lines += [f"{name:<10} {unknown if lock[name] is None else lock[name]}" for name in ("type", "image", "version")]
    lines += [f"package    {name} {version}" for name, version in sorted(lock["packages"].items())]
    if lock["extensions"] is None:
        lines.append(f"extensions {unknown}")
    lines += [
        f"extension  {item['name']} {item['version'] or '(version unknown)'}" for item in lock["extensions"] or ()
    ]
    if lock["models"] is None:
        lines.append(f"models     {unknown}")
    lines += [
        f"model      {item['folder']}/{item['name']} {item['size'] or '(size unknown)'} "
        f"{item['digest'] or '(digest unknown)'}"
        for item in lock["models"] or ()
    ]
    lines += [f"setting    {name} = {value}" for name, value in sorted(lock["settings"].items())]
    others = [item for item in found["known"] if item["hash"] != found["hash"]]
    lines += ["", *(f"also known {item['hash']}  {item['seen_at']}" for item in others)] if others else []
    return lines
