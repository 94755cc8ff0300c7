"""What delivers webhooks in the cluster: its pods, what they may do, and the secret that signs."""

from __future__ import annotations

from typing import Any, Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct, IDependable

from cloud import names
from cloud.constructs.api_manifests import NAMESPACE
from cloud.constructs.pod_identity import PodIdentity, allow
from cloud.constructs.pods import CONFINED, probe, to_aws, to_dns, unprivileged
from cloud.constructs.results import webhooks_access
from contract.config import Config
from contract.topology import Topology

NAME: Final = "webhooks"
PORT: Final = 8081
USER: Final = 10001
"""The user of the image."""

GRACE_SECONDS: Final = 20

_PRIVATE: Final = (
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
    *("127.0.0.0/8", "224.0.0.0/4"),
)
"""Where no receiver is, whatever a name says: the deliverer refuses them itself, and here is a second door."""

type Manifest = dict[str, Any]


class Webhooks(Construct):
    """Two pods of the *webhooks* image, which nobody calls."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        place: Topology,
        cluster: eks.ICluster,
        cdn: str,
        ready: IDependable,
    ) -> None:
        super().__init__(scope, construct_id)
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            description=f"{config.stack_name}: from this, the secrets are derived that sign webhooks",
            generate_secret_string=secretsmanager.SecretStringGenerator(password_length=48, exclude_punctuation=True),
            removal_policy=RemovalPolicy.DESTROY,
        )
        identity = PodIdentity(
            self,
            "Identity",
            cluster=cluster,
            namespace=NAMESPACE,
            service_account=NAME,
            statements=[
                *webhooks_statements(place),
                allow("Sign", ["secretsmanager:GetSecretValue"], [self.secret.secret_arn]),
            ],
        )
        environment = {
            "AWS_REGION": place.region,
            "WEBHOOK_QUEUE_URL": names.queue_url(place, place.webhooks),
            "WEBHOOK_DLQ_URL": names.queue_url(place, place.webhooks_dead_letter),
            "WEBHOOK_SECRETS_ARN": self.secret.secret_arn,
            "S3_BUCKET": place.output_bucket,
            "HEALTH_PORT": str(PORT),
            "GRACE_PERIOD_SECONDS": str(GRACE_SECONDS),
            **({"CDN_BASE_URL": cdn} if cdn else {}),
        }
        image = names.image(config, NAME, account=place.account, region=place.region)
        manifests = eks.KubernetesManifest(
            self, "Manifests", cluster=cluster, manifest=webhooks_manifests(image, environment)
        )
        manifests.node.add_dependency(identity, ready)


def webhooks_statements(place: Topology) -> list[iam.PolicyStatement]:
    """Returns what the deliverer may do: take nudges and put them off, bury what was given up, and keep its ledgers."""
    return [
        allow(
            "TakeNudges",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:SendMessage"],
            [place.queue_arn(place.webhooks)],
        ),
        allow("Bury", ["sqs:SendMessage"], [place.queue_arn(place.webhooks_dead_letter)]),
        *webhooks_access(place),
    ]


def webhooks_manifests(image: str, environment: dict[str, str]) -> list[Manifest]:
    """Returns all that the deliverer is in the cluster, in the API's namespace; the strings may be CDK tokens."""
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata()},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _metadata(),
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": _labels()},
                "template": {"metadata": {"labels": _labels()}, "spec": _pod(image, environment)},
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _metadata(),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _labels()}},
        },
        _network_policy(),
    ]


def _labels() -> dict[str, str]:
    return {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "darkroom"}


def _metadata() -> Manifest:
    return {"name": NAME, "namespace": NAMESPACE, "labels": _labels()}


def _pod(image: str, environment: dict[str, str]) -> Manifest:
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "securityContext": unprivileged(USER),
        "terminationGracePeriodSeconds": GRACE_SECONDS + 10,
        "containers": [
            {
                "name": NAME,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "ports": [{"name": "health", "containerPort": PORT}],
                "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the container's own
                "startupProbe": probe("/healthz", "health", period=2, failures=30),
                "readinessProbe": probe("/readyz", "health", period=10, failures=3),
                "livenessProbe": probe("/healthz", "health", period=10, failures=3),
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "384Mi"}},
                "securityContext": CONFINED,
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def _network_policy() -> Manifest:
    """Returns who may talk to whom: nobody to it, and it to DNS, to AWS and to the public network."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(),
        "spec": {
            "podSelector": {"matchLabels": _labels()},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [
                to_dns(),
                *to_aws(),
                # Receivers listen where they like.
                {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(_PRIVATE)}}]},
            ],
        },
    }
