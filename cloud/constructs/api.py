"""The API: its pods, and what they may do."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct, IDependable

from cloud import names
from cloud.constructs.api_manifests import NAME, NAMESPACE, ApiSettings, api_environment, api_manifests
from cloud.constructs.front_door import FrontDoor
from cloud.constructs.pod_identity import PodIdentity, allow
from cloud.constructs.results import api_access
from contract.config import Config
from contract.topology import Topology


class Api(Construct):
    """Two pods of the *api* image behind a target group."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        place: Topology,
        cluster: eks.ICluster,
        front_door: FrontDoor,
        traces: str,
        cdn: str,
        webhook_secret: secretsmanager.ISecret | None = None,
        ready: Sequence[IDependable],
    ) -> None:
        """Makes it.

        Args:
            scope: of the construct.
            construct_id: of the construct.
            config: of the deployment.
            place: its topology.
            cluster: where the pods run.
            front_door: by which alone they are reached.
            traces: the collector's OTLP endpoint.
            cdn: address of the delivery network; empty: results are fetched from S3 by presigned links.
            webhook_secret: what signs webhooks; None: tasks may name none.
            ready: what must be there first: the namespace, and the kind TargetGroupBinding.
        """
        super().__init__(scope, construct_id)
        identity = PodIdentity(
            self,
            "Identity",
            cluster=cluster,
            namespace=NAMESPACE,
            service_account=NAME,
            statements=[
                *api_statements(place),
                allow("KnowTheGateway", ["secretsmanager:GetSecretValue"], [front_door.secret.secret_arn]),
                *(
                    [allow("ShowWhatSigns", ["secretsmanager:GetSecretValue"], [webhook_secret.secret_arn])]
                    if webhook_secret
                    else []
                ),
            ],
        )
        environment = api_environment(
            config,
            region=place.region,
            task_topic=place.task_topic_arn,
            callback_topic=place.callback_topic_arn,
            bucket=place.output_bucket,
            gateway_secret_arn=front_door.secret.secret_arn,
        )
        environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": traces} | ({"CDN_BASE_URL": cdn} if cdn else {})
        if webhook_secret:
            environment["WEBHOOK_SECRETS_ARN"] = webhook_secret.secret_arn
        manifests = eks.KubernetesManifest(
            self,
            "Manifests",
            cluster=cluster,
            manifest=api_manifests(
                config,
                ApiSettings(
                    image=names.image(config, "api", account=place.account, region=place.region),
                    environment=environment,
                    target_group_arn=front_door.target_group.target_group_arn,
                    load_balancer_cidrs=front_door.load_balancer_cidrs,
                ),
            ),
        )
        # The gateway first: a pod that knows of the secret refuses one that does not send it yet.
        manifests.node.add_dependency(identity, front_door.api.deployment_stage, *ready)


def api_statements(place: Topology) -> list[iam.PolicyStatement]:
    """Returns what the API may do: publish tasks and callbacks, keep records, and see to what went astray."""
    topics = [place.task_topic_arn, place.callback_topic_arn]
    return [
        # `/readyz` looks at the topics' attributes.
        allow("Publish", ["sns:Publish", "sns:GetTopicAttributes"], topics),
        allow(
            "ReadQueueLengths",
            ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"],
            [place.queue_arn(queue.name) for queue in place.queues],
        ),
        allow(
            "TakeUndelivered",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueUrl"],
            [place.queue_arn(place.undelivered)],
        ),
        allow(
            "TakeDeadLetters",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueUrl"],
            [place.queue_arn(queue.dead_letter_name) for queue in place.queues],
        ),
        allow("SendAgain", ["sqs:SendMessage"], [place.queue_arn(queue.name) for queue in place.queues]),
        allow("CallForWebhooks", ["sqs:SendMessage", "sqs:GetQueueUrl"], [place.queue_arn(place.webhooks)]),
        *api_access(place),
    ]
