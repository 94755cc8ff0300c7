"""Container Insights: logs, metrics of pods and nodes, and of GPUs by the DCGM exporter that it brings."""

from __future__ import annotations

from typing import Any, Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from cloud import names
from cloud.constructs.cluster import Cluster, add_on, retention
from cloud.constructs.pod_identity import PodIdentity
from contract.config import Config

SETTINGS: Final[dict[str, Any]] = {"manager": {"applicationSignals": {"autoMonitor": {"monitorAllServices": False}}}}
"""Application Signals is on by default, and would put agents of four languages into every pod behind a Service, and be
billed by the request (Amazon CloudWatch, "Install the CloudWatch agent with the Observability EKS add-on")."""

LOGS: Final = ("application", "dataplane", "host", "performance")


class ContainerInsights(Construct):
    """CloudWatch's add-on, with log groups that forget."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, cluster: Cluster) -> None:
        super().__init__(scope, construct_id)
        self.groups = {
            name: logs.LogGroup(
                self,
                name,
                # The add-on writes to these names; made here, because it would keep them for ever.
                log_group_name=f"/aws/containerinsights/{config.stack_name}/{name}",
                retention=retention(config),
                removal_policy=RemovalPolicy.DESTROY,
            )
            for name in LOGS
        }
        identity = PodIdentity(
            self,
            "Agent",
            cluster=cluster.cluster,
            namespace="amazon-cloudwatch",
            service_account="cloudwatch-agent",
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name("CloudWatchAgentServerPolicy")],
        )
        agents = add_on(self, "AddOn", names.INSIGHTS, config=config, cluster=cluster.cluster, values=SETTINGS)
        agents.node.add_dependency(identity, cluster.nodes, *self.groups.values())
