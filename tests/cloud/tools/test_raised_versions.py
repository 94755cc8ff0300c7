"""Each deployment raises add-ons and component nodes to what EKS has, and `status` says what is behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from cloud import names, versions
from cloud.aws import Aws
from cloud.deployment.releases import default_version, drift, settle_releases, with_releases
from cloud.deployment.steps import Work
from contract.config import Config, Releases, load_config, parse_config
from tests.cloud.synthesis import ROOT

CONFIG = load_config(ROOT / "config.yaml")


@dataclass
class Eks:
    """EKS and Systems Manager, answering as their API references document: no emulator here knows add-ons' versions."""

    newest: str = "v1.3.0-eksbuild.1"
    running: dict[str, str] = field(default_factory=dict)
    nodes: str = "1.66.0-0123abcd"
    refuses: bool = False

    def client(self, _: str) -> Eks:
        return self

    def describe_addon_versions(self, *, kubernetesVersion: str, addonName: str) -> dict[str, Any]:  # noqa: N803
        if self.refuses:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeAddonVersions")

        def fits(default: bool, cluster: str = kubernetesVersion) -> list[dict[str, Any]]:
            return [{"clusterVersion": cluster, "platformVersions": ["*"], "defaultVersion": default}]

        found = [
            {"addonVersion": "v9.9.9-eksbuild.1", "compatibilities": fits(False)},
            {"addonVersion": "v8.8.8-eksbuild.1", "compatibilities": fits(True, "1.30")},
            {"addonVersion": self.newest, "compatibilities": fits(True)},
        ]
        return {"addons": [{"addonName": addonName, "addonVersions": found}]}

    def get_parameter(self, *, Name: str) -> dict[str, Any]:  # noqa: N803
        release = versions.BOTTLEROCKET.rpartition("@")[2]
        assert Name == f"/aws/service/bottlerocket/aws-k8s-{versions.KUBERNETES}/x86_64/{release}/image_version"
        return {"Parameter": {"Value": f"{release}-0123abcd"}}

    def describe_cluster(self, *, name: str) -> dict[str, Any]:
        return {"cluster": {"name": name, "version": versions.KUBERNETES}}

    def list_nodegroups(self, *, clusterName: str) -> dict[str, Any]:  # noqa: N803
        return {"nodegroups": [f"{clusterName}-components"]}

    def describe_nodegroup(self, **_: str) -> dict[str, Any]:
        return {"nodegroup": {"releaseVersion": self.nodes}}

    def list_addons(self, **_: str) -> dict[str, Any]:
        return {"addons": names.add_ons(CONFIG)}

    def describe_addon(self, *, clusterName: str, addonName: str) -> dict[str, Any]:  # noqa: N803
        return {"addon": {"addonVersion": self.running.get(addonName, self.newest), "clusterName": clusterName}}


@dataclass
class Told:
    """A report that keeps what it is told."""

    lines: list[str] = field(default_factory=list)

    def detail(self, line: str) -> None:
        self.lines.append(line)


@contextmanager
def settled(eks: Eks, config: Config = CONFIG) -> Iterator[tuple[Config, str]]:
    work = cast("Any", type("Work", (), {"aws": eks, "config": config, "report": Told()})())
    settle_releases(cast("Work", work))
    yield work.config, " ".join(work.report.lines)


def test_a_deployment_takes_eks_default_version_for_its_kubernetes() -> None:
    with settled(Eks()) as (config, said):
        assert config.cloud.releases.add_ons == dict.fromkeys(names.add_ons(CONFIG), "v1.3.0-eksbuild.1")
        assert config.cloud.releases.component_nodes == "1.66.0-0123abcd"
        assert "vpc-cni v1.3.0-eksbuild.1" in said


def test_what_the_config_names_stays() -> None:
    own = with_releases(CONFIG, Releases(component_nodes="1.60.0-0123abcd", add_ons={"coredns": "v1.0.0-eksbuild.1"}))
    with settled(Eks(), own) as (config, _):
        assert config.cloud.releases.component_nodes == "1.60.0-0123abcd"
        assert config.cloud.releases.add_ons["coredns"] == "v1.0.0-eksbuild.1"
        assert config.cloud.releases.add_ons["vpc-cni"] == "v1.3.0-eksbuild.1"


def test_a_deployment_goes_on_where_eks_does_not_tell() -> None:
    with settled(Eks(refuses=True)) as (config, said):
        assert config == CONFIG
        assert "stay as they are" in said
        assert "AccessDenied" in said


def test_an_add_on_without_a_default_for_this_kubernetes_is_left_to_eks() -> None:
    assert default_version([], "1.35") == ""
    other = [{"addonVersions": [{"addonVersion": "v1", "compatibilities": []}]}]
    assert default_version(other, "1.35") == ""


@pytest.mark.parametrize(
    ("eks", "lines"),
    [
        (Eks(), []),
        (
            Eks(running={"coredns": "v1.0.0-eksbuild.9"}, nodes="1.50.0-89abcdef"),
            [
                "nodes of the components: 1.50.0-89abcdef runs, `deploy` would take 1.66.0-0123abcd",
                "add-on coredns: v1.0.0-eksbuild.9 runs, `deploy` would take v1.3.0-eksbuild.1",
            ],
        ),
    ],
)
def test_what_is_behind_is_named_with_the_version_that_deploy_takes(eks: Eks, lines: list[str]) -> None:
    assert drift(cast("Aws", eks), CONFIG) == lines


def test_the_resolved_config_keeps_them() -> None:
    document = "{modelsRuntime: [{name: a, type: comfyui}], cloud: {releases: {addOns: {coredns: v1.0.0-eksbuild.1}}}}"
    assert parse_config(document).cloud.releases.add_ons == {"coredns": "v1.0.0-eksbuild.1"}
