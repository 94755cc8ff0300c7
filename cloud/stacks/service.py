"""The main stack: the cluster, what runs in it, the way in, and who watches."""

from __future__ import annotations

from aws_cdk import CfnOutput, Environment, Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from cloud.constructs.alarms import Alarms
from cloud.constructs.api import Api
from cloud.constructs.api_manifests import NAMESPACE, namespace_manifest
from cloud.constructs.budget import MonthlyBudget
from cloud.constructs.cluster import Cluster
from cloud.constructs.container_insights import ContainerInsights
from cloud.constructs.dashboard import Dashboard
from cloud.constructs.front_door import FrontDoor
from cloud.constructs.karpenter import Karpenter
from cloud.constructs.keda import Keda
from cloud.constructs.load_balancer_controller import LoadBalancerController
from cloud.constructs.metrics import Metrics
from cloud.constructs.models import BucketModels, FileSystemModels
from cloud.constructs.runtimes import Runtimes, Surroundings
from cloud.constructs.tracing import Tracing
from cloud.constructs.webhooks import Webhooks
from contract.config import Config, ModelStorage
from contract.topology import Topology


class ServiceStack(Stack):
    """Everything but network, registry and messaging.

    Its NodePools must be gone before it is removed: Karpenter goes with it, and would leave the nodes that it started.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        env: Environment,
        config: Config,
        place: Topology,
        vpc: ec2.IVpc,
        cdn: str,
    ) -> None:
        super().__init__(scope, construct_id, env=env, description="Darkroom: cluster, runtimes and API")
        cluster = Cluster(self, "Cluster", config=config, vpc=vpc)
        eks = cluster.cluster
        karpenter = Karpenter(self, "Karpenter", config=config, cluster=cluster)
        keda = Keda(self, "Keda", cluster=cluster, queue_arns=[place.queue_arn(queue.name) for queue in place.queues])
        models = (
            FileSystemModels(self, "Models", config=config, place=place, cluster=cluster, vpc=vpc)
            if config.cloud.model_storage is ModelStorage.EFS
            else BucketModels(self, "Models", config=config, cluster=cluster)
        )

        namespace = eks.add_manifest("Namespace", namespace_manifest())
        tracing = Tracing(
            self,
            "Tracing",
            cluster=eks,
            namespace=NAMESPACE,
            ready=namespace,
            image=config.cloud.images.collector,
        )
        front_door = FrontDoor(self, "FrontDoor", config=config, cluster=eks, vpc=vpc)
        controller = LoadBalancerController(
            self, "LoadBalancerController", cluster=cluster, vpc=vpc, target_group=front_door.target_group
        )
        webhooks = (
            Webhooks(self, "Webhooks", config=config, place=place, cluster=eks, cdn=cdn, ready=namespace)
            if config.cloud.webhooks
            else None
        )
        Api(
            self,
            "Api",
            config=config,
            place=place,
            cluster=eks,
            front_door=front_door,
            traces=tracing.endpoint,
            cdn=cdn,
            webhook_secret=webhooks.secret if webhooks else None,
            ready=(namespace, controller.chart),
        )
        Runtimes(
            self,
            "Runtimes",
            config=config,
            place=place,
            surroundings=Surroundings(
                cluster=eks, traces=tracing.endpoint, ready=(keda.chart, karpenter.chart, models.ready)
            ),
        )

        insights = ContainerInsights(self, "ContainerInsights", config=config, cluster=cluster)
        metrics = Metrics(
            self,
            "Metrics",
            place=place,
            cluster_name=config.stack_name,
            application_logs=insights.groups["application"],
            spot_rule_name=karpenter.spot_rule.rule_name,
        )
        Alarms(self, "Alarms", config=config, metrics=metrics)
        Dashboard(self, "Dashboard", config=config, metrics=metrics, api=front_door.api)
        if config.cloud.budget is not None:
            MonthlyBudget(self, "Budget", config=config, region=place.region, budget=config.cloud.budget)

        self.url = front_door.url
        """The API's address."""
        # The names that users of the reference look up, and its verification script too.
        CfnOutput(self, "FrontApiEndpoint", value=front_door.url)
        CfnOutput(self, "GetAPIKeyCommand", value=front_door.key_command)
        CfnOutput(self, "sdNotificationOutputArn", value=place.callback_topic_arn)
        CfnOutput(self, "OutputS3Bucket", value=place.output_bucket)
        CfnOutput(self, "ConfigCommand", value=cluster.config_command)
