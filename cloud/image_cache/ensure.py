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


def ensure_snapshot(
    aws: Aws,
    config: Config,
    images: list[Image],
    report: Reporter,
    *,
    instance_type: str = INSTANCE_TYPE,
    volume_gib: int,
    force: bool = False,
    dry_run: bool = False,
) -> str:
    """Returns the snapshot that holds exactly these images, built if need be; empty on a dry run that would build.

    Args:
        aws: where it is made.
        config: whose it is.
        images: what it holds.
        report: told what is done.
        instance_type: of the instance that pulls.
        volume_gib: the most that it may have, and has if it is made.
        force: make it, whether there is one or not.
        dry_run: make nothing.

    Raises:
        ToolError: the registry stack is not there, or a step of the build fails.
    """
    for image in images:
        report.say(f"image: {image.reference}")
        # EKS names its add-ons' images by tags that do not move.
        if not image.digest and not image.in_ecr:
            report.say(
                f"  note: {image.host} does not tell everybody what {image.tag} is: should the tag move, nodes keep "
                "what is in the snapshot; name the image by its digest, or build with `image-cache --force`"
            )
    existing = None if force else find_snapshot(aws, images, stack=config.stack_name, most_gib=volume_gib)
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
