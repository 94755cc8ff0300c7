"""Nodes, scaling and models of a release: what comes first, what gives way, what is shared."""

from __future__ import annotations

import math
import subprocess
import tomllib
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest

from cloud import helm
from contract.scaling import keda
from contract.scaling.settings import Scaling
from tests.cloud.chart.releases import Release, environment, released, values_with

# Nodes


def test_spot_comes_first_and_on_demand_stands_behind_it(usual: Release) -> None:
    pools = usual.all("NodePool")
    weights = {}
    for pool in pools.values():
        requirements = {item["key"]: item["values"] for item in pool["spec"]["template"]["spec"]["requirements"]}
        weights[requirements["karpenter.sh/capacity-type"][0]] = pool["spec"]["weight"]
        assert len(requirements["node.kubernetes.io/instance-type"]) >= 3
    assert weights["spot"] > weights["on-demand"]
    assert set(released({"karpenter": {"provisioner": {"capacityType": {"onDemand": False}}}}).all("NodePool")) == {
        "sdruntime-spot"
    }


def test_what_is_reserved_is_used_before_all_else(usual: Release) -> None:
    reservations = [{"id": "cr-0123456789abcdef0"}, {"tags": {"team": "images"}, "ownerID": "123456789012"}]
    values = {
        "karpenter": {
            "provisioner": {"capacityType": {"reserved": True}, "instanceType": ["p5.48xlarge", "g6.2xlarge"]},
            "nodeTemplate": {"capacityReservations": reservations},
        }
    }
    release = released(values)
    weights = {name: pool["spec"]["weight"] for name, pool in release.all("NodePool").items()}
    assert sorted(weights, key=weights.__getitem__) == ["sdruntime-on-demand", "sdruntime-spot", "sdruntime-reserved"]
    assert release.one("EC2NodeClass")["spec"]["capacityReservationSelectorTerms"] == reservations
    pool = release.one("NodePool", "sdruntime-reserved")["spec"]["template"]["spec"]
    assert {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["reserved"]} in pool["requirements"]
    # A Capacity Block's end is known ten minutes ahead: pods hear of it in time.
    assert release.pod()["terminationGracePeriodSeconds"] < int(pool["terminationGracePeriod"].rstrip("s")) < 600
    assert "capacityReservationSelectorTerms" not in usual.one("EC2NodeClass")["spec"]


def test_pods_tolerate_the_taints_of_their_nodes_and_other_runtimes_do_not(complete: Release) -> None:
    pods = [complete.pod(name) for name in complete.all("Deployment")]
    for pool in complete.all("NodePool").values():
        taints = pool["spec"]["template"]["spec"]["taints"]
        assert {"key": "runtime", "value": "sdruntime", "effect": "NoSchedule"} in taints
        assert {taint["key"] for taint in taints} == {"nvidia.com/gpu", "runtime"}
    for pod in pods:
        tolerated = {item["key"]: item.get("value") for item in pod["tolerations"]}
        assert tolerated == {"nvidia.com/gpu": None, "runtime": "sdruntime"}


def test_no_pod_comes_to_a_node_before_the_driver_of_its_models(usual: Release) -> None:
    def taints(release: Release) -> list[Any]:
        return [pool["spec"]["template"]["spec"].get("startupTaints") for pool in release.all("NodePool").values()]

    assert taints(usual) == [[{"key": "s3.csi.aws.com/agent-not-ready", "effect": "NoExecute"}]] * 2
    # Nobody would take it away where another driver mounts them, or none.
    assert taints(released(placed={"storage_class": "efs-model-storage-sc", "model_bucket": ""})) == [None, None]
    assert taints(released({"runtime": {"persistence": {"enabled": False}}})) == [None, None]


def test_a_busy_pod_on_spot_hears_of_an_interruption_at_once(usual: Release) -> None:
    """Karpenter leaves it running until `terminationGracePeriod` of the node less that of the pod (see the README)."""
    node = usual.one("NodePool", "sdruntime-spot")["spec"]["template"]["spec"]["terminationGracePeriod"]
    assert node == f"{usual.pod()['terminationGracePeriodSeconds']}s"


def test_nodes_with_work_are_left_alone_unless_asked(usual: Release) -> None:
    def policy(release: Release) -> set[str]:
        return {pool["spec"]["disruption"]["consolidationPolicy"] for pool in release.all("NodePool").values()}

    assert policy(usual) == {"WhenEmpty"}
    assert policy(released({"karpenter": {"provisioner": {"consolidation": True}}})) == {"WhenEmptyOrUnderutilized"}


