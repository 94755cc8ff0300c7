"""Makes the values of one runtime's Helm release of config.yaml and of what the stacks have made."""

from __future__ import annotations

import copy
import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jsonschema
import yaml

from cloud import names
from cloud.chart_names import Path, Values, translate
from cloud.helm import CHART
from cloud.names import split_image
from contract.config import Config, ModelStorage, RuntimeConfig
from contract.runtimes import KINDS
from contract.scaling.settings import ScalingError, scaling_of
from contract.topology import Topology


class ChartValuesError(Exception):
    """Values that the chart does not take; one line for each: `modelsRuntime.N.extraValues.path.to.key: …`."""


@dataclass(frozen=True)
class Placement:
    """What config.yaml does not know about a release, because the stacks make it. Strings may be CDK tokens."""

    region: str
    cluster_name: str
    queue_url: str
    dead_letter_url: str
    callback_topic_arn: str
    output_bucket: str
    agent_image: str
    """`repository:tag` or `repository@sha256:…`, as for the next."""
    runtime_image: str
    node_role: str
    """Name (not ARN) of the role that Karpenter gives its nodes."""
    model_bucket: str = ""
    """Empty: the models are not in S3, see `storage_class`."""
    storage_class: str = ""
    """StorageClass of the models' volume when it is EFS; empty: S3."""
    webhook_queue_url: str = ""
    """Empty: tasks name no webhooks."""
    input_buckets: tuple[str, ...] = ()
    """Buckets besides the output bucket that inputs may come from."""
    snapshot_id: str = ""
    """EBS snapshot with the images; empty: none."""
    otlp_endpoint: str = ""
    """Where the agent's traces go, such as http://collector.ns:4318; empty: no tracing."""
    subnet_tags: Mapping[str, str] = field(default_factory=dict)
    """Which subnets get nodes; empty: `karpenter.sh/discovery` = the cluster's name. The next likewise."""
    security_group_tags: Mapping[str, str] = field(default_factory=dict)


def placement(config: Config, runtime: RuntimeConfig, place: Topology, *, traces: str) -> Placement:
    """Returns what the stacks make for a runtime's release."""
    queue = place.queue(runtime.name)
    on_efs = config.cloud.model_storage is ModelStorage.EFS
    return Placement(
        region=place.region,
        cluster_name=config.stack_name,
        queue_url=names.queue_url(place, queue.name),
        dead_letter_url=names.queue_url(place, queue.dead_letter_name),
        webhook_queue_url=names.queue_url(place, place.webhooks) if config.cloud.webhooks else "",
        callback_topic_arn=place.callback_topic_arn,
        output_bucket=place.output_bucket,
        input_buckets=config.cloud.input_buckets,
        agent_image=names.image(config, "agent", account=place.account, region=place.region),
        runtime_image=names.image(config, runtime.type, account=place.account, region=place.region),
        node_role=names.node_role(config, place.region),
        model_bucket="" if on_efs else place.model_bucket,
        storage_class=names.STORAGE_CLASS if on_efs else "",
        snapshot_id=config.cloud.image_cache.snapshot_id,
        otlp_endpoint=traces,
        # The cluster's own security group, which EKS makes and tags.
        security_group_tags={f"kubernetes.io/cluster/{config.stack_name}": "owned"},
    )


def service_account_name(runtime: RuntimeConfig) -> str:
    """Returns the service account that a runtime's pods run as, for its Pod Identity association."""
    return runtime.name


def release_values(config: Config, runtime: RuntimeConfig, placement: Placement) -> Values:
    """Returns the values of a runtime's release: its `extraValues`, and what the stacks have made.

    The chart's own defaults are left to Helm. What the runtime sets has been checked against the chart's schema.

    Raises:
        ChartValuesError: the chart does not take a key or value, or the stacks set that key.
    """
    where = _where(config, runtime)
    translation = translate(runtime.extra_values)
    own = translation.values
    faults = [*translation.refusals, *_set_by_stacks(own)]
    if faults:
        raise ChartValuesError("\n".join(f"{where}.{fault}" for fault in faults))
    values = merged(_proposed(config, runtime, own, placement), own)
    lines = [f"{where}.{fault}" for fault in schema_faults(merged(chart_defaults(), values))]
    if not lines:
        try:
            # Rules that a schema cannot say, such as one figure below another.
            scaling_of(runtime.model_copy(update={"extra_values": own}), where)
        except ScalingError as error:
            lines = str(error).splitlines()
        whole = merged(chart_defaults(), values)
        lines += [
            f"{where}.{fault}"
            for fault in (
                *_slot_faults(runtime, values),
                *_port_faults(runtime, whole),
                *_gpu_faults(whole),
                *_canary_faults(whole),
                *_reservation_faults(whole),
                *_memory_faults(runtime, whole),
                *_signer_faults(runtime, whole),
            )
        ]
    if lines:
        raise ChartValuesError("\n".join(lines))
    return merged(values, _made(config, runtime, placement))


