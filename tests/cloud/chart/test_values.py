"""The chart's values: documented, strict, under every name that users of the reference know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.settings import Settings as AgentSettings
from cloud import chart_readme, helm, versions
from cloud.chart_names import translate
from cloud.chart_values import ChartValuesError, chart_defaults, merged, old_names, schema_faults
from contract.runtimes import KINDS
from contract.scaling.settings import Scaling, scaling_of
from contract.task import RuntimeType
from tests.cloud.chart.releases import PLACEMENT, config_with, environment, released, values_with

DEFAULTS = chart_defaults()
SCHEMA: dict[str, Any] = json.loads((helm.CHART / "values.schema.json").read_text())

KEY = "0123abcd-0123-0123-0123-0123456789ab"

OPTIONS: dict[str, Any] = {
    # "Application (Helm Chart)" of the reference, and the values that its configuration shows.
    "karpenter.provisioner.labels": {"team": "images"},
    "karpenter.provisioner.capacityType.onDemand": False,
    "karpenter.provisioner.capacityType.spot": True,
    "karpenter.provisioner.instanceType": ["g5.xlarge"],
    "karpenter.provisioner.extraRequirements": [
        {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-west-2a"]}
    ],
    "karpenter.provisioner.extraTaints": [{"key": "team", "value": "images", "effect": "NoSchedule"}],
    "karpenter.provisioner.resourceLimits": {"nvidia.com/gpu": 10, "cpu": 100, "memory": "1Ti"},
    "karpenter.provisioner.consolidation": True,
    "karpenter.provisioner.disruption.consolidateAfter": "30s",
    "karpenter.provisioner.disruption.expireAfter": "Never",
    "karpenter.nodeTemplate.tags": {"team": "images"},
    "karpenter.nodeTemplate.amiFamily": "Bottlerocket",
    "karpenter.nodeTemplate.osVolume.volumeSize": "20Gi",
    "karpenter.nodeTemplate.dataVolume.volumeSize": "80Gi",
    "karpenter.nodeTemplate.dataVolume.volumeType": "gp3",
    "karpenter.nodeTemplate.dataVolume.deleteOnTermination": True,
    "karpenter.nodeTemplate.dataVolume.iops": 4000,
    "karpenter.nodeTemplate.dataVolume.throughput": 1000,
    "karpenter.nodeTemplate.dataVolume.snapshotID": "snap-0123456789",
    "karpenter.nodeTemplate.userData": "[settings.kernel]\nlockdown = 'integrity'\n",
    "runtime.labels": {"team": "images"},
    "runtime.annotations": {"owner": "images"},
    "runtime.replicas": 2,
    "runtime.scaling.enabled": False,
    "runtime.scaling.queueLength": 10,
    "runtime.scaling.cooldownPeriod": 300,
    "runtime.scaling.maxReplicaCount": 5,
    "runtime.scaling.minReplicaCount": 0,
    "runtime.scaling.pollingInterval": 1,
    "runtime.scaling.scaleOnInFlight": False,
    "runtime.scaling.extraHPAConfig": {"scaleDown": {"stabilizationWindowSeconds": 60}},
    "runtime.inferenceApi.image.repository": "public.ecr.aws/bingjiao/sd-on-eks/sdwebui",
    "runtime.inferenceApi.image.tag": "latest",
    "runtime.inferenceApi.modelMountPath": "/opt/ml/code/models",
    "runtime.inferenceApi.commandArguments": "--api",
    "runtime.inferenceApi.extraEnv": [{"name": "A", "value": "b"}],
    "runtime.inferenceApi.imagePullPolicy": "Always",
    "runtime.inferenceApi.resources": {"requests": {"nvidia.com/gpu": "1", "cpu": 2}, "limits": {"nvidia.com/gpu": 1}},
    "runtime.queueAgent.image.repository": "public.ecr.aws/bingjiao/sd-on-eks/queue-agent",
    "runtime.queueAgent.image.tag": "latest",
    "runtime.queueAgent.extraEnv": [{"name": "LOG_FORMAT", "value": "console"}],
    "runtime.queueAgent.imagePullPolicy": "Always",
    "runtime.queueAgent.resources": {"requests": {"cpu": "500m", "memory": "512Mi"}},
    "runtime.queueAgent.xray.enabled": False,
    "runtime.persistence.enabled": True,
    "runtime.persistence.existingClaim": "models",
    "runtime.persistence.existingVolume": "models",
    "runtime.persistence.labels": {"team": "images"},
    "runtime.persistence.annotations": {"owner": "images"},
    "runtime.persistence.storageClass": "efs-model-storage-sc",
    "runtime.persistence.size": "2Ti",
    "runtime.persistence.accessModes": ["ReadWriteMany"],
    "runtime.persistence.s3.enabled": True,
    # The same of its predecessor, where they had other names.
    "sdWebuiInferenceApi.labels": "",
    "sdWebuiInferenceApi.annotations": "",
    "sdWebuiInferenceApi.replicas": 1,
    "sdWebuiInferenceApi.scaling.enabled": True,
    "sdWebuiInferenceApi.scaling.queueLength": 10,
    "sdWebuiInferenceApi.inferenceApi.image.repository": "public.ecr.aws/bingjiao/sd-on-eks/inference-api",
    "sdWebuiInferenceApi.inferenceApi.extraEnv": {},
    "sdWebuiInferenceApi.queueAgent.extraEnv": {},
    "sdWebuiInferenceApi.queueAgent.XRay.enabled": True,
    "sdWebuiInferenceApi.persistence.storageClass": "efs-model-storage-sc",
    "sdWebuiInferenceApi.persistence.accessModes": "ReadWriteMany",
    "queueAgent.image.tag": "latest",
}

SET_BY_STACKS = [
    *("global.awsRegion", "global.stackName"),
    *("karpenter.nodeTemplate.securityGroupSelector", "karpenter.nodeTemplate.subnetSelector"),
    *("runtime.serviceAccountName", "runtime.inferenceApi.modelFilename", "runtime.queueAgent.dynamicModel"),
    "runtime.queueAgent.outputs",
    *("runtime.queueAgent.s3Bucket", "runtime.queueAgent.snsTopicArn", "runtime.queueAgent.sqsQueueUrl"),
    *("sdWebuiInferenceApi.serviceAccountName", "sdWebuiInferenceApi.queueAgent.sqsQueueUrl"),
]


def at(path: str, value: Any) -> dict[str, Any]:
    """Returns values with one key set."""
    for key in reversed(path.replace("nvidia.com", "nvidia·com").split(".")):
        value = {key.replace("·", "."): value}
    return dict(value)


def mappings(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[str]:
    """Returns the path of each mapping of the values whose keys are known."""
    if isinstance(values, dict) and schema.get("additionalProperties") is False:
        yield path
        for key, below in values.items():
            yield from mappings(schema["properties"][key], below, f"{path}.{key}".lstrip("."))


def test_the_readme_is_what_the_values_say() -> None:
    assert chart_readme.README.read_text() == chart_readme.readme(), "run `python -m cloud.chart_readme`"


def test_a_value_without_a_comment_is_not_published() -> None:
    with pytest.raises(chart_readme.UndocumentedError, match=r"a\.c"):
        chart_readme.rows("a:\n  # -- What it is.\n  b: 1\n  c: 2\n")


def test_every_default_passes_the_schema_and_helms_own_check() -> None:
    assert schema_faults(DEFAULTS) == []
    helm.lint({})


def test_every_mapping_refuses_a_key_that_it_does_not_know_by_its_path() -> None:
    places = list(mappings(SCHEMA, DEFAULTS))
    assert len(places) > 25
    for place in places:
        key = f"{place}.surprise".lstrip(".")
        assert [fault.split(": ")[0] for fault in schema_faults(merged(DEFAULTS, at(key, 1)))] == [key]


def test_scaling_has_the_defaults_that_planning_and_local_scaling_have() -> None:
    runtime = config_with({"runtime": {"scaling": DEFAULTS["runtime"]["scaling"]}}).runtimes[0]
    assert scaling_of(runtime) == Scaling()
    aliases = {field.alias or name for name, field in Scaling.model_fields.items()}
    assert set(DEFAULTS["runtime"]["scaling"]) == aliases


def test_nodes_run_the_pinned_release_of_their_system() -> None:
    node = DEFAULTS["karpenter"]["nodeTemplate"]
    assert f"{node['amiFamily'].lower()}@{node['amiVersion']}" == versions.BOTTLEROCKET


def test_the_chart_knows_every_type_of_runtime() -> None:
    assert set(SCHEMA["properties"]["runtime"]["properties"]["type"]["enum"]) >= {str(kind) for kind in RuntimeType}


@pytest.mark.parametrize("path", OPTIONS)
def test_every_documented_option_is_taken(path: str) -> None:
    values = values_with(at(path, OPTIONS[path]))
    assert values["runtime"]["queueAgent"]["sqsQueueUrl"] == PLACEMENT.queue_url
    if path.split(".", maxsplit=1)[0] in {"karpenter", "runtime"}:
        found: Any = values
        for key in path.split("."):
            found = found[key]
        assert found == OPTIONS[path]


@pytest.mark.parametrize("path", SET_BY_STACKS)
def test_what_the_stacks_set_cannot_be_set(path: str) -> None:
    with pytest.raises(ChartValuesError, match="set by the stacks") as refused:
        values_with(at(path, {"a": "b"} if path.endswith("Selector") else "mine"))
    assert str(refused.value).startswith("modelsRuntime.0.extraValues.")


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("runtime.scaling.queueLenght", 3, "did you mean 'queueLength'?"),
        ("runtime.scaling.queueLength", "3", "must be integer"),
        ("runtime.scaling.queueLength", 0, "less than the minimum"),
        ("runtime.inferenceApi.image.digest", "latest", "does not match"),
        ("runtime.queueAgent.recycle.by", "me", "must be one of nobody, api, probe"),
        ("runtime.persistence.s3.prefix", "models", "must end in a slash"),
        ("runtime.queueAgent.warmUp", {"tasktype": "text-to-image"}, "must have tasktype and content"),
        ("karpenter.nodeTemplate.amiFamily", "AL2", "must be Bottlerocket"),
        ("karpenter.nodeTemplate.amiVersion", "latest", "must be a release"),
        ("karpenter.nodeTemplate.dataVolume.volumeInitializationRate", 50, "must be 0, or 100 to 300"),
        ("karpenter.provisioner.instanceType", ["xlarge"], "must be an EC2 instance type"),
        (
            "karpenter.provisioner.capacityType",
            {"spot": False, "onDemand": False},
            "must allow spot, onDemand, reserved",
        ),
        ("karpenter.provisioner.instanceType", ["g5g.xlarge"], "must be of x86-64"),
        ("karpenter.nodeTemplate.dataVolume.kmsKeyID", "alias/disks", "must be the id or the ARN of a KMS key"),
        ("karpenter.nodeTemplate.capacityReservations", [{"id": "cr-0", "tags": {"a": "b"}}], "must name either id"),
        ("karpenter.provisioner.instanceType", ["p6e-gb200.36xlarge"], "must be of x86-64"),
        (
            "karpenter.provisioner.extraRequirements",
            [{"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}],
            "must not be kubernetes.io/arch",
        ),
        ("networkPolicy.clusterCidrs", [], "non-empty"),
        ("runtime.inferenceApi.securityContext.privileged", True, "must be false"),
        ("runtime.inferenceApi.securityContext.runAsUser", 10002, "must not be 10002, the agent's"),
        ("runtime.inferenceApi.securityContext.capabilities.add", ["SYS_PTRACE"], "Pod Security Standards"),
        ("runtime.inferenceApi.extraVolumeMounts", [{"name": "api-access", "mountPath": "/x"}], "the agent's alone"),
        ("runtime.extraVolumes", [{"name": "a", "hostPath": {"path": "/var/lib/kubelet"}}], "must be below /mnt"),
        ("runtime.extraVolumes", [{"name": "a", "hostPath": {"path": "/mnt/../proc"}}], "must be below /mnt"),
        (
            "runtime.extraVolumes",
            [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
            "the runtime gets no token",
        ),
        ("runtime.extraVolumes", [{"name": "models", "emptyDir": {}}], "must be another name"),
        ("runtime.podAnnotations", {"eks.amazonaws.com/skip-containers": ""}, "keeps the AWS credentials"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path_here_and_by_helm(path: str, value: Any, says: str) -> None:
    with pytest.raises(ChartValuesError) as refused:
        values_with(at(path, value))
    [line] = str(refused.value).splitlines()
    assert line.startswith(f"modelsRuntime.0.extraValues.{path}")
    assert says in line
    with pytest.raises(helm.HelmError) as found:
        helm.lint(at(path, value))
    parent, _, key = path.rpartition(".")
    assert f"'/{path.replace('.', '/')}" in str(found.value) or (
        f"'/{parent.replace('.', '/')}'" in str(found.value) and f"'{key}'" in str(found.value)
    )


@pytest.mark.parametrize(
    ("values", "path", "says"),
    [
        (
            {"karpenter": {"nodeTemplate": {"imageCache": "soci", "dataVolume": {"snapshotID": "snap-1"}}}},
            "karpenter.nodeTemplate.dataVolume.snapshotID",
            "must be empty while imageCache is soci",
        ),
        (
            {"runtime": {"queueAgent": {"gracePeriodSeconds": 91}}},
            "runtime.queueAgent.gracePeriodSeconds",
            "must be at most 90 with spot nodes",
        ),
        (
            {"runtime": {"persistence": {"storageClass": "efs", "s3": {"enabled": True}}}},
            "runtime.persistence.storageClass",
            "must be empty while persistence.s3.enabled",
        ),
        (
            {"runtime": {"queueAgent": {"recycle": {"by": "nobody", "afterTasks": 5}}}},
            "runtime.queueAgent.recycle.afterTasks",
            "nobody would restart the runtime",
        ),
        ({"runtime": {"scaling": {"minReplicaCount": 30}}}, "runtime.scaling", "minReplicaCount (30) must not exceed"),
        (
            {"runtime": {"inferenceApi": {"port": 9464}}},
            "runtime.queueAgent.healthPort",
            "must not be 9464, on which the runtime listens",
        ),
        (
            {"runtime": {"queueAgent": {"healthPort": 7860}}},
            "runtime.queueAgent.healthPort",
            "must not be 7860, on which the runtime listens",
        ),
        (
            {"runtime": {"inferenceApi": {"resources": {"limits": {"nvidia.com/gpu": "2"}}}}},
            "runtime.inferenceApi.resources",
            "must be the same among limits and requests",
        ),
        (
            {"runtime": {"scaling": {"maxReplicaCount": 1}, "canary": {"percent": 50}}},
            "runtime.canary.percent",
            "found runtime.scaling.maxReplicaCount 1: set it to 2 or more",
        ),
        (
            {"runtime": {"scaling": {"enabled": False}, "replicas": 1, "canary": {"percent": 50}}},
            "runtime.canary.percent",
            "found runtime.replicas 1: set it to 2 or more",
        ),
        (
            {"karpenter": {"provisioner": {"capacityType": {"reserved": True}}}},
            "karpenter.provisioner.capacityType.reserved",
            "name reservations, or neither",
        ),
        (
            {"karpenter": {"nodeTemplate": {"capacityReservations": [{"id": "cr-0"}]}}},
            "karpenter.provisioner.capacityType.reserved",
            "name reservations, or neither",
        ),
        (
            {"karpenter": {"nodeTemplate": {"osVolume": {"kmsKeyID": KEY, "encrypted": False}}}},
            "karpenter.nodeTemplate.osVolume.encrypted",
            "must be true with a kmsKeyID",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused_here_and_by_helm(
    values: dict[str, Any], path: str, says: str
) -> None:
    with pytest.raises(ChartValuesError) as refused:
        values_with(values)
    assert str(refused.value).startswith(f"modelsRuntime.0.extraValues.{path}: ")
    assert says in str(refused.value)
    with pytest.raises(helm.HelmError):
        helm.render(values)


def test_the_memory_of_a_runtime_that_does_not_tell_it_is_no_reason_to_restart_it() -> None:
    values = {"runtime": {"queueAgent": {"recycle": {"aboveRssBytes": 2**34}}}}
    with pytest.raises(ChartValuesError, match="must be 0 with types invokeai and openai"):
        values_with(merged(values, {}), type="invokeai")
    with pytest.raises(helm.HelmError):
        helm.render(merged(values, {"runtime": {"type": "invokeai"}}))
    for kind in (kind for kind in RuntimeType if KINDS[kind].tells_memory):
        assert values_with(values, type=kind)


@pytest.mark.parametrize("kind", RuntimeType)
def test_runs_may_wait_at_a_runtime_where_the_agent_can_have_them_wait(kind: RuntimeType) -> None:
    two = {"runtime": {"queueAgent": {"slots": 2}}}
    described: dict[str, Any] = {
        "runtime_name": "sdruntime",
        "runtime_type": kind,
        "api_base_url": "http://127.0.0.1:8000",
        "sqs_queue_url": PLACEMENT.queue_url,
        "sns_topic_arn": PLACEMENT.callback_topic_arn,
        "s3_bucket": PLACEMENT.output_bucket,
        "AWS_REGION": PLACEMENT.region,
        "slots": 2,
    }
    try:
        AgentSettings(**described)
        refused = set()
    except ValidationError as error:
        refused = {fault["loc"][0] for fault in error.errors()}
    assert refused <= {"slots"}
    if refused:
        says = f"runtime.queueAgent.slots: must be 1 for sdruntime, since type {kind} takes one run at a time; found 2"
        with pytest.raises(ChartValuesError, match=says):
            values_with(two, type=kind)
        placed = {"global": {"runtime": "sdruntime"}, "runtime": {"type": str(kind)}}
        with pytest.raises(helm.HelmError, match=says):
            helm.render(merged(two, placed))
    else:
        assert environment(released(two, type=kind).pod()["containers"][0])["SLOTS"] == "2"


def test_without_spot_nodes_a_task_may_take_its_time_to_finish() -> None:
    values = {
        "karpenter": {"provisioner": {"capacityType": {"spot": False}}},
        "runtime": {"queueAgent": {"gracePeriodSeconds": 1800}},
    }
    assert released(values).pod()["terminationGracePeriodSeconds"] == 1815


def test_old_names_mean_what_they_meant_and_are_told() -> None:
    old = {
        "sdWebuiInferenceApi": {
            "scaling": {"queueLength": 3},
            "queueAgent": {"XRay": {"enabled": False}},
            "persistence": {"storageClass": "efs-model-storage-sc", "accessModes": "ReadWriteMany"},
        },
        "queueAgent": {"image": {"repository": "mine", "tag": "v1"}},
    }
    new = {
        "runtime": {
            "scaling": {"queueLength": 3},
            "queueAgent": {"xray": {"enabled": False}, "image": {"repository": "mine", "tag": "v1"}},
            "persistence": {
                "storageClass": "efs-model-storage-sc",
                "accessModes": ["ReadWriteMany"],
                "s3": {"enabled": False},
            },
        }
    }
    assert values_with(old) == values_with(new)
    where = "modelsRuntime.0.extraValues"
    assert old_names(config_with(old)) == [
        f"{where}.sdWebuiInferenceApi: is called runtime now",
        f"{where}.queueAgent: is called runtime.queueAgent now",
        f"{where}.runtime.queueAgent.XRay: is called runtime.queueAgent.xray now",
        f"{where}.runtime.persistence.storageClass: turns runtime.persistence.s3.enabled off",
    ]
    assert old_names(config_with(new)) == []


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"sdWebuiInferenceApi": {"replicas": 1}, "runtime": {"replicas": 2}},
            "sdWebuiInferenceApi.replicas: is there as runtime.replicas too; remove one of them",
        ),
        (
            {"runtime": {"queueAgent": {"xray": {"daemon": {"image": {"tag": "3.3.14"}}}}}},
            "runtime.queueAgent.xray.daemon: there is no daemon any more; "
            "runtime.queueAgent.xray.endpoint names the OTLP collector that gets the traces",
        ),
        (
            {"karpenter": {"nodeTemplate": {"instanceStorePolicy": "RAID0"}}},
            "karpenter.nodeTemplate.instanceStorePolicy: set karpenter.nodeTemplate.imageCache to soci, "
            "which uses the instance's own disks",
        ),
        ({"queueAgent": {}, "runtime": 5}, "queueAgent: belongs under runtime, which is 5"),
    ],
)
def test_what_has_no_meaning_any_more_is_refused_with_what_to_set_instead(values: dict[str, Any], line: str) -> None:
    with pytest.raises(ChartValuesError) as refused:
        values_with(values)
    assert str(refused.value) == f"modelsRuntime.0.extraValues.{line}"


WORDS = sorted({word for path in OPTIONS for word in path.split(".")} | {"daemon", "s3", "instanceStorePolicy"})
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3), st.just({})),
    lambda below: st.one_of(
        st.lists(below, max_size=2), st.dictionaries(st.sampled_from(WORDS), below, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from(["runtime", "karpenter", "sdWebuiInferenceApi", "queueAgent"]), ANYTHING))
def test_whatever_is_set_is_taken_or_refused_in_words(values: dict[str, Any]) -> None:
    taken: dict[str, Any] | None = None
    refusal = ""
    try:
        taken = values_with(values)
    except ChartValuesError as error:
        refusal = str(error)
    if taken is not None:
        assert schema_faults(merged(DEFAULTS, taken)) == []
    else:
        assert all(line.startswith("modelsRuntime.0.extraValues.") for line in refusal.split("\n"))


def test_what_an_alias_shares_is_changed_in_its_own_place_alone() -> None:
    shared = yaml.safe_load("runtime: &shared {}\nqueueAgent: [*shared]\n")
    assert translate(shared).values == {"runtime": {"queueAgent": [{}]}}


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from(["runtime", "karpenter", "sdWebuiInferenceApi", "queueAgent"]), ANYTHING))
def test_todays_names_mean_themselves(values: dict[str, Any]) -> None:
    before = json.dumps(values)
    once = translate(values)
    assert json.dumps(values) == before, "the config is left as it is"
    if not once.refusals:
        again = translate(once.values)
        assert (again.values, again.notes) == (once.values, ())


@pytest.mark.parametrize(
    ("reference", "own", "image"),
    [
        ("r.example:5000/a/b", {}, "r.example:5000/a/b"),
        ("r.example:5000/a/b:v1", {}, "r.example:5000/a/b:v1"),
        ("r.example:5000/a/b:v1@sha256:" + "c" * 64, {}, "r.example:5000/a/b@sha256:" + "c" * 64),
        ("r.example/b@sha256:" + "c" * 64, {"tag": "v2"}, "r.example/b:v2"),
        ("r.example/b@sha256:" + "c" * 64, {"repository": "mine", "tag": "v2"}, "mine:v2"),
        ("r.example/b:v1", {"digest": "sha256:" + "d" * 64}, "r.example/b@sha256:" + "d" * 64),
        ("${Token[TOKEN.12]}/b:v1", {}, "${Token[TOKEN.12]}/b:v1"),
    ],
)
def test_an_image_runs_by_what_names_it_best(reference: str, own: dict[str, str], image: str) -> None:
    values = {"runtime": {"inferenceApi": {"image": own}}} if own else {}
    release = released(values, placed={"runtime_image": reference})
    assert release.pod()["initContainers"][0]["image"] == image


def test_the_caches_snapshot_yields_to_the_runtimes_own_and_to_soci() -> None:
    def snapshot(values: dict[str, Any]) -> Any:
        node = released(values, placed={"snapshot_id": "snap-11"}).one("EC2NodeClass")
        return node["spec"]["blockDeviceMappings"][1]["ebs"].get("snapshotID")

    assert snapshot({}) == "snap-11"
    assert snapshot(at("karpenter.nodeTemplate.dataVolume.snapshotID", "snap-22")) == "snap-22"
    assert snapshot(at("karpenter.nodeTemplate.imageCache", "soci")) is None


def test_the_values_stay_plain_yaml() -> None:
    assert yaml.safe_load(json.dumps(values_with({}))) == values_with({})
