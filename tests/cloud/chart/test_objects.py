"""What the chart makes: objects that a cluster takes, and that do what they are for."""

from __future__ import annotations

import hashlib
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.operations.pod import ANNOTATION, BUSY_COST, DO_NOT_DISRUPT, IDLE_COST
from agent.settings import Settings
from cloud import helm, versions
from cloud.chart_values import ChartValuesError, merged
from contract.config import load_config
from contract.outputs import OutputRules
from contract.runtimes import KINDS
from contract.task import RuntimeType
from tests.cloud.chart.releases import COMPLETE, Release, environment, of_runtime, released, values_with
from tests.cloud.kubernetes_objects import CRDS, faults, holds, value_of
from tests.cloud.synthesis import ROOT

CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "cloud" / "examples").glob("*.yaml"))]


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


def test_a_cluster_takes_everything_that_is_optional(complete: Release) -> None:
    assert all_faults(complete) == []
    kinds = {item["kind"] for item in complete.objects}
    assert kinds >= {"PriorityClass", "Secret", "Service", "ServiceMonitor", "ValidatingAdmissionPolicy"}
    assert set(complete.all("Deployment")) == {"sdruntime", "sdruntime-canary", "sdruntime-headroom"}


def test_one_release_name_in_two_namespaces_makes_no_object_of_the_cluster_twice() -> None:
    def of_the_cluster(namespace: str) -> dict[tuple[str, str], Any]:
        objects = helm.render(values_with(COMPLETE), release="sdruntime", namespace=namespace)
        everywhere = (item for item in objects if "namespace" not in item["metadata"])
        return {(item["kind"], item["metadata"]["name"]): item for item in everywhere}

    one, other = of_the_cluster("images"), of_the_cluster("system-images")
    named_by_their_runtime = {"EC2NodeClass", "NodePool"}
    assert {kind for kind, _ in one.keys() & other.keys()} == named_by_their_runtime
    assert {kind for kind, _ in one} - named_by_their_runtime == {
        *("PersistentVolume", "PriorityClass", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    }
    binding = other["ValidatingAdmissionPolicyBinding", "sdruntime-own-pod.system-images"]["spec"]
    assert ("ValidatingAdmissionPolicy", binding["policyName"]) in other
    assert not any(name.startswith("system-") for kind, name in other if kind == "PriorityClass"), "reserved"


@pytest.mark.parametrize("text", ["123", "a: b #c"])
def test_a_text_stays_a_text_whatever_yaml_would_make_of_it(text: str) -> None:
    release = released(
        {
            "runtime": {
                "priorityClassName": text,
                "inferenceApi": {"modelMountPath": f"/{text}", "startupProbe": {"path": f"/{text}"}},
                "persistence": {"existingVolume": text},
            }
        }
    )
    assert all_faults(release) == []
    server = release.pod()["initContainers"][0]
    assert release.pod()["priorityClassName"] == text
    assert server["volumeMounts"][0]["mountPath"] == server["startupProbe"]["httpGet"]["path"] == f"/{text}"
    (claim,) = release.all("PersistentVolumeClaim").values()
    assert claim["spec"]["volumeName"] == text
    pod = released({"runtime": {"persistence": {"existingClaim": text}}}).pod()
    assert {"name": "models", "persistentVolumeClaim": {"claimName": text}} in pod["volumes"]
    (volume,) = released({"runtime": {"persistence": {"s3": {"prefix": f"{text}/"}}}}).all("PersistentVolume").values()
    assert f"prefix {text}/" in volume["spec"]["mountOptions"]


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
                port=st.sampled_from([0, 8080, 9090]),
                confinement=st.sampled_from(["strict", "image"]),
                writablePaths=st.sampled_from([[], ["/data"], ["/tmp"]]),
                extraVolumeMounts=st.sampled_from([[], [{"name": "nodes", "mountPath": "/tmp"}]]),
                securityContext=st.sampled_from([{}, {"runAsUser": 0}, {"capabilities": {"add": ["SETUID"]}}]),
                args=st.just(["--listen"]),
                commandArguments=st.just("--api --nowebui"),
                extraEnv=st.just([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
                resources=st.sampled_from([{}, {"limits": {"memory": "24Gi"}}]),
            ),
            queueAgent=some(
                image=IMAGE,
                gracePeriodSeconds=st.integers(0, 90),
                prefetch=st.integers(0, 9),
                slots=st.integers(1, 4),
                recycle=st.sampled_from(
                    [{"by": "nobody"}, {"by": "api", "afterTasks": 9}, {"afterTasks": 9}, {"aboveRssBytes": 2**40}]
                ),
                healthPort=st.sampled_from([9464, 8080, 9090]),
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


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, st.sampled_from(RuntimeType))
def test_a_cluster_takes_what_is_made_of_any_values(values: dict[str, Any], kind: RuntimeType) -> None:
    if not KINDS[kind].queues:
        values.get("runtime", {}).get("queueAgent", {}).pop("slots", None)  # it takes one run at a time
    if values.get("runtime", {}).get("inferenceApi", {}).get("extraVolumeMounts"):
        values["runtime"]["extraVolumes"] = [{"name": "nodes", "configMap": {"name": "custom-nodes"}}]
    try:
        release = released(values, type=kind)
    except ChartValuesError as error:
        lines = str(error).splitlines()
        known = ("on which the runtime listens", "with types invokeai and openai", "there must be two; found")
        assert all(any(text in line for text in known) for line in lines), lines
        return
    assert all_faults(release) == []
    assert all(leaks(release, name) == [] for name in release.all("Deployment") if not name.endswith("-headroom"))


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
def test_the_check_itself_sees_faults(usual: Release, kind: str, wrong: dict[str, Any], says: str) -> None:
    good = next(item for item in usual.objects if item["kind"] == kind)
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


def test_the_runtime_starts_before_its_agent_and_ends_after_it(usual: Release) -> None:
    pod = usual.pod()
    [runtime], [agent] = pod["initContainers"], pod["containers"]
    assert runtime["restartPolicy"] == "Always"
    assert runtime["startupProbe"]["httpGet"] == {"path": "/sdapi/v1/options", "port": "runtime"}
    assert environment(agent)["API_BASE_URL"] == f"http://127.0.0.1:{runtime['ports'][0]['containerPort']}"


@pytest.mark.parametrize("kind", RuntimeType)
def test_every_type_of_runtime_has_a_port_and_a_probe(kind: RuntimeType) -> None:
    [runtime] = released(type=kind).pod()["initContainers"]
    assert runtime["ports"][0]["containerPort"] > 1024
    assert runtime["startupProbe"]["httpGet"]["path"].startswith("/")


def test_the_grace_period_covers_the_agents_and_fits_the_spot_notice(usual: Release) -> None:
    agent = float(environment(usual.pod()["containers"][0])["GRACE_PERIOD_SECONDS"])
    period = usual.pod()["terminationGracePeriodSeconds"]
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


def test_the_agent_understands_its_environment(usual: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings_of(usual, monkeypatch)
    assert (read.runtime_name, read.dynamic_sd_model, read.aws_endpoint_url) == ("sdruntime", False, "")
    assert (read.health_host, read.recycle_by) == ("0.0.0.0", "probe")
    assert read.sqs_dlq_url.endswith("-dlq")


def test_the_agent_understands_all_that_can_be_said(complete: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings_of(complete, monkeypatch)
    assert read.dynamic_sd_model
    assert (read.recycle_after_tasks, read.recycle_above_rss_bytes) == (100, 12 * 2**30)
    assert read.aws_endpoint_url == "http://localstack.default:4566"
    assert read.otel_exporter_otlp_endpoint == "http://collector.observability:4318"
    assert read.warmup_request is not None
    assert read.recycle_file is not None


def test_the_agent_is_told_what_becomes_of_results_and_let_out_to_who_checks_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = {"url": "http://moderation.checks.svc:9000/check", "timeoutSeconds": 2.5, "tries": 1}
    signer = {"name": "CREDENTIALS_SIGNER", "valueFrom": {"secretKeyRef": {"name": "signer", "key": "pem"}}}
    outputs = {"contentCredentials": True, "tellByTenant": {"alice": ["prompt"]}, "check": check}
    release = released({"runtime": {"queueAgent": {"extraEnv": [signer]}}}, outputs=outputs)
    assert all_faults(release) == []
    (variable,) = [item for item in release.pod()["containers"][0]["env"] if item["name"] == "CREDENTIALS_SIGNER"]
    assert variable == signer
    given = environment(release.pod()["containers"][0])["OUTPUTS"]
    assert OutputRules.model_validate_json(given) == OutputRules.model_validate(outputs)
    [rule] = [item for item in release.one("NetworkPolicy")["spec"]["egress"] if item.get("ports") == [{"port": 9000}]]
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "checks"}}}]