def values_in_force(runtime: RuntimeConfig) -> Values:
    """Returns what holds for a runtime's release before the stacks set theirs: its own values over the defaults."""
    return merged(chart_defaults(), translate(runtime.extra_values).values)


def volume_keys(config: Config) -> frozenset[str]:
    """Returns the KMS keys, by id or ARN, that the volumes of runtimes' nodes are encrypted with."""
    found = set()
    for runtime in config.runtimes:
        values = values_in_force(runtime)
        # A chart of somebody else may call other things so.
        node = values["karpenter"].get("nodeTemplate", {})
        found |= {node.get(volume, {}).get("kmsKeyID", "") for volume in ("osVolume", "dataVolume")}
    return frozenset(found - {""})


def old_names(config: Config) -> list[str]:
    """Returns one line for each key of `extraValues` that has another name today, with the new one."""
    return [
        f"{_where(config, runtime)}.{note}"
        for runtime in config.runtimes
        for note in translate(runtime.extra_values).notes
    ]


def chart_defaults() -> Values:
    """Returns the chart's own values."""
    return copy.deepcopy(_parsed_defaults())


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Values:
    """Returns both, as Helm merges values: mappings by key, anything else by the latter."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def schema_faults(values: Values) -> list[str]:
    """Returns one line for each value that the chart's schema refuses, as `path.to.key: what is wrong`."""
    faults = sorted(_validator().iter_errors(values), key=lambda fault: [str(part) for part in fault.absolute_path])
    return list(dict.fromkeys(line for fault in faults for line in _lines(fault)))


_AS_MADE: Final[Values] = {"confinement": "image"}
_GPU: Final = "nvidia.com/gpu"

_SET_BY_STACKS: Final[tuple[Path, ...]] = (
    ("global", "awsRegion"),
    ("global", "stackName"),
    ("global", "clusterName"),
    ("global", "runtime"),
    ("karpenter", "nodeTemplate", "iamRole"),
    ("karpenter", "nodeTemplate", "securityGroupSelector"),
    ("karpenter", "nodeTemplate", "subnetSelector"),
    ("runtime", "type"),
    ("runtime", "serviceAccountName"),
    ("runtime", "inferenceApi", "modelFilename"),
    ("runtime", "queueAgent", "dynamicModel"),
    ("runtime", "queueAgent", "s3Bucket"),
    ("runtime", "queueAgent", "inputS3Buckets"),
    ("runtime", "queueAgent", "outputs"),
    ("runtime", "queueAgent", "snsTopicArn"),
    ("runtime", "queueAgent", "sqsQueueUrl"),
    ("runtime", "queueAgent", "sqsDeadLetterUrl"),
    ("runtime", "queueAgent", "webhookQueueUrl"),
    ("runtime", "persistence", "s3", "modelBucket"),
)
"""What the documentation calls "populated by CDK, not changeable"."""


def _where(config: Config, runtime: RuntimeConfig) -> str:
    return f"modelsRuntime.{config.runtimes.index(runtime)}.extraValues"


def _set_by_stacks(own: Values) -> list[str]:
    faults = []
    for path in _SET_BY_STACKS:
        value: Any = own
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            faults.append(f"{'.'.join(path)}: is set by the stacks; remove it")
    return faults


