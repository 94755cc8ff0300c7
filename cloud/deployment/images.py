"""Builds the images with Docker Compose, by the very definitions that run on a laptop, and pushes them to ECR."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from botocore.exceptions import ClientError

from cloud import names, shell
from cloud.aws import Aws, ToolError, code_of
from cloud.image_cache.images import own_image
from cloud.reporter import Reporter
from contract.config import Config

ROOT: Final = Path(__file__).parents[2]
COMPOSE_FILE: Final = ROOT / "compose.yaml"

_PLATFORM: Final = "linux/amd64"
"""G instances have Intel's or AMD's processors; a Mac would build for its own."""


@dataclass(frozen=True)
class Build:
    """One image to be built."""

    holds: str
    service: str
    """Of compose.yaml."""
    local_image: str


def builds(config: Config, compose: Mapping[str, Any]) -> list[Build]:
    """Returns what has to be built: what a deployment needs and neither the config nor a runtime of it names.

    Raises:
        ToolError: compose.yaml has no service that builds one of them.
    """
    found = []
    for holds in map(str, names.repositories(config)):
        if not _is_named(config, holds):
            image = f"darkroom/{holds}"
            service = _service(compose, image)
            if service is None:
                raise ToolError(
                    f"no service of compose.yaml builds {image}: name an image in cloud.images.runtimes.{holds}, "
                    "or in the runtime's extraValues.runtime.inferenceApi.image"
                )
            found.append(Build(holds, service, image))
    return found


def _is_named(config: Config, holds: str) -> bool:
    """Tells whether the config names an image, for all or for each runtime that needs it."""
    images = config.cloud.images
    if holds == "api":
        return bool(images.api)
    if holds == "webhooks":
        return bool(images.webhooks)
    if holds == "agent":
        return bool(images.agent) or all(own_image(runtime, "queueAgent") for runtime in config.runtimes)
    if any(kind.value == holds and reference for kind, reference in images.runtimes.items()):
        return True
    return all(own_image(runtime, "inferenceApi") for runtime in config.runtimes if runtime.type.value == holds)


def _service(compose: Mapping[str, Any], image: str) -> str | None:
    for name, service in compose["services"].items():
        # Such as ${API_IMAGE:-darkroom/api}.
        named = str(service.get("image", "")).rstrip("}").rpartition(":-")[2]
        if "build" in service and named == image:
            return str(name)
    return None


def load_compose() -> Mapping[str, Any]:
    """Returns compose.yaml."""
    found: Mapping[str, Any] = yaml.load(COMPOSE_FILE.read_bytes(), Loader=yaml.CSafeLoader)
    return found


def build_and_push(aws: Aws, config: Config, wanted: list[Build], report: Reporter) -> dict[str, str]:
    """Returns the images by digest, after building each and pushing those that ECR does not have yet.

    Raises:
        ToolError: Docker fails; quotes it.
    """
    if not wanted:
        return {}
    # Compose's own variables would name other images.
    clean = {"DOCKER_DEFAULT_PLATFORM": _PLATFORM, "API_IMAGE": "", "AGENT_IMAGE": "", "RUNTIME_IMAGE": ""}
    compose = ["docker", "compose", "--file", str(COMPOSE_FILE), "--profile", "*"]
    shell.run([*compose, "build", *(item.service for item in wanted)], report=report, cwd=ROOT, environment=clean)
    host = names.registry(account=aws.account, region=aws.region)
    with _login(aws, host, report):
        return {item.holds: _push(aws, config, item, host, report) for item in wanted}


def _push(aws: Aws, config: Config, item: Build, host: str, report: Reporter) -> str:
    inspect = ["docker", "image", "inspect", "--format", "{{.Id}}", item.local_image]
    identity = shell.run(inspect, report=report).strip().rpartition(":")[2]
    repository, tag = names.repositories(config)[item.holds], f"image-{identity[:16]}"
    digest = _digest(aws, repository, tag)
    if digest is None:
        remote = f"{host}/{repository}:{tag}"
        shell.run(["docker", "tag", item.local_image, remote], report=report)
        shell.run(["docker", "push", remote], report=report)
        digest = _digest(aws, repository, tag)
    if digest is None:
        raise ToolError(f"Docker pushed {repository}:{tag}, but ECR does not have it")
    return f"{host}/{repository}@{digest}"


def _digest(aws: Aws, repository: str, tag: str) -> str | None:
    try:
        found = aws.client("ecr").describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
    except ClientError as error:
        if code_of(error) == "ImageNotFoundException":
            return None
        raise
    return str(found["imageDetails"][0]["imageDigest"])


@contextmanager
def _login(aws: Aws, host: str, report: Reporter) -> Iterator[None]:
    """Lets Docker push to a registry; the password goes through standard input, and is forgotten afterwards."""
    token = aws.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    shell.run(
        ["docker", "login", "--username", user, "--password-stdin", host],
        report=report,
        stdin=password,
    )
    try:
        yield
    finally:
        shell.run(["docker", "logout", host], report=report)
