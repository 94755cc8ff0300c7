"""`status`: shows runtimes, replicas, nodes, queue depths and dead letters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cloud.aws import Aws, describe
from cloud.commands.common import (
    CONFIG,
    ConfigOption,
    DryRunOption,
    EndpointOption,
    RegionOption,
    StackOption,
    loaded,
    plain_errors,
)
from cloud.deployment.releases import drift
from cloud.reporter import Reporter
from cloud.status.gather import cluster, runtimes, undelivered
from cloud.status.state import Cluster, table, told_undelivered
from contract.config import Config, ConfigError

KubeconfigOption = Annotated[
    Path | None,
    # Not by KUBECONFIG: that may be another cluster's, and `destroy` deletes node pools.
    typer.Option("--kubeconfig", help="The cluster's; otherwise the stack says how to reach it."),
]


def status(  # noqa: PLR0917 - typer reads options from parameters
    config: ConfigOption = CONFIG,
    stack: StackOption = None,
    kubeconfig: KubeconfigOption = None,
    queues_only: Annotated[bool, typer.Option("--queues-only", help="Do not ask the cluster.")] = False,
    dry_run: DryRunOption = False,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Show how a deployment stands; what cannot be asked is left out, and said why."""
    report = Reporter()
    with plain_errors():
        aws, settings = Aws(region, endpoint_url), loaded(config, stack)
        if dry_run:
            names = ", ".join(runtime.name for runtime in settings.runtimes)
            report.say(f"would ask SQS and the cluster of {settings.stack_name} in {aws.region} about {names}")
            return
        found = Cluster(trouble="not asked") if queues_only else cluster(aws, settings, kubeconfig)
        report.show(table(runtimes(aws, settings), found))
        for name, why in found.unscaled.items():
            report.say(f"{name}: {why}")
        if count := undelivered(aws, settings):
            report.say(told_undelivered(count))
        if found.trouble and not queues_only:
            report.say(f"pods and nodes are not known: {found.trouble}")
        elif not queues_only and kubeconfig is None:
            for line in _drift(aws, settings):
                report.say(line)


def _drift(aws: Aws, settings: Config) -> list[str]:
    try:
        return drift(aws, settings)
    except (BotoCoreError, ClientError, ConfigError) as error:
        return [f"whether nodes and add-ons are up to date is not known: {describe(error)}"]