def _proposed(config: Config, runtime: RuntimeConfig, own: Values, placement: Placement) -> Values:
    """Returns what holds unless the runtime's own values say otherwise."""
    repository = _under(own, "inferenceApi").get("repository") or split_image(placement.runtime_image)[0]
    values: Values = {
        "global": {},
        "karpenter": {},
        "runtime": {
            "inferenceApi": {
                "image": _image(placement.runtime_image, _under(own, "inferenceApi")),
                # What others build may want to be root, and to write beside its code.
                # (Another chart may not know it.)
                **({} if runtime.chart_repository or _is_built_here(config, runtime, repository) else _AS_MADE),
            },
            "queueAgent": {
                "image": _image(placement.agent_image, _under(own, "queueAgent")),
                **({"callbackErrors": True} if config.cloud.callback_errors else {}),
            },
        },
    }
    if placement.otlp_endpoint:
        values["runtime"]["queueAgent"]["xray"] = {"endpoint": placement.otlp_endpoint}
    if placement.storage_class:
        values["runtime"]["persistence"] = {"storageClass": placement.storage_class, "s3": {"enabled": False}}
    node: Any = own.get("karpenter")
    node = node.get("nodeTemplate") if isinstance(node, dict) else None
    if placement.snapshot_id and not (isinstance(node, dict) and node.get("imageCache") == "soci"):
        values["karpenter"] = {"nodeTemplate": {"dataVolume": {"snapshotID": placement.snapshot_id}}}
    return values


def _is_built_here(config: Config, runtime: RuntimeConfig, repository: Any) -> bool:
    """Tells whether an image is one of those that `deploy` builds (local/runtimes), or a canary of it was."""
    own = names.repositories(config)[runtime.type]
    return KINDS[runtime.type].built_here and str(repository).endswith(f"/{own}")


def _made(config: Config, runtime: RuntimeConfig, placement: Placement) -> Values:
    """Returns what the stacks know alone."""
    outputs = runtime.outputs.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    agent: Values = {
        "dynamicModel": runtime.dynamic_model,
        "s3Bucket": placement.output_bucket,
        # An older chart of this repository does not know it.
        **({"inputS3Buckets": list(placement.input_buckets)} if placement.input_buckets else {}),
        # An older chart of this repository does not know it.
        **({"outputs": outputs} if outputs else {}),
        "snsTopicArn": placement.callback_topic_arn,
        "sqsQueueUrl": placement.queue_url,
        "sqsDeadLetterUrl": placement.dead_letter_url,
        # An older chart of this repository does not know it.
        **({"webhookQueueUrl": placement.webhook_queue_url} if placement.webhook_queue_url else {}),
    }
    values: Values = {
        "global": {
            "awsRegion": placement.region,
            "stackName": config.stack_name,
            "clusterName": placement.cluster_name,
            "runtime": runtime.name,
        },
        "karpenter": {
            "nodeTemplate": {
                "iamRole": placement.node_role,
                "subnetSelector": dict(placement.subnet_tags),
                "securityGroupSelector": dict(placement.security_group_tags),
            }
        },
        "runtime": {
            "type": str(runtime.type),
            "serviceAccountName": service_account_name(runtime),
            "inferenceApi": {"modelFilename": runtime.static_checkpoint or ""},
            "queueAgent": agent,
        },
    }
    if placement.model_bucket:
        values["runtime"]["persistence"] = {"s3": {"modelBucket": placement.model_bucket}}
    return values


def _slot_faults(runtime: RuntimeConfig, values: Values) -> list[str]:
    """Returns a line when a runtime is to have runs wait at it, and its type has no way to (agent/settings.py)."""
    slots = values["runtime"]["queueAgent"].get("slots", 1)
    if slots == 1 or KINDS[runtime.type].queues:
        return []
    return [
        f"runtime.queueAgent.slots: must be 1 for {runtime.name}, since type {runtime.type} takes one run at a time; "
        f"found {slots}: leave it out"
    ]


def _port_faults(runtime: RuntimeConfig, values: Values) -> list[str]:
    """Returns a line when agent and runtime, which share the pod's ports, would listen on the same one."""
    port = values["runtime"]["inferenceApi"]["port"] or KINDS[runtime.type].port
    if values["runtime"]["queueAgent"]["healthPort"] != port:
        return []
    return [f"runtime.queueAgent.healthPort: must not be {port}, on which the runtime listens: set another"]


def _memory_faults(runtime: RuntimeConfig, values: Values) -> list[str]:
    """Returns a line when a runtime is to be restarted for its memory, and does not tell it."""
    if KINDS[runtime.type].tells_memory or not values["runtime"]["queueAgent"]["recycle"]["aboveRssBytes"]:
        return []
    return [
        "runtime.queueAgent.recycle.aboveRssBytes: must be 0 with types invokeai and openai, which do not tell how "
        "much memory they take; use afterTasks"
    ]


