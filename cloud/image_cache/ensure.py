"""Finds the snapshot of a deployment's images, or has it built where the registry stack says."""

from __future__ import annotations

from typing import Final

from cloud import names, versions
from cloud.aws import Aws
from cloud.image_cache.build import build_snapshot, find_snapshot
from cloud.image_cache.plan import Builder, Image, ami_parameter
from cloud.outputs import output_of, stack_outputs
from cloud.reporter import Reporter
from contract.config import Config

INSTANCE_TYPE: Final = "m5.large"

VOLUME_GIB: Final = 80
"""As large as the chart's data volume: a node's may not be smaller than the snapshot it starts from."""


def ensure_snapshot(
    aws: Aws,
    config: Config,
    images: list[Image],
    report: Reporter,
    *,
    instance_type: str = INSTANCE_TYPE,
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
