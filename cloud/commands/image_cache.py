"""`image-cache`: makes the EBS snapshot that holds the runtimes' images."""

from __future__ import annotations

from typing import Annotated

import typer

from cloud import names, versions
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
from cloud.image_cache.build import build_snapshot, find_snapshot
from cloud.image_cache.images import images_of, resolve
from cloud.image_cache.plan import Builder, Image, ami_parameter
from cloud.outputs import output_of, stack_outputs
from cloud.reporter import Reporter
from contract.config import Config

VOLUME_GIB = 80
"""As large as the chart's data volume: a node's may not be smaller than the snapshot it starts from."""


def image_cache(  # noqa: PLR0917 - typer reads options from parameters
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE]...", help="By full name; several may be joined by commas. None: the config's."),
    ] = None,
    instance_type: Annotated[str, typer.Option("--instance-type", help="Of the instance that pulls.")] = "m5.large",
    volume_size: Annotated[int, typer.Option("--volume-size", min=20, help="GiB of the snapshot.")] = VOLUME_GIB,
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
        snapshot = ensure_snapshot(
            aws,
            settings,
            found,
            report,
            instance_type=instance_type,
            volume_gib=volume_size,
            force=force,
            dry_run=dry_run,
        )
        if snapshot:
            report.say(f"snapshot: {snapshot}; in config.yaml:\n\ncloud:\n  imageCache:\n    snapshotId: {snapshot}")


def ensure_snapshot(
    aws: Aws,
    config: Config,
    images: list[Image],
    report: Reporter,
    *,
    instance_type: str = "m5.large",
    volume_gib: int = VOLUME_GIB,
    force: bool = False,
    dry_run: bool = False,
) -> str:
    """Returns the snapshot that holds exactly these images, built if need be; empty on a dry run that would build.

    Raises:
        ToolError: the registry stack is not there, or a step of the build fails.
    """
    for image in images:
        report.say(f"image: {image.reference}")
    existing = None if force else find_snapshot(aws, images)
    if existing is not None:
        report.say(f"{existing} holds exactly these images already")
        return existing
    if dry_run:
        report.say(
            f"would start a {instance_type} of {ami_parameter(versions.KUBERNETES, _bottlerocket())}, pull these "
            f"images, take a snapshot of {volume_gib} GiB, boot it to verify them, and remove the instances"
        )
        return ""
    return build_snapshot(
        aws,
        _builder(aws, config, instance_type=instance_type, volume_gib=volume_gib),
        images,
        stack=config.stack_name,
        report=report,
    )


def _builder(aws: Aws, config: Config, *, instance_type: str, volume_gib: int) -> Builder:
    stack = names.registry_stack(config)
    outputs = stack_outputs(aws, stack)
    parameter = ami_parameter(versions.KUBERNETES, _bottlerocket())
    return Builder(
        ami=aws.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"],
        subnet=output_of(outputs, "ImageCacheSubnet", stack),
        security_group=output_of(outputs, "ImageCacheSecurityGroup", stack),
        instance_profile=output_of(outputs, "ImageCacheInstanceProfile", stack),
        instance_type=instance_type,
        volume_gib=volume_gib,
    )


def _bottlerocket() -> str:
    return versions.BOTTLEROCKET.rpartition("@")[2]