def test_results_are_not_to_be_signed_by_nothing() -> None:
    with pytest.raises(ChartValuesError, match="must have CREDENTIALS_SIGNER"):
        values_with({}, outputs={"contentCredentials": True})


def test_the_kubelet_restarts_a_runtime_when_the_agent_says_so(usual: Release) -> None:
    [runtime], [agent] = usual.pod()["initContainers"], usual.pod()["containers"]
    probe, wanted = runtime["livenessProbe"], environment(agent)["RECYCLE_FILE"]
    assert probe["exec"]["command"] == ["test", "!", "-e", wanted]
    # The kubelet looks at any moment of a period, then ends the container.
    assert probe["periodSeconds"] * probe["failureThreshold"] + probe["terminationGracePeriodSeconds"] <= 15
    folders = [
        {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}[
            str(Path(wanted).parent)
        ]
        for container in (runtime, agent)
    ]
    assert folders == [True, False], "the runtime reads there what the agent writes"
    by_api = released({"runtime": {"queueAgent": {"recycle": {"by": "api"}}}}).pod()["initContainers"][0]
    assert "livenessProbe" not in by_api


def test_a_runtime_is_told_its_checkpoint_unless_requests_name_one(usual: Release, complete: Release) -> None:
    static = environment(usual.pod()["initContainers"][0])
    assert static["SD_MODEL_CHECKPOINT"] == static["SDWEBUI_CHECKPOINT"] == "v1-5-pruned-emaonly.safetensors"
    dynamic = environment(complete.pod()["initContainers"][0])
    assert "SD_MODEL_CHECKPOINT" not in dynamic
    assert dynamic["DYNAMIC_SD_MODEL"] == "true"


