"""Which snapshot a deployment finds, how large it may be, and which of the old ones go."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.ec2.models import ec2_backends

from cloud.aws import Aws, ToolError
from cloud.deployment.checks import check_snapshots
from cloud.deployment.steps import Work
from cloud.image_cache.plan import BUILD_TAG, STACK_TAG, VERIFIED_TAG
from cloud.image_cache.prune import outdated, prune
from cloud.image_cache.volumes import cache_gib, data_volumes
from cloud.reporter import Reporter
from contract.config import Config, parse_config
from tests.cloud.tools.conftest import REGION, client
from tests.cloud.tools.kubernetes_api import kubernetes_api

ACCOUNT = "123456789012"
"""moto's."""


def config(size: str, snapshot: str = "") -> Config:
    node = {"dataVolume": {"volumeSize": size, "snapshotID": snapshot}}
    runtime = {"name": "sdruntime", "type": "comfyui", "extraValues": {"karpenter": {"nodeTemplate": node}}}
    return parse_config(json.dumps({"modelBucketArn": "arn:aws:s3:::models", "modelsRuntime": [runtime]}))


@pytest.fixture
def make(moto: str) -> Callable[..., str]:
    """Makes a snapshot of 40 GiB: `make(stack, day_of_january, further_tag, …)`."""
    ec2 = client("ec2", moto)

    def call(stack: str, day: int, *more: str) -> str:
        tags = [{"Key": STACK_TAG, "Value": stack}, *({"Key": key, "Value": "true"} for key in (BUILD_TAG, *more))]
        made: str = ec2.create_snapshot(
            VolumeId=ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=40)["VolumeId"],
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}],
        )["SnapshotId"]
        ec2_backends[ACCOUNT][REGION].snapshots[made].start_time = datetime(2026, 1, day, tzinfo=UTC)
        return made

    return call


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return Aws(REGION, moto)


@pytest.mark.parametrize(("size", "gib"), [("80Gi", 80), ("1Ti", 1024), ("80G", 75), ("1T", 932), ("20Gi", 20)])
def test_a_volumes_size_is_what_karpenter_makes_of_it(size: str, gib: int) -> None:
    (volume,) = data_volumes(config(size))
    assert volume.gib == gib
    assert cache_gib(config(size)) == gib


def test_a_volume_smaller_than_its_snapshot_is_refused_with_the_key_to_change(
    aws: Aws, make: Callable[..., str]
) -> None:
    snapshot = make("darkroom", 1)

    def check(size: str, named: str) -> None:
        check_snapshots(Work(aws, config(size, named), Reporter(), Path("unused")))

    check("40Gi", snapshot)
    with pytest.raises(ToolError, match=rf'{snapshot} has 40 GiB.*dataVolume.volumeSize to "40Gi" or more'):
        check("39Gi", snapshot)
    with pytest.raises(ToolError, match="sdruntime: there is no snapshot snap-0123456789abcdef0 in us-east-1"):
        check("80Gi", "snap-0123456789abcdef0")
    with pytest.raises(ToolError, match="volumeSize is '80'"):
        check("80", "")


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=8))
def test_neither_the_newest_two_nor_what_is_named_is_outdated(made: list[tuple[int, bool]]) -> None:
    moments = {f"snap-{number}": datetime.fromtimestamp(moment, UTC) for number, (moment, _) in enumerate(made)}
    named = {f"snap-{number}" for number, (_, is_named) in enumerate(made) if is_named}
    gone = outdated([{"SnapshotId": name, "StartTime": moment} for name, moment in moments.items()], named)
    assert not set(gone) & named
    for name in gone:
        assert len([moment for moment in moments.values() if moment >= moments[name]]) > 2
    assert len(set(moments) - named - set(gone)) <= 2


def test_old_snapshots_of_the_deployment_go_when_no_node_class_names_them(
    aws: Aws, make: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, in_class, in_config = (make("blue", day, VERIFIED_TAG) for day in (1, 2, 3))
    newest = [make("blue", day, VERIFIED_TAG) for day in (9, 8)]
    kept = {in_class, in_config, *newest, make("another", 1, VERIFIED_TAG), make("blue", 1)}
    settings = config("80Gi", in_config).model_copy(update={"stack_name": "blue"})

    def left() -> set[str]:
        filters = [{"Name": f"tag:{STACK_TAG}", "Values": ["blue", "another"]}]
        return {item["SnapshotId"] for item in aws.client("ec2").describe_snapshots(Filters=filters)["Snapshots"]}

    with kubernetes_api(tmp_path) as api:
        api.refuse = True
        prune(aws, settings, api.kubeconfig, Reporter())
        assert left() == kept | {old}
        assert "old snapshots stay: the cluster refuses" in capsys.readouterr().out
        api.refuse = False
        mappings = [
            {"deviceName": "/dev/xvda", "ebs": {}},
            {"deviceName": "/dev/xvdb", "ebs": {"snapshotID": in_class}},
        ]
        node_class = {"metadata": {"name": "sdruntime"}, "spec": {"blockDeviceMappings": mappings}}
        api.lists["/apis/karpenter.k8s.aws/v1/ec2nodeclasses"] = [node_class]
        prune(aws, settings, api.kubeconfig, Reporter())
    assert left() == kept
