"""The API in the cluster, as Kubernetes objects: the image of the local stack with other settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from cloud.constructs.pods import CONFINED, probe, to_aws, to_dns, unprivileged
from contract.config import Config
from contract.task import SNS_MESSAGE_LIMIT

NAMESPACE: Final = "darkroom"
NAME: Final = "api"
PORT: Final = 8000
USER: Final = 10001
"""The user of the image."""

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
"""Amazon API Gateway quotas, "Payload size": a larger body does not arrive."""

MAX_WAIT_SECONDS: Final = 25
"""Amazon API Gateway quotas, "Integration timeout": it hangs up after 29 seconds."""

GRACE_SECONDS: Final = 10
DEREGISTRATION_SECONDS: Final = 20
"""How long a pod that is to go still gets requests: the load balancer hears of it late."""

type Manifest = dict[str, Any]


@dataclass(frozen=True)
class ApiSettings:
    """What the API is told about where it runs. Strings may be CDK tokens."""

    image: str
    environment: dict[str, str]
    target_group_arn: str
    load_balancer_cidrs: tuple[str, ...]
    """The subnets in which there is the load balancer alone."""


def api_config(config: Config) -> str:
    """Returns the config.yaml that the API reads: the deployment's, without what only the cloud's tools read.

    So that a change of a node pool does not restart the API.
    """
    document = config.model_dump(
        mode="json",
        by_alias=True,
        exclude_unset=True,
        exclude={
            "cloud": True,
            "api_gateway": {"tenants", "admins", "shared", "secret_version"},
            "runtimes": {"__all__": {"extra_values", "chart_repository", "chart_version", "chart_name"}},
        },
    )
    return yaml.safe_dump(document, sort_keys=True, allow_unicode=True)


def api_environment(
    config: Config, *, region: str, task_topic: str, callback_topic: str, bucket: str, gateway_secret_arn: str
) -> dict[str, str]:
    """Returns the API's settings, by the names of `api/settings.py`; no secret is among them."""
    gateway, kib = config.api_gateway, config.cloud.task_message_kib
    # The gateway has checked the key itself, and tells the API its id.
    keys = {"API_KEYS": _key_ids(gateway.tenants), "API_ADMIN_KEYS": _key_ids(gateway.admins)}
    return {
        **{name: value for name, value in keys.items() if value},
        **({"API_KEYS_SHARED": "true"} if gateway.shared else {}),
        **({"TASK_MESSAGE_BYTES": str(kib * 1024)} if kib * 1024 > SNS_MESSAGE_LIMIT else {}),
        **({"CALLBACK_ERRORS": "true"} if config.cloud.callback_errors else {}),
        **({} if config.cloud.keep_requests else {"KEEP_REQUESTS": "false"}),
        "AWS_REGION": region,
        "CALLBACK_TOPIC_ARN": callback_topic,
        "GATEWAY_SECRET_ARN": gateway_secret_arn,
        "GRACE_PERIOD_SECONDS": str(GRACE_SECONDS),
        "INPUT_MAX_BYTES": str(MAX_BODY_BYTES),
        "MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "MAX_WAIT_SECONDS": str(MAX_WAIT_SECONDS),
        "ROOT_PATH": f"/{config.api_gateway.stage_name}",
        "S3_BUCKET": bucket,
        "TASK_TOPIC_ARN": task_topic,
        "UPLOAD_MAX_BYTES": str(config.cloud.upload_max_mib * 1024 * 1024),
    }


def _key_ids(named: Mapping[str, Sequence[str]]) -> str:
    return ",".join(f"{name}={key}" for name, ids in named.items() for key in ids)


def namespace_manifest() -> Manifest:
    """Returns the namespace of the API and of the collector of traces."""
    # A rollout ends a pod only when the load balancer sends requests to the next one: minutes after that is ready for
    # Kubernetes (AWS Load Balancer Controller, "Pod readiness gate").
    labels = {"elbv2.k8s.aws/pod-readiness-gate-inject": "enabled"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def api_manifests(config: Config, settings: ApiSettings) -> list[Manifest]:
    """Returns all that the API is in the cluster, in its namespace."""
    text = api_config(config)
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata()},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(), "data": {"config.yaml": text}},
        _deployment(settings, digest=hashlib.sha256(text.encode()).hexdigest()),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(),
            "spec": {"selector": _labels(), "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _metadata(),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _labels()}},
        },
        _network_policy(settings),
        {
            "apiVersion": "elbv2.k8s.aws/v1beta1",
            "kind": "TargetGroupBinding",
            # Of an own name: a binding's target group cannot be changed.
            "metadata": {**_metadata(), "name": f"{NAME}-entrance"},
            "spec": {
                "targetGroupARN": settings.target_group_arn,
                "targetType": "ip",
                "serviceRef": {"name": NAME, "port": PORT},
            },
        },
    ]


def _labels() -> dict[str, str]:
    return {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "darkroom"}


def _metadata() -> Manifest:
    return {"name": NAME, "namespace": NAMESPACE, "labels": _labels()}


def _deployment(settings: ApiSettings, *, digest: str) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(),
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": _labels()},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                # Another config is another pod: the API reads it once.
                "metadata": {"labels": _labels(), "annotations": {"darkroom/config": digest}},
                "spec": _pod(settings),
            },
        },
    }


def _pod(settings: ApiSettings) -> Manifest:
    return {
        "serviceAccountName": NAME,
        # It does not talk to the cluster; its AWS credentials come another way.
        "automountServiceAccountToken": False,
        "securityContext": unprivileged(USER),
        "terminationGracePeriodSeconds": DEREGISTRATION_SECONDS + GRACE_SECONDS + 5,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _labels()},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "containers": [_container(settings)],
        "volumes": [
            {"name": "config", "configMap": {"name": NAME}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }


def _container(settings: ApiSettings) -> Manifest:
    return {
        "name": NAME,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [{"name": name, "value": value} for name, value in sorted(settings.environment.items())],
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/darkroom", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
        ],
        "startupProbe": probe("/healthz", "http", period=2, failures=30),
        "readinessProbe": probe("/readyz", "http", period=5, failures=3),
        "livenessProbe": probe("/healthz", "http", period=10, failures=3),
        "lifecycle": {"preStop": {"sleep": {"seconds": DEREGISTRATION_SECONDS}}},
        "resources": {"requests": {"cpu": "200m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": CONFINED,
    }


def _network_policy(settings: ApiSettings) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(),
        "spec": {
            "podSelector": {"matchLabels": _labels()},
            "policyTypes": ["Ingress", "Egress"],
            # The load balancer's own addresses stand in for the gateway's. What the pod's own node asks, its probes
            # for one, Kubernetes always lets in ("Network Policies").
            "ingress": [
                {
                    "from": [{"ipBlock": {"cidr": cidr}} for cidr in settings.load_balancer_cidrs],
                    "ports": [{"port": PORT, "protocol": "TCP"}],
                }
            ],
            "egress": [
                to_dns(),
                # The collector of traces is in this namespace.
                {"to": [{"podSelector": {}}], "ports": [{"port": 4318, "protocol": "TCP"}]},
                *to_aws(),
            ],
        },
    }
