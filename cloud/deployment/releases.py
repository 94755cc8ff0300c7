"""The versions of what EKS itself runs: nodes of the components, and add-ons. Each deployment raises them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from botocore.exceptions import BotoCoreError, ClientError

from cloud import names, versions
from cloud.aws import Aws, describe
from cloud.deployment.settings import document_of
from cloud.deployment.steps import Work
from cloud.image_cache.plan import ami_parameter
from contract.config import Config, Releases, parse_config


def current(aws: Aws, config: Config) -> Releases:
    """Returns what EKS has today for our Kubernetes: the default version of each add-on, and the nodes' release.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: EKS or Systems Manager is out of reach or refuses.
    """
    eks = aws.client("eks")
    add_ons = {}
    for name in names.add_ons(config):
        answer = eks.describe_addon_versions(kubernetesVersion=versions.KUBERNETES, addonName=name)
        if version := default_version(answer["addons"], versions.KUBERNETES):
            add_ons[name] = version
    ours = ami_parameter(versions.KUBERNETES, versions.BOTTLEROCKET.rpartition("@")[2])
    # Beside the image's id lies its version, with the commit, which is what EKS calls the release of its nodes.
    parameter = ours.replace("/image_id", "/image_version")
    release = str(aws.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"])
    return Releases(component_nodes=release, add_ons=add_ons)


def default_version(addons: Iterable[Mapping[str, Any]], kubernetes: str) -> str:
    """Returns the version of an add-on that EKS makes by default for a Kubernetes version; empty: it has none.

    Args:
        addons: of the answer to DescribeAddonVersions.
        kubernetes: such as 1.35.
    """
    for addon in addons:
        for version in addon["addonVersions"]:
            for fits in version["compatibilities"]:
                if fits["clusterVersion"] == kubernetes and fits["defaultVersion"]:
                    return str(version["addonVersion"])
    return ""


def settle_releases(work: Work) -> None:
    """Names the current versions in the config, but where it names its own; notes them all."""
    try:
        found = current(work.aws, work.config)
        work.config = with_releases(work.config, found)
    except (BotoCoreError, ClientError) as error:
        work.report.detail(
            f"nodes of the components and add-ons stay as they are, or come as EKS makes them: {describe(error)}"
        )
        return
    chosen = work.config.cloud.releases
    work.report.detail(", ".join([f"nodes {chosen.component_nodes}", *(f"{k} {v}" for k, v in chosen.add_ons.items())]))


def with_releases(config: Config, found: Releases) -> Config:
    """Returns the config with the versions that were found; those that it names itself stay.

    Raises:
        ConfigError: EKS calls one as no version is called.
    """
    document = document_of(config)
    own = config.cloud.releases
    document.setdefault("cloud", {})["releases"] = {
        "componentNodes": own.component_nodes or found.component_nodes,
        "addOns": {**found.add_ons, **own.add_ons},
    }
    return parse_config(yaml.safe_dump(document, sort_keys=False))


def drift(aws: Aws, config: Config) -> list[str]:
    """Returns a line for each thing that runs in another version than a deployment would give it today.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: EKS or Systems Manager is out of reach or refuses.
    """
    wanted = with_releases(config, current(aws, config)).cloud.releases
    eks, cluster = aws.client("eks"), config.stack_name
    lines = []
    control = eks.describe_cluster(name=cluster)["cluster"]["version"]
    if control != versions.KUBERNETES:
        lines.append(_line("Kubernetes", control, versions.KUBERNETES))
    for name in eks.list_nodegroups(clusterName=cluster)["nodegroups"]:
        runs = eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]["releaseVersion"]
        if runs != wanted.component_nodes:
            lines.append(_line("nodes of the components", runs, wanted.component_nodes))
    for name in eks.list_addons(clusterName=cluster)["addons"]:
        runs = eks.describe_addon(clusterName=cluster, addonName=name)["addon"]["addonVersion"]
        if (version := wanted.add_ons.get(name)) and version != runs:
            lines.append(_line(f"add-on {name}", runs, version))
    return lines


def _line(what: str, runs: str, wanted: str) -> str:
    return f"{what}: {runs} runs, `deploy` would take {wanted}"
