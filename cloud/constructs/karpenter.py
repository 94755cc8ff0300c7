"""Karpenter: brings GPU nodes when pods wait for them, and takes them away in time when spot capacity is reclaimed."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cloud import names, versions
from cloud.chart_values import volume_keys
from cloud.constructs.charts import install
from cloud.constructs.cluster import Cluster, instances, node_policies
from cloud.constructs.karpenter_policy import Scope, controller_policies
from cloud.constructs.pod_identity import PodIdentity
from contract.config import Config

NAMESPACE: Final = "kube-system"
SERVICE_ACCOUNT: Final = "karpenter"

SPOT_INTERRUPTION: Final = "EC2 Spot Instance Interruption Warning"
INTERRUPTIONS: Final = {
    "ScheduledChange": ("aws.health", "AWS Health Event"),
    "SpotInterruption": ("aws.ec2", SPOT_INTERRUPTION),
    "Rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "InstanceStateChange": ("aws.ec2", "EC2 Instance State-change Notification"),
    "CapacityReservation": ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"),
}
"""The events that Karpenter acts on (source: getting started, cloudformation.yaml, v1.14.1)."""


class Karpenter(Construct):
    """The controller, the role of the nodes that it makes, and the queue through which it hears of interruptions."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, cluster: Cluster) -> None:
        super().__init__(scope, construct_id)
        stack = Stack.of(self)
        self.node_role = iam.Role(
            self,
            "NodeRole",
            role_name=names.node_role(config, stack.region),
            assumed_by=instances(self),
            managed_policies=node_policies(),
        )
        # Nodes enter the cluster by this entry.
        eks.AccessEntry(
            self,
            "NodeAccess",
            cluster=cluster.cluster,
            principal=self.node_role.role_arn,
            access_entry_type=eks.AccessEntryType.EC2_LINUX,
            access_policies=[],
        )
        self.spot_rule, queue = self._interruptions(config)
        policies = controller_policies(
            Scope(
                partition=stack.partition,
                region=stack.region,
                account=stack.account,
                cluster=config.stack_name,
                node_role_arn=self.node_role.role_arn,
                queue_arn=queue.queue_arn,
                volume_keys=volume_keys(config),
            )
        )
        identity = PodIdentity(
            self,
            "Controller",
            cluster=cluster.cluster,
            namespace=NAMESPACE,
            service_account=SERVICE_ACCOUNT,
            managed_policies=[
                iam.ManagedPolicy(self, name, statements=[iam.PolicyStatement.from_json(item) for item in statements])
                for name, statements in policies.items()
            ],
        )
        definitions = install(self, versions.KARPENTER_CRD, cluster=cluster, namespace=NAMESPACE)
        self.chart = install(
            self,
            versions.KARPENTER,
            cluster=cluster,
            namespace=NAMESPACE,
            # Helm never upgrades what a chart has in crds/; the other chart does.
            skip_crds=True,
            values={
                "serviceAccount": {"name": SERVICE_ACCOUNT},
                "settings": {"clusterName": config.stack_name, "interruptionQueue": queue.queue_name},
                # One of them may be evicted for a node's update; half of the two m5.large is left to the rest.
                "replicas": 2,
                "controller": {
                    "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}
                },
            },
        )
        self.chart.node.add_dependency(definitions, identity)

    def _interruptions(self, config: Config) -> tuple[events.Rule, sqs.Queue]:
        """Makes the queue and its five rules; returns that of spot interruptions, and the queue."""
        queue = sqs.Queue(
            self,
            "Interruptions",
            queue_name=config.stack_name,
            # A warning that is five minutes old warns of nothing.
            retention_period=Duration.minutes(5),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        rules = {
            name: events.Rule(
                self,
                name,
                event_pattern=events.EventPattern(source=[source], detail_type=[detail_type]),
                targets=[targets.SqsQueue(queue)],
            )
            for name, (source, detail_type) in INTERRUPTIONS.items()
        }
        return rules["SpotInterruption"], queue
