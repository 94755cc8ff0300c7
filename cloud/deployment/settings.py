"""What is asked of `deploy`, and the config that comes of it; no I/O but reading and writing the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloud import names
from cloud.aws import ToolError
from cloud.canary.state import CanaryState
from cloud.image_cache.images import containers, own_image
from cloud.names import split_image
from contract.config import Config, RuntimeConfig, parse_config
from contract.task import RuntimeType
from contract.topology import partition_of


@dataclass(frozen=True)
class Wishes:
    """The options of the reference's script that change the config; empty: as the config says."""

    stack: str = ""
    bucket: str = ""
    snapshot: str = ""
    runtime_name: str = ""
    runtime_type: str = ""
    allow: tuple[str, ...] = ()
    """Networks that may reach the cluster's Kubernetes API."""


def resolve(config: Config, wishes: Wishes, *, region: str = "us-east-1") -> Config:
    """Returns the config with the wishes in it; the region tells the partition of a bucket.

    A runtime's name or type asks for the reference's minimal deployment: that runtime alone, with the settings that the
    config has for one of this name, or else of this type.

    Raises:
        ConfigError: what comes of it cannot be used.
    """
    document = document_of(config)
    if wishes.stack:
        document["stackName"] = wishes.stack
    if wishes.bucket:
        document["modelBucketArn"] = f"arn:{config.partition or partition_of(region)}:s3:::{wishes.bucket}"
    if wishes.runtime_name or wishes.runtime_type:
        document["modelsRuntime"] = [_only_runtime(config, wishes)]
    if wishes.snapshot:
        document.setdefault("cloud", {}).setdefault("imageCache", {})["snapshotId"] = wishes.snapshot
    made = parse_config(yaml.safe_dump(document, sort_keys=False))
    return with_entrance(made, wishes.allow) if wishes.allow else made


def _only_runtime(config: Config, wishes: Wishes) -> dict[str, Any]:
    kind = wishes.runtime_type or RuntimeType.SDWEBUI.value
    like = config.runtime(wishes.runtime_name) if wishes.runtime_name else None
    if like is None or (wishes.runtime_type and like.type != kind):
        like = next((runtime for runtime in config.runtimes if runtime.type == kind), None)
    base = _plain(like) if like else {"type": kind}
    return base | {"name": wishes.runtime_name or "sdruntime"}


def with_entrance(config: Config, cidrs: Sequence[str]) -> Config:
    """Returns the config with who may reach the cluster's Kubernetes API.

    Raises:
        ConfigError: these are no networks.
    """
    document = document_of(config)
    document.setdefault("cloud", {})["publicAccessCidrs"] = list(cidrs)
    return parse_config(yaml.safe_dump(document, sort_keys=False))


def with_zones(config: Config, zones: Sequence[str]) -> Config:
    """Returns the config with the network's zones.

    Raises:
        ConfigError: there are too few, or too many.
    """
    document = document_of(config)
    document.setdefault("cloud", {})["availabilityZones"] = list(zones)
    return parse_config(yaml.safe_dump(document, sort_keys=False))


def with_names(config: Config, *, model_bucket_arn: str = "", output_bucket: str = "", node_role: str = "") -> Config:
    """Returns the config with names that are worldwide or the account's; empty, or what it has: as it is."""
    document = document_of(config)
    document.setdefault("modelBucketArn", model_bucket_arn)
    cloud = document.setdefault("cloud", {})
    cloud.setdefault("outputBucket", output_bucket)
    cloud.setdefault("nodeRole", node_role)
    return parse_config(yaml.safe_dump(document, sort_keys=False))


def with_images(config: Config, images: dict[str, str]) -> Config:
    """Returns the config with the images that run, by what they hold: our own parts, and types of runtime."""
    document = document_of(config)
    found = document.setdefault("cloud", {}).setdefault("images", {})
    for holds, reference in images.items():
        if holds in {"api", "agent", "webhooks"}:
            found[holds] = reference
        else:
            found.setdefault("runtimes", {})[holds] = reference
    return parse_config(yaml.safe_dump(document, sort_keys=False))


def with_canaries(config: Config, states: Mapping[str, CanaryState]) -> Config:
    """Returns the config with the images that canaries were promoted to, and with the canaries that run.

    Args:
        config: what a runtime's own `extraValues` say comes first.
        states: by runtime.
    """
    document = document_of(config)
    for runtime in document["modelsRuntime"]:
        state = states.get(runtime["name"])
        if state is None:
            continue
        values = runtime.setdefault("extraValues", {}).setdefault("runtime", {})
        for container, reference in state.promoted.items():
            values.setdefault(container, {}).setdefault("image", image_values(reference))
        if state.running:
            images = {container: {"image": image_values(reference)} for container, reference in state.images.items()}
            values.setdefault("canary", {"percent": state.percent, **images})
    return parse_config(yaml.safe_dump(document, sort_keys=False))


def with_digests(config: Config, digests: Mapping[str, str], *, account: str, region: str) -> Config:
    """Returns the config with images by digest that it has by tag.

    Args:
        config: what names them, in `cloud.images` or in a runtime's `extraValues`.
        digests: references by digest, by the references that the config comes to.
        account: whose registry holds the deployment's own images.
        region: of the registry.
    """
    document = document_of(config)
    images = document.get("cloud", {}).get("images", {})
    for place in (images, images.get("runtimes", {})):
        for holds, reference in place.items():
            if holds != "runtimes" and reference in digests:
                place[holds] = digests[reference]
    for runtime, written in zip(config.runtimes, document["modelsRuntime"], strict=True):
        for container, holds in containers(runtime).items():
            own = own_image(runtime, container, names.image(config, holds, account=account, region=region))
            # One that has its digest may have it under an old name, and under both would be refused.
            if digests.get(own, own) != own:
                values = written["extraValues"].setdefault("runtime", {}).setdefault(container, {})
                values.setdefault("image", {})["digest"] = split_image(digests[own])[2]
    return parse_config(yaml.safe_dump(document, sort_keys=False))


def image_values(reference: str) -> dict[str, str]:
    """Returns an image reference as the chart's values name it."""
    repository, tag, digest = split_image(reference)
    return {"repository": repository, "digest": digest} if digest else {"repository": repository, "tag": tag}


def document_of(config: Config) -> dict[str, Any]:
    """Returns a config as config.yaml would have it: nothing that is as it would be anyway."""
    document = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return document | {
        "stackName": config.stack_name,
        **({"modelBucketArn": config.model_bucket_arn} if config.model_bucket_arn else {}),
        "modelsRuntime": [_plain(runtime) for runtime in config.runtimes],
    }


def _plain(runtime: RuntimeConfig) -> dict[str, Any]:
    dumped: dict[str, Any] = runtime.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {"name": dumped.pop("name"), **dumped}


def write(path: Path, config: Config) -> None:
    """Writes a resolved config.

    Raises:
        ToolError: the place cannot be written to.
    """
    text = "# Written by `deploy`; what it was made of is the config.yaml that was given to it.\n"
    text += yaml.safe_dump(document_of(config), sort_keys=False, allow_unicode=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.part")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise ToolError(f"cannot write {path}: {error.strerror}") from error