def test_a_change_of_any_agent_setting_replaces_the_pods(usual: Release) -> None:
    other = released(
        {"runtime": {"queueAgent": {"logLevel": "debug"}}}, modelFilename="v1-5-pruned-emaonly.safetensors"
    )
    assert other.one("Deployment")["spec"]["template"] != usual.one("Deployment")["spec"]["template"]


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
    assert mounted >= {"settings", "models"}
    assert "settings" not in {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}


def test_pods_may_be_replaced_all_at_once() -> None:
    release = released({"runtime": {"strategy": {"type": "Recreate"}}})
    assert release.one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_an_upgrade_leaves_the_number_of_pods_to_the_autoscaler(usual: Release) -> None:
    assert "replicas" not in usual.one("Deployment")["spec"]
    fixed = released({"runtime": {"scaling": {"enabled": False}, "replicas": 3}})
    assert fixed.one("Deployment")["spec"]["replicas"] == 3
    assert fixed.all("ScaledObject") == {}


# Who may do what

AGENT, FAMILIAR = "queue-agent", {"emptyDir", "persistentVolumeClaim", "configMap"}


def leaks(release: Release, name: str) -> list[str]:
    """Returns by which ways code in the runtime could come by what the agent may do, or be taken for it."""
    template = release.one("Deployment", name)["spec"]["template"]
    pod = template["spec"]
    containers = [*pod["initContainers"], *pod["containers"]]
    [agent] = [container for container in containers if container["name"] == AGENT]
    others = [container for container in containers if container["name"] != AGENT]
    found = [f"pod: {key}" for key in ("hostPID", "hostIPC", "hostNetwork", "shareProcessNamespace") if pod.get(key)]
    skipped = template["metadata"]["annotations"]["eks.amazonaws.com/skip-containers"].split(",")
    found += [f"{item['name']}: gets AWS credentials" for item in others if item["name"] not in skipped]
    if pod["automountServiceAccountToken"]:
        found.append("pod: mounts the token into every container")
    volumes = {volume["name"]: set(volume) - {"name"} for volume in pod["volumes"]}
    for item in others:
        context = item["securityContext"]
        if context.get("privileged") or context.get("runAsUser") == agent["securityContext"]["runAsUser"]:
            found.append(f"{item['name']}: privileged, or as the agent's user")
        mounts = {mount["name"]: mount for mount in item["volumeMounts"]}
        found += [f"{item['name']}: {mount}" for mount in mounts if not volumes[mount] <= FAMILIAR]
        shared = set(mounts) & {mount["name"] for mount in agent["volumeMounts"]}
        found += [
            f"{item['name']}: writes to the agent's {mount}" for mount in shared if not mounts[mount].get("readOnly")
        ]
        paths = [mount["mountPath"] for mount in item["volumeMounts"]]
        assert len(paths) == len(set(paths)), "the API server refuses two volumes in one place"
    ports = [port["containerPort"] for container in containers for port in container["ports"]]
    assert len(ports) == len(set(ports)), "one pod listens on a port once"
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_example_lets_the_runtime_at_what_the_agent_may_do(path: Path) -> None:
    config = load_config(path)
    for runtime in config.runtimes:
        assert leaks(of_runtime(config, runtime), runtime.name) == []


