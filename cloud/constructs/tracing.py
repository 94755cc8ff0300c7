"""Traces: a collector (AWS Distro for OpenTelemetry) that takes OTLP from API and agents, and gives it to X-Ray."""

from __future__ import annotations

from typing import Any, Final

import yaml
from aws_cdk import Stack
from aws_cdk import aws_eks_v2 as eks
from constructs import Construct, IDependable

from cloud import versions
from cloud.constructs.pod_identity import PodIdentity, allow
from cloud.constructs.pods import CONFINED

NAME: Final = "traces"
OTLP: Final = 4318
HEALTH: Final = 13133
USER: Final = 10001


class Tracing(Construct):
    """One collector in the API's namespace; traces that it loses are no harm."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: eks.ICluster,
        namespace: str,
        ready: IDependable,
        image: str = "",
    ) -> None:
        super().__init__(scope, construct_id)
        self.endpoint = f"http://{NAME}.{namespace}:{OTLP}"
        identity = PodIdentity(
            self,
            "Identity",
            cluster=cluster,
            namespace=namespace,
            service_account=NAME,
            # X-Ray has no resources in IAM for these.
            statements=[allow("Trace", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"])],
        )
        manifests = eks.KubernetesManifest(
            self,
            "Manifests",
            cluster=cluster,
            manifest=collector_manifests(namespace, region=Stack.of(self).region, image=image or versions.COLLECTOR),
        )
        manifests.node.add_dependency(identity, ready)


def collector_config(region: str) -> dict[str, Any]:
    """Returns the collector's configuration."""
    return {
        "extensions": {"health_check": {"endpoint": f"0.0.0.0:{HEALTH}"}},
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"0.0.0.0:{OTLP}"}}}},
        "processors": {
            "memory_limiter": {"check_interval": "1s", "limit_percentage": 75, "spike_limit_percentage": 20},
            "batch": {},
        },
        "exporters": {"awsxray": {"region": region}},
        "service": {
            "extensions": ["health_check"],
            "pipelines": {
                "traces": {
                    "receivers": ["otlp"],
                    "processors": ["memory_limiter", "batch"],
                    "exporters": ["awsxray"],
                }
            },
        },
    }


def collector_manifests(namespace: str, *, region: str, image: str) -> list[dict[str, Any]]:
    """Returns the collector as Kubernetes objects."""
    labels = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "darkroom"}
    metadata = {"name": NAME, "namespace": namespace, "labels": labels}
    container = {
        "name": "collector",
        "image": image,
        "args": ["--config=/etc/collector/config.yaml"],
        "ports": [{"name": "otlp", "containerPort": OTLP}],
        "readinessProbe": {"httpGet": {"path": "/", "port": HEALTH}},
        "livenessProbe": {"httpGet": {"path": "/", "port": HEALTH}},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": CONFINED,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/collector", "readOnly": True}],
    }
    pod = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"config.yaml": yaml.safe_dump(collector_config(region))},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"name": "otlp", "port": OTLP, "targetPort": "otlp"}]},
        },
    ]