def test_metadata_is_one_hop_away_and_volumes_are_encrypted(usual: Release) -> None:
    spec = usual.one("EC2NodeClass")["spec"]
    assert spec["metadataOptions"]["httpPutResponseHopLimit"] == 1
    assert spec["metadataOptions"]["httpTokens"] == "required"
    assert [item["ebs"]["encrypted"] for item in spec["blockDeviceMappings"]] == [True, True]
    assert spec["subnetSelectorTerms"] == [{"tags": {"karpenter.sh/discovery": "darkroom"}}]


def test_a_snapshot_is_loaded_ahead_and_keeps_to_its_own_disk(usual: Release) -> None:
    values = {"karpenter": {"nodeTemplate": {"dataVolume": {"snapshotID": "snap-0123"}}}}
    spec = released(values).one("EC2NodeClass")["spec"]
    [data] = [item["ebs"] for item in spec["blockDeviceMappings"] if item["deviceName"] == "/dev/xvdb"]
    assert (data["snapshotID"], data["volumeInitializationRate"]) == ("snap-0123", 300)
    assert "instanceStorePolicy" not in spec
    assert "userData" not in spec
    without = usual.one("EC2NodeClass")["spec"]["blockDeviceMappings"][1]["ebs"]
    assert "volumeInitializationRate" not in without


def test_soci_pulls_onto_the_instances_own_disks(complete: Release) -> None:
    spec = complete.one("EC2NodeClass")["spec"]
    assert spec["instanceStorePolicy"] == "RAID0"
    user_data = tomllib.loads(spec["userData"])["settings"]
    assert user_data["container-runtime"]["snapshotter"] == "soci"
    assert user_data["kernel"]["lockdown"] == "integrity"
    for pool in complete.all("NodePool").values():
        requirements = pool["spec"]["template"]["spec"]["requirements"]
        assert {"key": "karpenter.k8s.aws/instance-local-nvme", "operator": "Gt", "values": ["0"]} in requirements


# Scaling


def trigger(release: Release, name: str = "sdruntime") -> dict[str, str]:
    metadata: dict[str, str] = release.one("ScaledObject", name)["spec"]["triggers"][0]["metadata"]
    return metadata


def test_keda_reads_the_queue_as_itself(usual: Release) -> None:
    assert usual.one("TriggerAuthentication")["spec"] == {"podIdentity": {"provider": "aws"}}
    assert trigger(usual)["queueURL"].endswith("/darkroom-sdruntime")
    assert trigger(usual)["scaleOnInFlight"] == "true"
    assert "awsEndpoint" not in trigger(usual)