@pytest.mark.parametrize("kind", RuntimeType)
def test_nor_does_any_way_to_restart_a_runtime(kind: RuntimeType) -> None:
    limits = {"afterTasks": 9} | ({"aboveRssBytes": 2**34} if KINDS[kind].tells_memory else {})
    for by in ("api", "probe"):
        release = released({"runtime": {"queueAgent": {"recycle": {"by": by, **limits}}}}, type=kind)
        assert leaks(release, "sdruntime") == []


def test_the_agent_has_a_user_that_no_other_image_of_ours_has(usual: Release) -> None:
    users = {
        path.parent.relative_to(ROOT): int(line.split()[1])
        for path in ROOT.glob("*/**/Dockerfile")
        if not path.parts[len(ROOT.parts)].startswith(".")
        for line in path.read_text().splitlines()
        if line.startswith("USER ")
    }
    agent = users.pop(Path("agent"))
    assert usual.pod()["containers"][0]["securityContext"]["runAsUser"] == agent
    assert agent not in users.values()


def test_our_own_images_are_held_strictly_and_others_as_they_are_made() -> None:
    def context(**options: Any) -> dict[str, Any]:
        found: dict[str, Any] = released(**options).pod()["initContainers"][0]["securityContext"]
        return found

    strict = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "readOnlyRootFilesystem": True}
    always = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert context() == strict | always
    foreign = {"runtime": {"inferenceApi": {"image": {"repository": "theirs/sdwebui"}}}}
    promoted = {"runtime": {"inferenceApi": {"image": {"repository": "1.dkr.example/darkroom/sdwebui", "tag": "next"}}}}
    assert context(extra_values=promoted) == strict | always
    assert context(extra_values=foreign) == context(placed={"runtime_image": "theirs/webui:1"}) == always
    assert context(type="invokeai") == context(type="http") == context(type="openai") == always
    asked = {"runtime": {"inferenceApi": {"confinement": "strict", "securityContext": {"runAsUser": 65532}}}}
    assert context(extra_values=asked, type="http") == strict | always | {"runAsUser": 65532}


def test_a_strict_runtime_writes_where_the_image_does_and_nowhere_else() -> None:
    values = {"runtime": {"inferenceApi": {"writablePaths": ["/opt/cache"]}}}
    pod = released(values, type="comfyui", placed={"runtime_image": "r.example/darkroom/comfyui:1"}).pod()
    empty = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
    written = {
        mount["mountPath"]
        for mount in pod["initContainers"][0]["volumeMounts"]
        if mount["name"] in empty and not mount.get("readOnly")
    }
    assert written == {"/tmp", "/var/lib/comfyui", "/opt/cache"}


