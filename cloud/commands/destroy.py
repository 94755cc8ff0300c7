"""`destroy`: takes a deployment away; its two buckets stay."""

from __future__ import annotations

from typing import Annotated

import typer

from cloud.aws import Aws
from cloud.commands.common import (
    CONFIG,
    ConfigOption,
    DryRunOption,
    EndpointOption,
    RegionOption,
    StackOption,
    YesOption,
    confirm,
    loaded,
    plain_errors,
)
from cloud.commands.status import KubeconfigOption
from cloud.deployment.existing import as_deployed
from cloud.deployment.removal import (
    delete_stack,
    end_instances,
    forget_canaries,
    remove_nodes,
    snapshots_of,
    stacks_of,
    waiting_tasks,
)
from cloud.outputs import find_stack
from cloud.reporter import Reporter
from contract.config import Config
from contract.topology import topology


def destroy(  # noqa: PLR0917 - typer reads options from parameters
    delete_snapshots: Annotated[
        bool, typer.Option("--delete-snapshots", help="Delete the image caches too; otherwise they stay.")
    ] = False,
    yes: YesOption = False,
    config: ConfigOption = CONFIG,
    stack: StackOption = None,
    kubeconfig: KubeconfigOption = None,
    dry_run: DryRunOption = False,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Remove a deployment; the two buckets stay with all that is in them. Run again after a failure, it goes on."""
    report = Reporter()
    with plain_errors():
        aws = Aws(region, endpoint_url)
        settings = as_deployed(aws, loaded(config, stack))
        snapshots, lost = snapshots_of(aws, settings), waiting_tasks(aws, settings)
        sample, main, *others = stacks_of(settings)
        there = [sample] if find_stack(aws, sample) else []
        report.say(
            f"deletes, in {aws.region}: {', '.join([*there, main, *others])}, and all their images and GPU nodes"
        )
        if lost:
            report.say(f"loses {lost} tasks that wait in queues or lie in dead-letter queues")
        if snapshots:
            report.say(f"{'deletes' if delete_snapshots else 'keeps'} snapshots: {', '.join(snapshots)}")
        report.say(_kept(aws, settings))
        if dry_run:
            return
        confirm(f"Remove {settings.stack_name}?", yes=yes)
        for name in there:
            with report.step(f"deleting {name}"):
                delete_stack(aws, name, report)
        with report.step("letting the GPU nodes end"):
            remove_nodes(aws, settings, kubeconfig, report)
        with report.step(f"deleting {main}"):
            delete_stack(aws, main, report)
        # Before the network goes: as long as they run, their subnets cannot be deleted.
        end_instances(aws, settings, report)
        for name in others:
            with report.step(f"deleting {name}"):
                delete_stack(aws, name, report)
        forget_canaries(aws, settings)
        if delete_snapshots:
            for snapshot in snapshots:
                aws.client("ec2").delete_snapshot(SnapshotId=snapshot)
        report.say(f"{settings.stack_name} is gone")
        report.say(_kept(aws, settings))


def _kept(aws: Aws, config: Config) -> str:
    place = topology(config, region=aws.region, account=aws.account)
    return f"keeps the buckets {place.output_bucket} and {place.model_bucket}; `aws s3 rb --force s3://…` removes one"