def test_keda_and_the_agent_talk_to_an_emulator_with_its_key(complete: Release) -> None:
    assert trigger(complete)["awsEndpoint"] == "http://localstack.default:4566"
    names = {item["name"] for item in complete.one("TriggerAuthentication")["spec"]["secretTargetRef"]}
    agent = environment(complete.pod()["containers"][0])
    names |= {agent[name]["secretKeyRef"]["name"] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    assert names == set(complete.all("Secret"))


def test_the_fallback_never_takes_pods_away(complete: Release) -> None:
    assert complete.one("ScaledObject")["spec"]["fallback"] == {
        "replicas": 3,
        "failureThreshold": 30,
        "behavior": "currentReplicasIfHigher",
    }


@pytest.mark.parametrize(("percent", "length"), [(20, 10), (50, 1), (5, 3), (90, 7)])
def test_a_canary_gets_its_share_of_the_pods_and_makes_no_runtime_slower(percent: int, length: int) -> None:
    release = released(
        {"runtime": {"scaling": {"queueLength": length}, "canary": {"percent": percent}}}, placed={"snapshot_id": ""}
    )
    targets = [int(trigger(release, name)["queueLength"]) for name in ("sdruntime", "sdruntime-canary")]
    for messages in (1, 17, 1000):
        assert sum(math.ceil(messages / target) for target in targets) >= math.ceil(messages / length)
    most = [release.one("ScaledObject", name)["spec"]["maxReplicaCount"] for name in ("sdruntime", "sdruntime-canary")]
    assert sum(most) == 20
    stable, canary = (1 / target for target in targets)
    share = 100 * canary / (stable + canary)
    assert share == pytest.approx(percent, abs=15 if length < 5 else 3)


def test_a_canary_differs_in_what_it_sets_and_shares_the_rest(complete: Release) -> None:
    stable, canary = (complete.pod(name) for name in ("sdruntime", "sdruntime-canary"))
    assert canary["initContainers"][0]["image"].endswith("/darkroom/sdwebui:v2")
    assert "@sha256:" in stable["initContainers"][0]["image"]
    agents = [pod["containers"][0] for pod in (stable, canary)]
    images = [{item["name"]: item.get("value") for item in agent["env"]}["RUNTIME_IMAGE"] for agent in agents]
    assert images == [pod["initContainers"][0]["image"] for pod in (stable, canary)], "the environment's"
    for agent in agents:
        agent["env"] = [item for item in agent["env"] if item["name"] != "RUNTIME_IMAGE"]
    assert agents[0] == agents[1]
    assert canary["containers"][1:] == stable["containers"][1:]
    labels = [
        complete.one("Deployment", name)["spec"]["selector"]["matchLabels"]
        for name in ("sdruntime", "sdruntime-canary")
    ]
    assert labels[0] != labels[1]


@pytest.mark.parametrize(
    ("own", "image"),
    [
        ({}, "r.example/sdwebui@sha256:" + "b" * 64),
        ({"tag": "v2"}, "r.example/sdwebui:v2"),
        ({"digest": "sha256:" + "c" * 64}, "r.example/sdwebui@sha256:" + "c" * 64),
        ({"repository": "mine", "tag": "v2", "digest": ""}, "mine:v2"),
        ({"repository": "mine", "tag": "", "digest": "sha256:" + "c" * 64}, "mine@sha256:" + "c" * 64),
        ({"repository": "mine", "tag": "", "digest": ""}, "mine"),
    ],
)
def test_a_canary_never_runs_anothers_digest(own: dict[str, str], image: str) -> None:
    values = {"runtime": {"canary": {"percent": 20, "inferenceApi": {"image": own}}}}
    release = released(values, placed={"runtime_image": "r.example/sdwebui@sha256:" + "b" * 64})
    assert release.pod("sdruntime-canary")["initContainers"][0]["image"] == image


@pytest.mark.parametrize(("replicas", "stable", "canary"), [(10, 8, 2), (2, 1, 1), (0, 0, 0)])
def test_without_autoscaling_the_canarys_pods_come_out_of_the_same_number(
    replicas: int, stable: int, canary: int
) -> None:
    values = {"runtime": {"scaling": {"enabled": False}, "replicas": replicas, "canary": {"percent": 20}}}
    deployments = released(values).all("Deployment")
    assert {name: item["spec"]["replicas"] for name, item in deployments.items()} == {
        "sdruntime": stable,
        "sdruntime-canary": canary,
    }


@pytest.mark.parametrize("percent", [1, 50, 90])
@pytest.mark.parametrize(("fewest", "most"), [(0, 2), (2, 2), (1, 3), (7, 7)])
def test_a_canary_makes_no_more_pods_than_there_may_be(percent: int, fewest: int, most: int) -> None:
    scaling = {"minReplicaCount": fewest, "maxReplicaCount": most}
    release = released({"runtime": {"scaling": scaling, "canary": {"percent": percent}}})
    tracks = [item["spec"] for item in release.all("ScaledObject").values()]
    assert sum(track["maxReplicaCount"] for track in tracks) == most
    assert sum(track["minReplicaCount"] for track in tracks) == fewest
    assert all(0 <= track["minReplicaCount"] <= track["maxReplicaCount"] >= 1 for track in tracks)


@pytest.mark.parametrize(("fewest", "stable", "canary"), [(0, 0, 0), (1, 1, 0), (5, 4, 1)])
def test_the_pods_that_are_always_there_are_the_stable_ones_first(fewest: int, stable: int, canary: int) -> None:
    release = released({"runtime": {"scaling": {"minReplicaCount": fewest}, "canary": {"percent": 20}}})
    least = [release.one("ScaledObject", name)["spec"]["minReplicaCount"] for name in ("sdruntime", "sdruntime-canary")]
    assert least == [stable, canary]


def test_placeholders_hold_as_much_as_a_pod_and_give_way_to_it(complete: Release) -> None:
    placeholder = complete.pod("sdruntime-headroom")
    [container] = placeholder["containers"]
    runtime = complete.pod()["initContainers"][0]
    assert container["resources"]["limits"] == runtime["resources"]["limits"]
    assert container["image"] == complete.pod()["containers"][0]["image"], "every node has it"
    assert complete.one("PriorityClass", placeholder["priorityClassName"])["value"] < 0
    assert placeholder["terminationGracePeriodSeconds"] == 0


# Models


def test_models_come_read_only_out_of_the_bucket_as_the_pod_itself(usual: Release) -> None:
    [(name, volume)] = [(name, item["spec"]) for name, item in usual.all("PersistentVolume").items()]
    claim = usual.one("PersistentVolumeClaim", name)["spec"]
    assert "read-only" in volume["mountOptions"]
    assert volume["csi"]["volumeAttributes"] == {"bucketName": "darkroom-models", "authenticationSource": "pod"}
    assert volume["claimRef"] == {"namespace": "default", "name": name}
    assert volume["storageClassName"] == claim["storageClassName"] == ""
    assert volume["accessModes"] == claim["accessModes"] == ["ReadOnlyMany"]
    [models] = [item for item in usual.pod()["volumes"] if item["name"] == "models"]
    assert models["persistentVolumeClaim"]["claimName"] == claim["volumeName"] == name
    assert usual.pod()["initContainers"][0]["volumeMounts"][0]["mountPath"] == "/opt/ml/code/models"


def test_models_come_from_efs_where_the_stacks_say_so() -> None:
    release = released(placed={"storage_class": "efs-model-storage-sc", "model_bucket": ""})
    assert release.all("PersistentVolume") == {}
    [claim] = [item["spec"] for item in release.all("PersistentVolumeClaim").values()]
    assert (claim["storageClassName"], claim["accessModes"]) == ("efs-model-storage-sc", ["ReadWriteMany"])
    assert "volumeName" not in claim


def test_without_models_or_karpenter_a_release_fits_a_laptops_cluster() -> None:
    values = {
        "global": {"awsEndpoint": "http://localstack:4566"},
        "karpenter": {"enabled": False},
        "runtime": {
            "persistence": {"enabled": False},
            "inferenceApi": {
                "resources": {
                    "limits": {"nvidia.com/gpu": "0"},
                    "requests": {"nvidia.com/gpu": "0", "cpu": "100m", "memory": "256Mi"},
                }
            },
        },
    }
    release = released(values)
    kinds = {item["kind"] for item in release.objects}
    assert kinds.isdisjoint({"NodePool", "EC2NodeClass", "PersistentVolume", "PersistentVolumeClaim"})
    [runtime] = release.pod()["initContainers"]
    gpus = {part: amounts["nvidia.com/gpu"] for part, amounts in runtime["resources"].items()}
    assert gpus == {"limits": "0", "requests": "0"}


CHANGES: list[dict[str, Any]] = [
    {"s3": {"modelBucket": "other"}},
    {"s3": {"prefix": "sd/"}},
    {"size": "1Ti"},
    {"accessModes": ["ReadWriteMany"]},
    {"storageClass": "efs", "s3": {"enabled": False}},
    {"existingVolume": "theirs"},
    {"existingVolume": "others"},
]
"""The API server refuses each in a volume or claim that is there (pkg/apis/core/validation of Kubernetes 1.35)."""


def models_of(values: dict[str, Any]) -> tuple[dict[tuple[str, str], Any], str]:
    """Returns the volumes and claims by kind and name, and which claim the pods have."""
    made = helm.render({"runtime": {"persistence": values}}, release="sdruntime")
    [pod] = [item["spec"]["template"]["spec"] for item in made if item["kind"] == "Deployment"]
    [models] = [volume for volume in pod["volumes"] if volume["name"] == "models"]
    stored = {
        (item["kind"], item["metadata"]["name"]): item["spec"]
        for item in made
        if item["kind"].startswith("PersistentVolume")
    }
    return stored, models["persistentVolumeClaim"]["claimName"]


def test_an_upgrade_changes_no_volume_or_claim_but_makes_others() -> None:
    seen: dict[tuple[str, str], Any] = {}
    for values in ({}, *CHANGES):
        stored, used = models_of(values)
        assert ("PersistentVolumeClaim", used) in stored
        for key, spec in stored.items():
            assert seen.setdefault(key, spec) == spec, f"{key} would have to change for {values}"
    assert len(seen) > len(CHANGES)


def test_a_volume_that_a_storage_class_provides_is_never_left_behind_with_its_files() -> None:
    """Helm deletes the claim of a name that is gone, and a class's volumes go with their claims."""
    own: dict[str, Any] = {"storageClass": "gp3", "s3": {"enabled": False}}
    others: list[dict[str, Any]] = [{"size": "4Ti"}, {"accessModes": ["ReadOnlyMany"]}, {"storageClass": "fsx"}]
    for values in others:
        assert models_of(own | values)[1] == models_of(own)[1] == "sdruntime-models"


def test_the_autoscaler_is_told_how_to_behave_by_the_rules_that_the_planner_has(usual: Release) -> None:
    told = usual.one("ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert Scaling.model_validate({"extraHPAConfig": told}) == Scaling()
    assert set(told) == {"scaleUp", "scaleDown"}
    assert all({"stabilizationWindowSeconds", "selectPolicy", "policies"} <= set(rules) for rules in told.values())
    own = {"scaleDown": {"stabilizationWindowSeconds": 7}}
    release = released({"runtime": {"scaling": {"extraHPAConfig": own}}})
    told = release.one("ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert Scaling.model_validate({"extraHPAConfig": told}) == Scaling.model_validate({"extraHPAConfig": own})


def test_what_an_installation_says_of_its_first_pod_is_what_keda_does() -> None:
    command = [str(helm.helm_binary()), "install", "sdruntime", str(helm.CHART), "--dry-run=client"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("NOTES:")[2]
    assert "takes it away at its first look at an empty queue" in " ".join(said.split())
    scaling = Scaling()
    assert keda.poll(scaling, now=1, replicas=1, messages=0, last_active=None) == (0, None)
    assert f"when the queue has been empty for {scaling.cooldown_period} seconds" in " ".join(said.split())
    cooldown = float(scaling.cooldown_period)
    assert keda.poll(scaling, now=cooldown, replicas=1, messages=0, last_active=0.0)[0] == 1
    assert keda.poll(scaling, now=cooldown + 1, replicas=1, messages=0, last_active=0.0)[0] == 0


@pytest.mark.parametrize(
    "url",
    [
        # https://docs.localstack.cloud/aws/services/sqs, "Endpoint strategies": standard, domain, path; and older ones.
        "http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/darkroom-sdruntime",
        "http://us-east-1.queue.localhost.localstack.cloud:4566/000000000000/darkroom-sdruntime",
        "http://localhost.localstack.cloud:4566/queue/us-east-1/000000000000/darkroom-sdruntime",
        "http://localstack:4566/000000000000/darkroom-sdruntime/",
        # ElasticMQ
        "http://elasticmq:9324/queue/darkroom-sdruntime",
    ],
)
def test_keda_gets_an_url_that_it_reads_of_every_emulator(url: str) -> None:
    values = {"global": {"awsEndpoint": "http://emulator:4566"}, "runtime": {"queueAgent": {"sqsQueueUrl": url}}}
    told = trigger(Release(helm.render(values, release="sdruntime")))["queueURL"]
    # `getQueueName` of pkg/scalers/aws_sqs_queue_scaler.go, KEDA 2.20: three parts, and the last one is the name.
    parts = urlsplit(told).path.split("/")
    assert (len(parts), parts[-1]) == (3, "darkroom-sdruntime")
    assert urlsplit(told).netloc == urlsplit(url).netloc


@pytest.mark.parametrize(
    "url",
    [
        "https://sqs.cn-northwest-1.amazonaws.com.cn/123456789012/darkroom-sdruntime",
        "https://sqs.us-gov-west-1.amazonaws.com/123456789012/darkroom-sdruntime",
    ],
)
def test_keda_gets_the_url_of_every_partition_as_it_is(url: str) -> None:
    assert trigger(released(placed={"queue_url": url}))["queueURL"] == url


# As people read it


def test_every_object_says_whose_it_is(complete: Release) -> None:
    for item in complete.objects:
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "darkroom-runtime"
        assert labels["app.kubernetes.io/instance"] == "sdruntime"
        assert labels["app.kubernetes.io/part-of"] == "darkroom"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["team"] == "images"


def test_a_new_version_of_the_chart_alone_replaces_no_pod(usual: Release) -> None:
    assert "helm.sh/chart" not in usual.one("Deployment")["spec"]["template"]["metadata"]["labels"]


def test_the_text_has_no_empty_keys_and_no_figure_in_powers_of_ten() -> None:
    text = helm.render_text(values_with({"runtime": {"scaling": {"queueLength": 999_999, "maxReplicaCount": 999_999}}}))
    assert ": null" not in text
    assert "e+0" not in text
    lines = [line for line in text.splitlines() if not line.strip().startswith("#")]
    for line, following in pairwise(lines):
        indent = len(line) - len(line.lstrip())
        if line.endswith(":"):
            below = len(following) - len(following.lstrip())
            assert below > indent or following.lstrip().startswith("- "), f"{line!r} is empty"