def test_the_runtime_gets_no_credentials_and_no_token(usual: Release) -> None:
    pod = usual.pod()
    [runtime], [agent] = pod["initContainers"], pod["containers"]
    annotations = usual.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/skip-containers"] == runtime["name"]
    assert pod["automountServiceAccountToken"] is False
    tokens = {volume["name"] for volume in pod["volumes"] if "projected" in volume}
    assert {mount["name"] for mount in runtime["volumeMounts"]}.isdisjoint(tokens)
    assert {mount["name"] for mount in agent["volumeMounts"]} >= tokens
    assert agent["securityContext"]["runAsNonRoot"] is True
    assert agent["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_agent_may_patch_pods_and_nothing_else(usual: Release) -> None:
    assert usual.one("Role", "sdruntime-own-pod")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
    ]
    [subject] = usual.one("RoleBinding", "sdruntime-own-pod")["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": usual.pod()["serviceAccountName"], "namespace": "default"}


SKIP = "eks.amazonaws.com/skip-containers"
POD: dict[str, Any] = {
    "metadata": {
        "name": "sdruntime-1",
        "labels": {"a": "b"},
        "annotations": {SKIP: "inference-api"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "sdruntime"}],
    },
    "spec": {"nodeName": "n"},
    "status": {"phase": "Running"},
}


def with_metadata(**changed: Any) -> dict[str, Any]:
    return merged(POD, {"metadata": changed})


def with_annotations(changed: dict[str, str]) -> dict[str, Any]:
    return with_metadata(annotations=changed)


def without(field: str) -> dict[str, Any]:
    return POD | {"metadata": {key: value for key, value in POD["metadata"].items() if key != field}}


BUSY = with_annotations({ANNOTATION: "100", DO_NOT_DISRUPT: "true"})


@pytest.mark.parametrize(
    ("who", "asking", "wanted", "is_allowed"),
    [
        ("sdruntime", ["sdruntime-1"], BUSY, True),
        ("sdruntime", ["sdruntime-2"], BUSY, False),
        ("sdruntime", [], BUSY, False),
        ("sdruntime", ["sdruntime-1"], merged(POD, {"spec": {"nodeName": "other"}}), False),
        ("sdruntime", ["sdruntime-1"], with_metadata(labels={"a": "c"}), False),
        ("sdruntime", ["sdruntime-1"], with_metadata(labels={"a": "b", "c": "d"}), False),
        ("sdruntime", ["sdruntime-1"], with_metadata(finalizers=["x.example/stay"]), False),
        ("sdruntime", ["sdruntime-1"], with_metadata(ownerReferences=[]), False),
        ("sdruntime", ["sdruntime-1"], without("ownerReferences"), False),
        ("sdruntime", ["sdruntime-1"], without("labels"), False),
        ("sdruntime", ["sdruntime-1"], merged(POD, {"spec": {"activeDeadlineSeconds": 1}}), False),
        ("sdruntime", ["sdruntime-1"], merged(POD, {"status": {"phase": "Succeeded"}}), False),
        ("sdruntime", ["sdruntime-1"], with_annotations({ANNOTATION: "2147483647"}), False),
        ("sdruntime", ["sdruntime-1"], with_annotations({DO_NOT_DISRUPT: "false"}), False),
        (
            "sdruntime",
            ["sdruntime-1"],
            with_annotations({"cluster-autoscaler.kubernetes.io/safe-to-evict": "no"}),
            False,
        ),
        ("sdruntime", ["sdruntime-1"], with_annotations({SKIP: ""}), False),
        ("sdruntime", ["sdruntime-1"], without("annotations"), False),
        ("somebody-else", [], BUSY, True),
        ("somebody-else", [], with_metadata(finalizers=["x.example/stay"]), True),
    ],
)
def test_an_agent_marks_its_own_pod_alone(
    usual: Release, who: str, asking: list[str], wanted: dict[str, Any], is_allowed: bool
) -> None:
    assert verdict(usual, who, asking, POD, wanted) is is_allowed


@pytest.mark.parametrize("before", [{}, {ANNOTATION: "0"}, {ANNOTATION: "100", DO_NOT_DISRUPT: "true"}])
@pytest.mark.parametrize("busy", [True, False])
def test_an_agent_may_always_say_whether_it_is_busy(usual: Release, before: dict[str, str], busy: bool) -> None:
    """As `agent/operations/pod.py` does: both annotations at once, the second one taken away when idle (RFC 7396)."""
    cost = str(BUSY_COST if busy else IDLE_COST)
    after = {ANNOTATION: cost} | ({DO_NOT_DISRUPT: "true"} if busy else {})
    bare = without("annotations")
    old = merged(bare, {"metadata": {"annotations": before}}) if before else bare
    new = merged(bare, {"metadata": {"annotations": after}})
    assert verdict(usual, "sdruntime", ["sdruntime-1"], old, new)


