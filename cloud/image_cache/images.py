"""Finds the images that nodes need, by digest, so that a snapshot says exactly what is on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from cloud import names
from cloud.aws import Aws, ToolError, code_of
from cloud.chart_names import translate
from cloud.image_cache.plan import Image, parse_image
from cloud.image_cache.registry import digest_of
from contract.config import Config, RuntimeConfig

_ABSENT = frozenset({"ImageNotFoundException", "RepositoryNotFoundException"})


def resolve(aws: Aws, references: Iterable[str]) -> dict[str, Image]:
    """Returns the image of each reference, by digest wherever its registry tells which its tag names just now.

    Raises:
        ToolError: a reference cannot be read, ECR does not have the image, or nobody knows which `latest` is.
    """
    return {reference: _resolved(aws, parse_image(reference)) for reference in references}


def _resolved(aws: Aws, image: Image) -> Image:
    if image.in_ecr:
        return _in_ecr(aws, image)
    digest = image.digest or digest_of(image)
    if digest:
        return parse_image(f"{image.host}/{image.repository}@{digest}")
    if image.tag == "latest":
        raise ToolError(
            f"{image.reference} is another image each time, and {image.host} does not tell everybody which: "
            "name its digest, or a tag that does not move"
        )
    return image


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
        for container, holds in containers(runtime).items():
            ours = names.image(config, holds, account=account, region=region)
            found.append(own_image(runtime, container, ours) or ours)
    return list(dict.fromkeys(found))


def containers(runtime: RuntimeConfig) -> dict[str, str]:
    """Returns what the image of each of a runtime's containers holds, by the name of the container's values."""
    return {"inferenceApi": runtime.type.value, "queueAgent": "agent"}


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
    repository, tag, digest = (place.get(key) or "" for key in ("repository", "tag", "digest"))
    if not repository and (not ours or not (tag or digest)):
        return ""
    repository = repository or names.split_image(ours)[0]
    return f"{repository}@{digest}" if digest else f"{repository}:{tag or 'latest'}"
