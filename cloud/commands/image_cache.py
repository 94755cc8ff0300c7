"""`image-cache`: makes the EBS snapshot that holds the runtimes' images."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from cloud.aws import Aws
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
from cloud.image_cache.add_ons import add_on_images
from cloud.image_cache.ensure import INSTANCE_TYPE, ensure_snapshot
from cloud.image_cache.images import images_of, resolve
from cloud.image_cache.volumes import cache_gib
from cloud.reporter import Reporter

VOLUME_GIB: Final = 80
"""As large as the chart's data volume, where the config has none that would start from the snapshot."""


def image_cache(  # noqa: PLR0917 - typer reads options from parameters
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE]...", help="By full name; several may be joined by commas. None: the config's."),
    ] = None,
    instance_type: Annotated[str, typer.Option("--instance-type", help="Of the instance that pulls.")] = INSTANCE_TYPE,
    volume_size: Annotated[
        int | None,
        typer.Option("--volume-size", min=20, help="GiB of the snapshot; otherwise the smallest data volume's."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build, even if a snapshot of these images exists.")] = False,
    config: ConfigOption = CONFIG,
    stack: StackOption = None,
    dry_run: DryRunOption = False,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Make the snapshot with which Bottlerocket nodes start; nothing is done when it exists already."""
    report = Reporter()
    with plain_errors():
        aws, settings = Aws(region, endpoint_url), loaded(config, stack)
        wanted = [part for item in images or [] for part in item.split(",") if part]
        found = resolve(aws, wanted or images_of(settings, account=aws.account, region=aws.region))
        others = [] if wanted else add_on_images(aws, settings, report)
        snapshot = ensure_snapshot(
            aws,
            settings,
            list(dict.fromkeys([*found.values(), *others])),
            report,
            instance_type=instance_type,
            volume_gib=volume_size or cache_gib(settings) or VOLUME_GIB,
            force=force,
            dry_run=dry_run,
        )
        if snapshot:
            report.say(f"snapshot: {snapshot}; in config.yaml:\n\ncloud:\n  imageCache:\n    snapshotId: {snapshot}")
