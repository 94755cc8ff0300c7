"""Finds the images that nodes need, by digest, so that a snapshot says exactly what is on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from cloud import names
from cloud.aws import Aws, ToolError, code_of
from cloud.chart_names import translate
from cloud.image_cache.plan import Image, parse_image
from contract.config import Config, RuntimeConfig

_ABSENT = frozenset({"ImageNotFoundException", "RepositoryNotFoundException"})


def resolve(aws: Aws, references: Iterable[str]) -> list[Image]:
    """Returns each image once, those of ECR by digest; they are all there.

    Raises:
        ToolError: a reference cannot be read, or ECR does not have the image.
    """
    images: dict[str, Image] = {}
    for reference in references:
        image = parse_image(reference)
        if image.in_ecr:
            image = _in_ecr(aws, image)
        images[image.reference] = image
    return list(images.values())


def _in_ecr(aws: Aws, image: Image) -> Image:
    wanted = {"imageDigest": image.digest} if image.digest else {"imageTag": image.tag}
    try:
        found = aws.client("ecr").describe_images(
            registryId=image.host.partition(".")[0], repositoryName=image.repository, imageIds=[wanted]
        )["imageDetails"]
    except ClientError as error:
        if code_of(error) not in _ABSENT:
            raise
        found = []
    if not found:
        raise ToolError(f"ECR has no image {image.reference}: push it first, or let `uvx nox -s deploy` do it")
    digest = found[0]["imageDigest"]
    return parse_image(f"{image.host}/{image.repository}@{digest}")


def images_of(config: Config, *, account: str, region: str) -> list[str]:
    """Returns the images that a deployment's GPU nodes need, each once: every runtime's server and agent."""
    found = []
    for runtime in config.runtimes:
        for key, holds in (("inferenceApi", runtime.type.value), ("queueAgent", "agent")):
            ours = names.image(config, holds, account=account, region=region)
            found.append(own_image(runtime, key, ours) or ours)
    return list(dict.fromkeys(found))


def own_image(runtime: RuntimeConfig, container: str, ours: str = "") -> str:
    """Returns the image that a runtime's `extraValues.runtime.<container>.image` names; empty: none.

    Args:
        runtime: as in config.yaml.
        container: `inferenceApi` or `queueAgent`.
        ours: the deployment's image, of which the values may name another tag.
    """
    place: Any = translate(runtime.extra_values).values
    for key in ("runtime", container, "image"):
        place = place.get(key) if isinstance(place, Mapping) else None
    if not isinstance(place, Mapping):
        return ""
    if not place.get("repository"):
        return f"{names.split_image(ours)[0]}:{place['tag']}" if ours and place.get("tag") else ""
    if digest := place.get("digest"):
        return f"{place['repository']}@{digest}"
    return f"{place['repository']}:{place.get('tag') or 'latest'}"