def _signer_faults(runtime: RuntimeConfig, values: Values) -> list[str]:
    """Returns a line when results are to be signed, and nothing says by what (agent/settings.py)."""
    named = {item.get("name") for item in values["runtime"]["queueAgent"].get("extraEnv", [])}
    if not runtime.outputs.content_credentials or runtime.outputs.signing_secret_arn or "CREDENTIALS_SIGNER" in named:
        return []
    return [
        "runtime.queueAgent.extraEnv: must have CREDENTIALS_SIGNER, since outputs.contentCredentials is true; or set "
        "outputs.signingSecretArn"
    ]


def _gpu_faults(values: Values) -> list[str]:
    """Returns a line when a pod would ask for other GPUs than it may have, which Kubernetes refuses."""
    amounts = values["runtime"]["inferenceApi"]["resources"]
    limit, request = (str(amounts.get(part, {}).get(_GPU, "")) for part in ("limits", "requests"))
    if request in {"", limit}:
        return []
    return [
        f"runtime.inferenceApi.resources: {_GPU} must be the same among limits and requests, as Kubernetes wants of "
        f"GPUs; found limits {limit or 'without it'} and requests {request}: set both"
    ]


def _canary_faults(values: Values) -> list[str]:
    """Returns a line when one pod would have to be a canary's and everybody's."""
    runtime = values["runtime"]
    scaled = runtime["scaling"]["enabled"]
    if (
        not runtime["canary"]["percent"]
        or (runtime["scaling"]["maxReplicaCount"] if scaled else runtime["replicas"]) != 1
    ):
        return []
    key = "scaling.maxReplicaCount" if scaled else "replicas"
    return [
        "runtime.canary.percent: a canary's pods come out of those that there may be, so there must be two; found "
        f"runtime.{key} 1: set it to 2 or more, or percent to 0"
    ]


def _reservation_faults(values: Values) -> list[str]:
    """Returns a line when reserved capacity is wanted and not named, or named and not wanted."""
    karpenter = values["karpenter"]
    wanted = karpenter["provisioner"]["capacityType"]["reserved"]
    if wanted == bool(karpenter["nodeTemplate"]["capacityReservations"]):
        return []
    return [
        "karpenter.provisioner.capacityType.reserved: goes together with nodeTemplate.capacityReservations: set it to "
        "true and name reservations, or neither"
    ]


def _under(own: Values, part: str) -> Values:
    """Returns the image that a runtime's own values give a part, as far as they do."""
    value: Any = own
    for key in ("runtime", part, "image"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _image(reference: str, own: Values) -> Values:
    """Returns an image as the chart's values; a repository or tag of the runtime's own leaves no digest beside it."""
    if own.get("repository"):
        return {}
    repository, tag, digest = split_image(reference)
    return {"repository": repository, "tag": tag, "digest": "" if own.get("tag") else digest}


@functools.cache
def _parsed_defaults() -> Values:
    defaults: Values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return defaults


@functools.cache
def _validator() -> Any:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(schema)


def _lines(fault: Any) -> list[str]:
    """Returns a fault of the schema in words; `$comment` beside a rule says what it wants."""
    where = ".".join(str(part) for part in fault.absolute_path)
    if fault.validator == "additionalProperties":
        allowed = sorted(fault.schema.get("properties", ()))
        return [_unknown(where, key, allowed) for key in fault.instance if key not in allowed]
    found = json.dumps(fault.instance, ensure_ascii=False)
    found = found if len(found) <= 80 else f"{found[:77]}…"
    if wanted := fault.schema.get("$comment"):
        return [f"{where}: {wanted}; found {found}"]
    if fault.validator == "type":
        types = fault.validator_value
        return [f"{where}: must be {types if isinstance(types, str) else ' or '.join(types)}; found {found}"]
    if fault.validator == "enum":
        return [f"{where}: must be one of {', '.join(map(str, fault.validator_value))}; found {found}"]
    return [f"{where}: {fault.message}"]


def _unknown(where: str, key: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(key, allowed, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{f'{where}.' if where else ''}{key}: unknown key; {hint}allowed here: {', '.join(allowed)}"
