"""`redrive`: sends dead letters back to their queue, by reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cloud.awaited import awaited
from cloud.aws import Aws, ToolError
from cloud.commands.common import (
    CONFIG,
    FAILED,
    ConfigOption,
    DryRunOption,
    EndpointOption,
    RegionOption,
    StackOption,
    fail,
    loaded,
    plain_errors,
)
from cloud.deployment.existing import as_deployed
from cloud.reporter import Reporter
from cloud.status.gather import undelivered
from cloud.status.state import told_undelivered
from contract.config import Config
from contract.dead_letters import CannotRedriveError, DeadLetterQueue
from contract.redrive import DeadLetter, count_by_reason, is_selected
from contract.topology import Queue, topology


def redrive(  # noqa: PLR0917 - typer reads options from parameters
    runtime: Annotated[list[str] | None, typer.Option("--runtime", "-r", help="Only this one's; repeatable.")] = None,
    reason: Annotated[
        list[str] | None, typer.Option("--reason", help="Those whose reason contains this text; repeatable.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, whatever the reason.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many of each runtime.")] = None,
    config: ConfigOption = CONFIG,
    stack: StackOption = None,
    dry_run: DryRunOption = False,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Send dead letters back to their queue; with neither --reason nor --all, show why they are there."""
    report = Reporter()
    if reason and every:
        fail("give either --reason or --all")
    with plain_errors():
        aws = Aws(region, endpoint_url)
        settings = as_deployed(aws, loaded(config, stack))
        if count := undelivered(aws, settings):
            report.say(told_undelivered(count))
        queues = [(queue.runtime, _open(aws, queue, settings)) for queue in _queues(settings, runtime, aws)]

        def choose(letters: list[DeadLetter]) -> list[DeadLetter]:
            return [item for item in letters if is_selected(item, reason or [])][:limit] if reason or every else []

        stayed = asyncio.run(_redrive(queues, choose, report, dry_run=dry_run))
    if stayed:
        fail(f"{stayed} dead letters stay where they are", FAILED)


async def _redrive(
    queues: list[tuple[str, DeadLetterQueue]],
    choose: Callable[[list[DeadLetter]], list[DeadLetter]],
    report: Reporter,
    *,
    dry_run: bool,
) -> int:
    """Moves the chosen letters of each runtime, and returns how many had to stay."""
    stayed = 0
    for runtime, dead in queues:
        async with dead.letters() as letters:
            report.show(_table(runtime, letters.found))
            taken = {item.message_id: item for item in choose(letters.found)}
            # Now, not at the end: to move many takes minutes, and others may be after the rest.
            await dead.hand_back(item for item in letters.found if item.message_id not in taken)
            stayed += await _move(dead, list(taken.values()), report, dry_run=dry_run)
    return stayed


def _queues(config: Config, runtimes: list[str] | None, aws: Aws) -> list[Queue]:
    for name in runtimes or []:
        if config.runtime(name) is None:
            known = ", ".join(runtime.name for runtime in config.runtimes)
            raise ToolError(f"there is no runtime {name!r} in the config; there are {known}")
    place = topology(config, region=aws.region, account=aws.account)
    return [queue for queue in place.queues if not runtimes or queue.runtime in runtimes]


def _open(aws: Aws, queue: Queue, config: Config) -> DeadLetterQueue:
    sqs = aws.client("sqs")
    return DeadLetterQueue(
        sqs=awaited(sqs),
        s3=awaited(aws.client("s3")),
        url=sqs.get_queue_url(QueueName=queue.dead_letter_name)["QueueUrl"],
        queue_url=sqs.get_queue_url(QueueName=queue.name)["QueueUrl"],
        runtime=queue.runtime,
        bucket=topology(config, region=aws.region, account=aws.account).output_bucket,
    )


async def _move(queue: DeadLetterQueue, letters: list[DeadLetter], report: Reporter, *, dry_run: bool) -> int:
    """Moves letters, and returns how many had to stay."""
    stayed = 0
    for number, letter in enumerate(letters, 1):
        if dry_run:
            report.say(f"would send back {letter.name}: {letter.reason}")
            continue
        try:
            await queue.move(letter)
            report.say(f"{number}/{len(letters)} sent back: {letter.name}")
        except CannotRedriveError as error:
            stayed += 1
            report.say(f"{number}/{len(letters)} stays: {error}")
    return stayed


def _table(runtime: str, letters: list[DeadLetter]) -> Table:
    table = Table("reason", "dead letters", title=f"{runtime}: {len(letters)}", title_justify="left")
    for reason, count in count_by_reason(letters):
        table.add_row(Text(reason), str(count))
    return table