def verdict(release: Release, who: str, asking: list[str], before: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Returns whether the admission policy lets an update of a pod through."""
    spec = release.one("ValidatingAdmissionPolicy", "sdruntime-own-pod.default")["spec"]
    extra = {"authentication.kubernetes.io/pod-name": asking} if asking else {"x": []}
    known = {
        "request": {"userInfo": {"username": f"system:serviceaccount:default:{who}", "extra": extra}},
        "object": wanted,
        "oldObject": before,
    }
    if not all(holds(condition["expression"], known) for condition in spec["matchConditions"]):
        return True
    known["variables"] = {item["name"]: value_of(item["expression"], known) for item in spec["variables"]}
    return all(holds(rule["expression"], known) for rule in spec["validations"])


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
def test_pods_reach_what_they_need_and_nothing_else(usual: Release, address: str, port: int, may: bool) -> None:
    assert lets_out(usual, address, port) is may


ON_KIND = {
    "global": {"awsEndpoint": "http://host.docker.internal:4566"},
    "networkPolicy": {
        "emulatorCidrs": ["172.18.0.1/32"],
        "clusterCidrs": ["10.96.0.0/16", "172.18.0.0/16"],
        "clusterPorts": [443, 6443],
    },
}
BY_ADDRESS = {"global": {"awsEndpoint": "http://192.168.1.7:4566"}}
FEW_PLACES = {"networkPolicy": {"webCidrs": ["52.94.0.0/16"], "webPorts": [443]}}


@pytest.mark.parametrize(
    ("values", "address", "port", "may"),
    [
        (ON_KIND, "172.18.0.1", 4566, True),
        (ON_KIND, "172.18.0.1", 22, False),
        (ON_KIND, "10.96.0.1", 443, True),
        (ON_KIND, "172.18.0.2", 6443, True),
        (BY_ADDRESS, "192.168.1.7", 4566, True),
        (BY_ADDRESS, "192.168.1.8", 4566, False),
        (FEW_PLACES, "52.94.5.1", 443, True),
        (FEW_PLACES, "52.94.5.1", 80, False),
        (FEW_PLACES, "1.1.1.1", 443, False),
        (FEW_PLACES, "169.254.170.23", 80, True),
        ({"networkPolicy": {"webCidrs": []}}, "52.94.5.1", 443, False),
    ],
)
def test_pods_reach_an_emulator_where_it_is_and_the_web_as_far_as_is_said(
    values: dict[str, Any], address: str, port: int, may: bool
) -> None:
    release = released(values)
    assert all_faults(release) == []
    assert lets_out(release, address, port) is may


@pytest.mark.parametrize(
    ("endpoint", "peers"),
    [
        ("http://collector.observability:4318", [{"kubernetes.io/metadata.name": "observability"}]),
        ("http://otel.traces.svc.cluster.local:4318", [{"kubernetes.io/metadata.name": "traces"}]),
        ("http://collector:4318", [{"kubernetes.io/metadata.name": "default"}]),
        ("http://10.1.2.3:4318", ["10.1.2.3/32"]),
        ("https://otlp.example.com:4318", ["0.0.0.0/0"]),
    ],
)
def test_traces_go_to_their_collector_alone(endpoint: str, peers: list[Any]) -> None:
    release = released(placed={"otlp_endpoint": endpoint})
    assert all_faults(release) == []
    [rule] = [item for item in release.one("NetworkPolicy")["spec"]["egress"] if item.get("ports") == [{"port": 4318}]]
    found = [
        peer["namespaceSelector"]["matchLabels"] if "namespaceSelector" in peer else peer["ipBlock"]["cidr"]
        for peer in rule["to"]
    ]
    assert found == peers


def test_nobody_reaches_the_pods_but_who_scrapes_them(usual: Release, complete: Release) -> None:
    assert usual.one("NetworkPolicy")["spec"]["ingress"] == []
    [rule] = complete.one("NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "health"}]
