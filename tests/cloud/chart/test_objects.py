"""What the chart makes: objects that a cluster takes, and that do what they are for."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.operations.pod import ANNOTATION, DO_NOT_DISRUPT
from agent.settings import Settings
from cloud import helm, versions
from cloud.chart_values import merged
from contract.config import load_config
from contract.task import RuntimeType
from tests.cloud.chart.releases import Release, environment, of_runtime, released, values_with
from tests.cloud.kubernetes_objects import CRDS, faults, holds
from tests.cloud.synthesis import ROOT

CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "cloud" / "examples").glob("*.yaml"))]
EVERYTHING: dict[str, Any] = {
    "global": {"awsEndpoint": "http://localstack.default:4566"},
    "karpenter": {
        "nodeTemplate": {"imageCache": "soci", "userData": "[settings.kernel]\nlockdown = 'integrity'\n"},
        "provisioner": {"labels": {"team": "images"}, "onDemandResourceLimits": {"nvidia.com/gpu": 2}},
    },
    "runtime": {
        "labels": {"team": "images"},
        "canary": {"percent": 20, "inferenceApi": {"image": {"tag": "v2"}}},
        "headroom": {"replicas": 2},
        "scaling": {
            "fallback": {"replicas": 3},
            "extraHPAConfig": {"scaleUp": {"tolerance": 0.05}, "scaleDown": {"stabilizationWindowSeconds": 60}},
        },
        "queueAgent": {
            "recycle": {"afterTasks": 100, "aboveRssBytes": 12 * 2**30},
            "warmUp": {"tasktype": "text-to-image", "content": {"prompt": 'a "quoted" cat'}},
        },
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}


@pytest.fixture(scope="module")
def default() -> Release:
    """A release with nothing of its own."""
    return released(modelFilename="v1-5-pruned-emaonly.safetensors")


@pytest.fixture(scope="module")
def everything() -> Release:
    """A release with all that is optional."""
    return released(EVERYTHING, dynamicModel=True, placed={"otlp_endpoint": "http://collector.observability:4318"})


def all_faults(release: Release) -> list[str]:
    return [fault for item in release.objects for fault in faults(item)]


# What a cluster takes


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_cluster_takes_every_object_of_every_example(path: Path) -> None:
    config = load_config(path)
    for runtime in config.runtimes:
        release = of_runtime(config, runtime)
        assert len(release.objects) >= 12
        assert all_faults(release) == []
        assert set(release.all("Deployment")) >= {runtime.name}
        for item in release.objects:
            assert item["metadata"].get("namespace", runtime.namespace) == runtime.namespace


def test_a_cluster_takes_everything_that_is_optional(everything: Release) -> None:
    assert all_faults(everything) == []
    kinds = {item["kind"] for item in everything.objects}
    assert kinds >= {"PriorityClass", "Secret", "Service", "ServiceMonitor", "ValidatingAdmissionPolicy"}
    assert set(everything.all("Deployment")) == {"sdruntime", "sdruntime-canary", "sdruntime-headroom"}


def some(**choices: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=choices)


LABELS = st.dictionaries(
    st.sampled_from(["team", "cost-center"]), st.sampled_from(["images", "42", "true"]), max_size=2
)
IMAGE = some(
    tag=st.sampled_from(["v1", "1.10", "2024"]), repository=st.just("mine/image"), digest=st.just(f"sha256:{'0' * 64}")
)
SECONDS = st.sampled_from(["30s", "5m", "1h30m"])
VOLUME = some(
    volumeSize=st.sampled_from(["20Gi", "1Ti"]), iops=st.sampled_from([0, 3000, 16000]), encrypted=st.booleans()
)
RULES = some(
    stabilizationWindowSeconds=st.integers(0, 3600),
    selectPolicy=st.sampled_from(["Max", "Min", "Disabled"]),
    tolerance=st.sampled_from([0, 0.01, 0.1, 1.5]),
    policies=st.just([{"type": "Pods", "value": 4, "periodSeconds": 15}]),
)
VALUES = st.fixed_dictionaries(
    {
        "global": some(awsEndpoint=st.sampled_from(["", "http://localstack:4566"])),
        "karpenter": some(
            enabled=st.booleans(),
            provisioner=some(
                labels=LABELS,
                annotations=LABELS,
                capacityType=st.sampled_from([{"spot": True, "onDemand": False}, {"spot": False}, {}]),
                consolidation=st.booleans(),
                extraTaints=st.just([{"key": "team", "value": "images", "effect": "NoExecute"}]),
                resourceLimits=st.sampled_from([{}, {"cpu": 64, "memory": "256Gi", "nvidia.com/gpu": 1_000_000}]),
                disruption=some(
                    consolidateAfter=st.one_of(SECONDS, st.just("Never")),
                    expireAfter=st.one_of(SECONDS, st.just("Never")),
                    terminationGracePeriod=SECONDS,
                    budgets=st.sampled_from(
                        [[], [{"nodes": "10%"}, {"nodes": "0", "schedule": "0 9 * * 1-5", "duration": "8h"}]]
                    ),
                ),
            ),
            nodeTemplate=some(
                imageCache=st.sampled_from(["snapshot", "soci"]),
                osVolume=VOLUME,
                dataVolume=VOLUME,
                tags=LABELS,
                userData=st.just("[settings.kernel]\nlockdown = 'integrity'"),
            ),
        ),
        "runtime": some(
            labels=LABELS,
            annotations=LABELS,
            podAnnotations=LABELS,
            replicas=st.integers(0, 3),
            imagePullSecrets=st.just([{"name": "registry"}]),
            extraVolumes=st.just([{"name": "nodes", "configMap": {"name": "custom-nodes"}}]),
            priorityClassName=st.sampled_from(["", "high"]),
            nodeSelector=LABELS,
            tolerations=st.just([{"key": "team", "operator": "Exists"}]),
            topologySpreadConstraints=st.just([]),
            scaling=some(
                enabled=st.booleans(),
                queueLength=st.integers(1, 999_999),
                minReplicaCount=st.integers(0, 20),
                maxReplicaCount=st.integers(20, 999_999),
                cooldownPeriod=st.integers(0, 999_999),
                fallback=some(replicas=st.integers(0, 5), failureThreshold=st.integers(0, 9)),
                extraHPAConfig=some(scaleUp=RULES, scaleDown=RULES),
            ),
            inferenceApi=some(
                image=IMAGE,
                port=st.sampled_from([0, 8080]),
                args=st.just(["--listen"]),
                commandArguments=st.just("--api --nowebui"),
                extraEnv=st.just([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
                resources=st.sampled_from([{}, {"limits": {"memory": "24Gi"}}]),
            ),
            queueAgent=some(
                image=IMAGE,
                gracePeriodSeconds=st.integers(0, 90),
                prefetch=st.integers(0, 9),
                recycle=st.sampled_from([{"by": "nobody"}, {"by": "api", "aboveRssBytes": 2**40}, {"afterTasks": 9}]),
                warmUp=st.just({"tasktype": "pipeline", "content": {}}),
            ),
            canary=some(percent=st.integers(0, 90), queueAgent=st.fixed_dictionaries({"image": st.just({"tag": "c"})})),
            headroom=some(replicas=st.integers(0, 3)),
            persistence=st.sampled_from(
                [{"enabled": False}, {"existingClaim": "c"}, {"storageClass": "efs"}, {"s3": {"prefix": "sd/"}}]
            ),
        ),
        "networkPolicy": some(enabled=st.booleans(), clusterCidrs=st.just(["10.1.0.0/16"])),
        "serviceMonitor": some(enabled=st.booleans(), interval=SECONDS),
    }
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, st.sampled_from(RuntimeType))
def test_a_cluster_takes_what_is_made_of_any_values(values: dict[str, Any], kind: RuntimeType) -> None:
    assert all_faults(released(values, type=kind)) == []


@pytest.mark.parametrize(
    ("kind", "wrong", "says"),
    [
        # The reference's own fault: KEDA reads it in a trigger alone.
        ("ScaledObject", {"spec": {"scaleOnInFlight": False}}, "'scaleOnInFlight' was unexpected"),
        ("ScaledObject", {"spec": {"minReplicaCount": 30}}, "less than or equal to maxReplicaCount"),
        ("ScaledObject", {"spec": {"triggers": [{"type": "aws-sqs-queue", "metadata": {"x": "y"}}]}}, "not read 'x'"),
        ("NodePool", {"spec": {"template": {"metadata": {"labels": {"karpenter.sh/x": "y"}}}}}, "restricted"),
        ("EC2NodeClass", {"spec": {"instanceProfile": "p"}}, "exactly one of"),
        ("EC2NodeClass", {"spec": {"amiSelectorTerms": [{"alias": "ubuntu@1"}]}}, "not supported"),
        ("Deployment", {"spec": {"replica": 1}}, "replica"),
    ],
)
def test_the_check_itself_sees_faults(default: Release, kind: str, wrong: dict[str, Any], says: str) -> None:
    good = next(item for item in default.objects if item["kind"] == kind)
    assert faults(good) == []
    assert says in "\n".join(faults(merged(good, wrong)))


def test_the_definitions_are_their_authors_own_of_the_versions_that_are_deployed() -> None:
    sources = [line for line in (CRDS / "SOURCES.txt").read_text().splitlines() if " sha256=" in line]
    assert len(sources) == len([path for path in CRDS.iterdir() if path.suffix in {".yaml", ".json"}])
    deployed = {"karpenter": versions.KARPENTER.version, "keda": versions.KEDA.version}
    for line in sources:
        name, *described = line.split()
        source = dict(item.split("=") for item in described)
        assert hashlib.sha256((CRDS / name).read_bytes()).hexdigest() == source["sha256"], name
        if name.startswith(tuple(deployed)):
            assert source["ref"] == f"v{deployed[name.split('.')[0]]}"


# The pod


def test_the_runtime_starts_before_its_agent_and_ends_after_it(default: Release) -> None:
    pod = default.pod()
    [runtime], [agent] = pod["initContainers"], pod["containers"]
    assert runtime["restartPolicy"] == "Always"
    assert runtime["startupProbe"]["httpGet"] == {"path": "/sdapi/v1/options", "port": "runtime"}
    assert environment(agent)["API_BASE_URL"] == f"http://127.0.0.1:{runtime['ports'][0]['containerPort']}"


@pytest.mark.parametrize("kind", RuntimeType)
def test_every_type_of_runtime_has_a_port_and_a_probe(kind: RuntimeType) -> None:
    [runtime] = released(type=kind).pod()["initContainers"]
    assert runtime["ports"][0]["containerPort"] > 1024
    assert runtime["startupProbe"]["httpGet"]["path"].startswith("/")


def test_the_grace_period_covers_the_agents_and_fits_the_spot_notice(default: Release) -> None:
    agent = float(environment(default.pod()["containers"][0])["GRACE_PERIOD_SECONDS"])
    period = default.pod()["terminationGracePeriodSeconds"]
    assert agent + 10 < period <= 110


def settings_of(release: Release, monkeypatch: pytest.MonkeyPatch) -> Settings:
    given_values = environment(release.pod()["containers"][0])
    known = {name.upper() for name in Settings.model_fields} | {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert set(given_values) <= known, "the agent reads no such variable"
    for name in known:
        monkeypatch.delenv(name, raising=False)
    for name, value in given_values.items():
        monkeypatch.setenv(name, value if isinstance(value, str) else "from-the-cluster")
    return Settings()


def test_the_agent_understands_its_environment(default: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings_of(default, monkeypatch)
    assert (read.runtime_name, read.dynamic_sd_model, read.aws_endpoint_url) == ("sdruntime", False, "")
    assert (read.health_host, read.recycle_by) == ("0.0.0.0", "probe")
    assert read.sqs_dlq_url.endswith("-dlq")


def test_the_agent_understands_all_that_can_be_said(everything: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings_of(everything, monkeypatch)
    assert read.dynamic_sd_model
    assert (read.recycle_after_tasks, read.recycle_above_rss_bytes) == (100, 12 * 2**30)
    assert read.aws_endpoint_url == "http://localstack.default:4566"
    assert read.otel_exporter_otlp_endpoint == "http://collector.observability:4318"
    assert read.warmup_request is not None
    assert everything.pod()["shareProcessNamespace"] is True


def test_the_kubelet_restarts_a_runtime_when_the_agent_says_so(default: Release) -> None:
    [runtime], [agent] = default.pod()["initContainers"], default.pod()["containers"]
    assert runtime["livenessProbe"]["httpGet"] == {"path": "/runtimez", "port": agent["ports"][0]["containerPort"]}
    by_api = released({"runtime": {"queueAgent": {"recycle": {"by": "api"}}}}).pod()["initContainers"][0]
    assert "livenessProbe" not in by_api


def test_a_runtime_is_told_its_checkpoint_unless_requests_name_one(default: Release, everything: Release) -> None:
    static = environment(default.pod()["initContainers"][0])
    assert static["SD_MODEL_CHECKPOINT"] == static["SDWEBUI_CHECKPOINT"] == "v1-5-pruned-emaonly.safetensors"
    dynamic = environment(everything.pod()["initContainers"][0])
    assert "SD_MODEL_CHECKPOINT" not in dynamic
    assert dynamic["DYNAMIC_SD_MODEL"] == "true"


def test_a_change_of_any_agent_setting_replaces_the_pods(default: Release) -> None:
    other = released(
        {"runtime": {"queueAgent": {"logLevel": "debug"}}}, modelFilename="v1-5-pruned-emaonly.safetensors"
    )
    assert other.one("Deployment")["spec"]["template"] != default.one("Deployment")["spec"]["template"]


def test_a_runtime_gets_volumes_and_registries_of_its_operators() -> None:
    values = {
        "runtime": {
            "imagePullSecrets": [{"name": "registry"}],
            "extraVolumes": [{"name": "settings", "configMap": {"name": "webui-settings"}}],
            "inferenceApi": {"extraVolumeMounts": [{"name": "settings", "mountPath": "/tmp/config.json"}]},
        }
    }
    release = released(values)
    assert all_faults(release) == []
    pod = release.pod()
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert {volume["name"] for volume in pod["volumes"]} >= {"settings", "models"}
    mounted = {mount["name"] for mount in pod["initContainers"][0]["volumeMounts"]}
    assert mounted == {"settings", "models"}
    assert "settings" not in {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}


def test_pods_may_be_replaced_all_at_once() -> None:
    release = released({"runtime": {"strategy": {"type": "Recreate"}}})
    assert release.one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_an_upgrade_leaves_the_number_of_pods_to_the_autoscaler(default: Release) -> None:
    assert "replicas" not in default.one("Deployment")["spec"]
    fixed = released({"runtime": {"scaling": {"enabled": False}, "replicas": 3}})
    assert fixed.one("Deployment")["spec"]["replicas"] == 3
    assert fixed.all("ScaledObject") == {}


# Who may do what


def test_the_runtime_gets_no_credentials_and_no_token(default: Release) -> None:
    pod = default.pod()
    [runtime], [agent] = pod["initContainers"], pod["containers"]
    annotations = default.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/skip-containers"] == runtime["name"]
    assert pod["automountServiceAccountToken"] is False
    tokens = {volume["name"] for volume in pod["volumes"] if "projected" in volume}
    assert {mount["name"] for mount in runtime["volumeMounts"]}.isdisjoint(tokens)
    assert {mount["name"] for mount in agent["volumeMounts"]} >= tokens
    assert agent["securityContext"]["runAsNonRoot"] is True
    assert agent["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_agent_may_patch_pods_and_nothing_else(default: Release) -> None:
    assert default.one("Role", "sdruntime-own-pod")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
    ]
    [subject] = default.one("RoleBinding", "sdruntime-own-pod")["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": default.pod()["serviceAccountName"], "namespace": "default"}


POD = {"metadata": {"name": "sdruntime-1", "labels": {"a": "b"}, "annotations": {}}, "spec": {"nodeName": "n"}}
BUSY = merged(POD, {"metadata": {"annotations": {ANNOTATION: "100", DO_NOT_DISRUPT: "true"}}})


@pytest.mark.parametrize(
    ("who", "asking", "wanted", "is_allowed"),
    [
        ("sdruntime", ["sdruntime-1"], BUSY, True),
        ("sdruntime", ["sdruntime-2"], BUSY, False),
        ("sdruntime", [], BUSY, False),
        ("sdruntime", ["sdruntime-1"], merged(POD, {"spec": {"nodeName": "other"}}), False),
        ("sdruntime", ["sdruntime-1"], merged(POD, {"metadata": {"labels": {"a": "c"}}}), False),
        ("somebody-else", [], BUSY, True),
    ],
    ids=["own pod", "another pod", "no pod's token", "spec", "labels", "somebody else"],
)
def test_an_agent_marks_its_own_pod_alone(
    default: Release, who: str, asking: list[str], wanted: dict[str, Any], is_allowed: bool
) -> None:
    spec = default.one("ValidatingAdmissionPolicy", "sdruntime-own-pod")["spec"]
    extra = {"authentication.kubernetes.io/pod-name": asking} if asking else {"x": []}
    variables = {
        "request": {"userInfo": {"username": f"system:serviceaccount:default:{who}", "extra": extra}},
        "object": wanted,
        "oldObject": POD,
    }
    applies = all(holds(condition["expression"], variables) for condition in spec["matchConditions"])
    verdict = not applies or all(holds(rule["expression"], variables) for rule in spec["validations"])
    assert verdict is is_allowed


def lets_out(release: Release, address: str, port: int) -> bool:
    """Returns whether the network policy lets the pods out to an address (not: to pods by their labels)."""
    place = ipaddress.ip_address(address)
    for rule in release.one("NetworkPolicy")["spec"]["egress"]:
        ports = {item["port"] for item in rule.get("ports", ())}
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
            outside = any(place in ipaddress.ip_network(item) for item in block.get("except", ()))
            if place in ipaddress.ip_network(block["cidr"]) and not outside and (not ports or port in ports):
                return True
    return False


@pytest.mark.parametrize(
    ("address", "port", "may"),
    [
        ("169.254.169.254", 80, False),  # EC2's metadata
        ("169.254.170.23", 80, True),  # EKS Pod Identity
        ("52.94.5.1", 443, True),  # AWS
        ("52.94.5.1", 22, False),
        ("10.0.64.7", 443, True),  # the cluster's API, inside the network
        ("10.0.64.7", 8000, False),  # other pods
        ("192.168.1.1", 443, False),
        ("172.20.0.1", 443, True),
    ],
)
def test_pods_reach_what_they_need_and_nothing_else(default: Release, address: str, port: int, may: bool) -> None:
    assert lets_out(default, address, port) is may


def test_nobody_reaches_the_pods_but_who_scrapes_them(default: Release, everything: Release) -> None:
    assert default.one("NetworkPolicy")["spec"]["ingress"] == []
    [rule] = everything.one("NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "health"}]


# Nodes


def test_spot_comes_first_and_on_demand_stands_behind_it(default: Release) -> None:
    pools = default.all("NodePool")
    weights = {}
    for pool in pools.values():
        requirements = {item["key"]: item["values"] for item in pool["spec"]["template"]["spec"]["requirements"]}
        weights[requirements["karpenter.sh/capacity-type"][0]] = pool["spec"]["weight"]
        assert len(requirements["node.kubernetes.io/instance-type"]) >= 3
    assert weights["spot"] > weights["on-demand"]
    assert set(released({"karpenter": {"provisioner": {"capacityType": {"onDemand": False}}}}).all("NodePool")) == {
        "sdruntime-spot"
    }


def test_pods_tolerate_the_taints_of_their_nodes_and_other_runtimes_do_not(everything: Release) -> None:
    pods = [everything.pod(name) for name in everything.all("Deployment")]
    for pool in everything.all("NodePool").values():
        taints = pool["spec"]["template"]["spec"]["taints"]
        assert {"key": "runtime", "value": "sdruntime", "effect": "NoSchedule"} in taints
        assert {taint["key"] for taint in taints} == {"nvidia.com/gpu", "runtime"}
    for pod in pods:
        tolerated = {item["key"]: item.get("value") for item in pod["tolerations"]}
        assert tolerated == {"nvidia.com/gpu": None, "runtime": "sdruntime"}


def test_a_busy_pod_on_spot_hears_of_an_interruption_at_once(default: Release) -> None:
    """Karpenter leaves it running until `terminationGracePeriod` of the node less that of the pod (see the README)."""
    node = default.one("NodePool", "sdruntime-spot")["spec"]["template"]["spec"]["terminationGracePeriod"]
    assert node == f"{default.pod()['terminationGracePeriodSeconds']}s"


def test_nodes_with_work_are_left_alone_unless_asked(default: Release) -> None:
    def policy(release: Release) -> set[str]:
        return {pool["spec"]["disruption"]["consolidationPolicy"] for pool in release.all("NodePool").values()}

    assert policy(default) == {"WhenEmpty"}
    assert policy(released({"karpenter": {"provisioner": {"consolidation": True}}})) == {"WhenEmptyOrUnderutilized"}


def test_metadata_is_one_hop_away_and_volumes_are_encrypted(default: Release) -> None:
    spec = default.one("EC2NodeClass")["spec"]
    assert spec["metadataOptions"]["httpPutResponseHopLimit"] == 1
    assert spec["metadataOptions"]["httpTokens"] == "required"
    assert [item["ebs"]["encrypted"] for item in spec["blockDeviceMappings"]] == [True, True]
    assert spec["subnetSelectorTerms"] == [{"tags": {"karpenter.sh/discovery": "darkroom"}}]


def test_a_snapshot_is_loaded_ahead_and_keeps_to_its_own_disk(default: Release) -> None:
    values = {"karpenter": {"nodeTemplate": {"dataVolume": {"snapshotID": "snap-0123"}}}}
    spec = released(values).one("EC2NodeClass")["spec"]
    [data] = [item["ebs"] for item in spec["blockDeviceMappings"] if item["deviceName"] == "/dev/xvdb"]
    assert (data["snapshotID"], data["volumeInitializationRate"]) == ("snap-0123", 300)
    assert "instanceStorePolicy" not in spec
    assert "userData" not in spec
    without = default.one("EC2NodeClass")["spec"]["blockDeviceMappings"][1]["ebs"]
    assert "volumeInitializationRate" not in without


def test_soci_pulls_onto_the_instances_own_disks(everything: Release) -> None:
    spec = everything.one("EC2NodeClass")["spec"]
    assert spec["instanceStorePolicy"] == "RAID0"
    user_data = tomllib.loads(spec["userData"])["settings"]
    assert user_data["container-runtime"]["snapshotter"] == "soci"
    assert user_data["kernel"]["lockdown"] == "integrity"
    for pool in everything.all("NodePool").values():
        requirements = pool["spec"]["template"]["spec"]["requirements"]
        assert {"key": "karpenter.k8s.aws/instance-local-nvme", "operator": "Gt", "values": ["0"]} in requirements


# Scaling


def trigger(release: Release, name: str = "sdruntime") -> dict[str, str]:
    metadata: dict[str, str] = release.one("ScaledObject", name)["spec"]["triggers"][0]["metadata"]
    return metadata


def test_keda_reads_the_queue_as_itself(default: Release) -> None:
    assert default.one("TriggerAuthentication")["spec"] == {"podIdentity": {"provider": "aws"}}
    assert trigger(default)["queueURL"].endswith("/darkroom-sdruntime")
    assert trigger(default)["scaleOnInFlight"] == "true"
    assert "awsEndpoint" not in trigger(default)


def test_keda_and_the_agent_talk_to_an_emulator_with_its_key(everything: Release) -> None:
    assert trigger(everything)["awsEndpoint"] == "http://localstack.default:4566"
    names = {item["name"] for item in everything.one("TriggerAuthentication")["spec"]["secretTargetRef"]}
    agent = environment(everything.pod()["containers"][0])
    names |= {agent[name]["secretKeyRef"]["name"] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    assert names == set(everything.all("Secret"))


def test_the_fallback_never_takes_pods_away(everything: Release) -> None:
    assert everything.one("ScaledObject")["spec"]["fallback"] == {
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


def test_a_canary_differs_in_what_it_sets_and_shares_the_rest(everything: Release) -> None:
    stable, canary = (everything.pod(name) for name in ("sdruntime", "sdruntime-canary"))
    assert canary["initContainers"][0]["image"].endswith("/darkroom/sdwebui:v2")
    assert "@sha256:" in stable["initContainers"][0]["image"]
    assert canary["containers"] == stable["containers"]
    labels = [
        everything.one("Deployment", name)["spec"]["selector"]["matchLabels"]
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


@pytest.mark.parametrize(("replicas", "stable", "canary"), [(10, 8, 2), (1, 1, 1), (0, 0, 0)])
def test_without_autoscaling_the_canarys_pods_come_out_of_the_same_number(
    replicas: int, stable: int, canary: int
) -> None:
    values = {"runtime": {"scaling": {"enabled": False}, "replicas": replicas, "canary": {"percent": 20}}}
    deployments = released(values).all("Deployment")
    assert {name: item["spec"]["replicas"] for name, item in deployments.items()} == {
        "sdruntime": stable,
        "sdruntime-canary": canary,
    }


@pytest.mark.parametrize(("fewest", "stable", "canary"), [(0, 0, 0), (1, 1, 0), (5, 4, 1)])
def test_the_pods_that_are_always_there_are_the_stable_ones_first(fewest: int, stable: int, canary: int) -> None:
    release = released({"runtime": {"scaling": {"minReplicaCount": fewest}, "canary": {"percent": 20}}})
    least = [release.one("ScaledObject", name)["spec"]["minReplicaCount"] for name in ("sdruntime", "sdruntime-canary")]
    assert least == [stable, canary]


def test_placeholders_hold_as_much_as_a_pod_and_give_way_to_it(everything: Release) -> None:
    placeholder = everything.pod("sdruntime-headroom")
    [container] = placeholder["containers"]
    runtime = everything.pod()["initContainers"][0]
    assert container["resources"]["limits"] == runtime["resources"]["limits"]
    assert container["image"] == everything.pod()["containers"][0]["image"], "every node has it"
    assert everything.one("PriorityClass", placeholder["priorityClassName"])["value"] < 0
    assert placeholder["terminationGracePeriodSeconds"] == 0


# Models


def test_models_come_read_only_out_of_the_bucket_as_the_pod_itself(default: Release) -> None:
    volume = default.one("PersistentVolume", "sdruntime-models")["spec"]
    claim = default.one("PersistentVolumeClaim", "sdruntime-models")["spec"]
    assert "read-only" in volume["mountOptions"]
    assert volume["csi"]["volumeAttributes"] == {"bucketName": "darkroom-models", "authenticationSource": "pod"}
    assert volume["claimRef"] == {"namespace": "default", "name": "sdruntime-models"}
    assert volume["storageClassName"] == claim["storageClassName"] == ""
    assert volume["accessModes"] == claim["accessModes"] == ["ReadOnlyMany"]
    [models] = [item for item in default.pod()["volumes"] if item["name"] == "models"]
    assert models["persistentVolumeClaim"]["claimName"] == "sdruntime-models"
    assert default.pod()["initContainers"][0]["volumeMounts"][0]["mountPath"] == "/opt/ml/code/models"


def test_models_come_from_efs_where_the_stacks_say_so() -> None:
    release = released(placed={"storage_class": "efs-model-storage-sc", "model_bucket": ""})
    assert release.all("PersistentVolume") == {}
    claim = release.one("PersistentVolumeClaim", "sdruntime-models")["spec"]
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


# As people read it


def test_every_object_says_whose_it_is(everything: Release) -> None:
    for item in everything.objects:
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "darkroom-runtime"
        assert labels["app.kubernetes.io/instance"] == "sdruntime"
        assert labels["app.kubernetes.io/part-of"] == "darkroom"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["team"] == "images"


def test_a_new_version_of_the_chart_alone_replaces_no_pod(default: Release) -> None:
    assert "helm.sh/chart" not in default.one("Deployment")["spec"]["template"]["metadata"]["labels"]


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
