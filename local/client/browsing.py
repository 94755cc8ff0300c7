"""The commands about what was submitted before: list, retry, dead-letters."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer

from darkroom import Darkroom
from local.client.following import follow, outcomes
from local.client.options import (
    FAILED,
    USAGE,
    ApiOption,
    JsonOption,
    KeyOption,
    address_of,
    connected,
    fail,
    print_json,
)

_STATES: Final = ("queued", "running", "cancelling", "succeeded", "failed", "cancelled", "expired")
_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str, now: datetime) -> datetime:
    """Returns the time that `--since` or `--until` means: so long ago (`90m`, `2d`), or ISO 8601.

    Raises:
        ValueError: it is neither.
    """
    if span := _SPAN.fullmatch(text):
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.astimezone()


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return moment(text, datetime.now(UTC))
    except (ValueError, OverflowError):
        fail(f"{option} {text!r}: write how long ago, such as 90m or 2d, or a time such as 2026-01-31T12:00", USAGE)


def tasks(  # noqa: PLR0917 - typer reads options from parameters
    status: Annotated[
        list[str] | None, typer.Option("--status", "-s", help=f"Only these: {', '.join(_STATES)}; repeatable.")
    ] = None,
    runtime: Annotated[str | None, typer.Option("--runtime", "-r", help="Only this one's.")] = None,
    tasktype: Annotated[str | None, typer.Option("--type", help="Only of this type, such as pipeline.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="How long ago at most (2h, 1d), or a time.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="How long ago at least, or a time.")] = None,
    prefix: Annotated[str | None, typer.Option("--id-prefix", help="Whose id begins so.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
    as_json: JsonOption = False,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """List tasks, the newest first.

    Examples:
      darkroom list --status failed --since 1d
      darkroom list -s failed --json | jq -r .id | xargs -n1 darkroom retry --no-wait
    """
    states = [part for item in status or [] for part in item.split(",")]
    for item in states:
        if item not in _STATES:
            fail(f"--status {item!r}: there is {', '.join(_STATES)}", USAGE)
    first, last = _moment(since, "--since"), _moment(until, "--until")
    with connected(api, api_key) as client:
        found = client.list(
            status=states,
            runtime=runtime,
            tasktype=tasktype,
            since=first,
            until=last,
            id_prefix=prefix,
            limit=min(limit, 200),
        )
        some = islice(found, limit)
        if as_json:
            for task in some:
                print_json(task.view)
            return
        from local.client.show import show_tasks  # noqa: PLC0415 - rich takes longer than the rest of the command

        show_tasks(list(some))


def usage(  # noqa: PLR0917 - as above
    by: Annotated[str, typer.Option("--by", help="With commas between them: key, runtime, tag, tag:NAME.")] = "runtime",
    since: Annotated[str, typer.Option("--since", help="How long ago at most (2h, 30d), or a time.")] = "1d",
    until: Annotated[str | None, typer.Option("--until", help="How long ago at least, or a time.")] = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Show what tasks have cost that ended in a span.

    Example: darkroom usage --by tag:team --since 30d
    """
    first, last = _moment(since, "--since"), _moment(until, "--until")
    with connected(api, api_key) as client:
        found = client.usage(by=by, since=first, until=last)
    if as_json:
        print_json(found)
        return
    from local.client.show import show_usage  # noqa: PLC0415 - as above

    show_usage(found)


def retry(
    task_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Tasks that have ended.")],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for them and save their images.")] = True,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the images.")] = Path("images"),
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """Run tasks that have ended again, as they were.

    Example: darkroom retry my-task
    """
    with connected(api, api_key) as client:
        for task_id in task_ids:
            typer.echo(f"accepted: {client.retry(task_id).id}")
        if wait:
            outcomes(client, follow(address_of(api), api_key, task_ids), output)


def dead_letters(  # noqa: PLR0917 - typer reads options from parameters
    message_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[MESSAGE_ID]...", help="With --redrive or --delete: which ones.")
    ] = None,
    runtime: Annotated[str | None, typer.Option("--runtime", "-r", help="Only this one's.")] = None,
    redrive: Annotated[bool, typer.Option("--redrive", help="Send them back to their queue.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All that are listed, instead of naming some.")] = False,
    as_json: JsonOption = False,
    api: ApiOption = None,
    api_key: KeyOption = None,
) -> None:
    """List dead letters with the reason why each is there, send them back, or delete them.

    Examples:
      darkroom dead-letters
      darkroom dead-letters --redrive --all --runtime sdruntime
    """
    if redrive and delete:
        fail("give either --redrive or --delete", USAGE)
    if (redrive or delete) and bool(message_ids) == every:
        fail("name the messages, or give --all", USAGE)
    if (message_ids or every) and not (redrive or delete):
        fail("say what to do with them: --redrive or --delete", USAGE)
    with connected(api, api_key) as client:
        letters = list(client.dead_letters(runtime))
        if redrive or delete:
            _act(
                client, [(item["runtime"], item["message_id"]) for item in letters], message_ids or [], redrive=redrive
            )
        elif as_json:
            for letter in letters:
                print_json(letter)
        else:
            from local.client.show import show_letters  # noqa: PLC0415 - as above

            show_letters(letters)


def _act(client: Darkroom, listed: list[tuple[str, str]], message_ids: list[str], *, redrive: bool) -> None:
    known = {name for _, name in listed}
    stayed = 0
    for name in message_ids:
        if name not in known:
            typer.echo(f"not found: {name}", err=True)
            stayed += 1
    for runtime in dict.fromkeys(runtime for runtime, _ in listed):
        chosen = [name for at, name in listed if at == runtime and (not message_ids or name in message_ids)]
        if not chosen:
            continue
        outcome = (client.redrive if redrive else client.delete_dead_letters)(runtime, chosen)
        for name in outcome.get("sent_back", []) + outcome.get("deleted", []):
            typer.echo(f"{'sent back' if redrive else 'deleted'}: {name}")
        for item in outcome["stayed"]:
            typer.echo(f"stays: {item['message_id']}: {item['reason']}", err=True)
        for name in outcome["not_found"]:
            typer.echo(f"not found: {name}", err=True)
        stayed += len(outcome["stayed"]) + len(outcome["not_found"])
    if stayed:
        raise typer.Exit(FAILED)
