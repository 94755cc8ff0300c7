"""The AWS Load Balancer Controller, only to keep the API's pods registered in a target group that the stack owns."""

from __future__ import annotations

from typing import Final

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from constructs import Construct

from cloud import versions
from cloud.constructs.charts import install
from cloud.constructs.cluster import Cluster
from cloud.constructs.pod_identity import PodIdentity, allow

NAMESPACE: Final = "kube-system"
SERVICE_ACCOUNT: Final = "aws-load-balancer-controller"


class LoadBalancerController(Construct):
    """The controller; it makes nothing, and may register targets in one target group."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: Cluster,
        vpc: ec2.IVpc,
        target_group: elb.NetworkTargetGroup,
    ) -> None:
        super().__init__(scope, construct_id)
        identity = PodIdentity(
            self,
            "Controller",
            cluster=cluster.cluster,
            namespace=NAMESPACE,
            service_account=SERVICE_ACCOUNT,
            statements=[
                # Source: what `pkg/targetgroupbinding` calls (kubernetes-sigs/aws-load-balancer-controller v3.5.0); the
                # rest of its published policy is for load balancers that it would make itself. Descriptions have
                # no resources in IAM.
                allow(
                    "FindTargets",
                    [
                        *(f"elasticloadbalancing:Describe{what}" for what in ("TargetGroups", "TargetHealth", "Tags")),
                        "elasticloadbalancing:DescribeTargetGroupAttributes",
                        *(
                            f"ec2:Describe{what}"
                            for what in (
                                *("AvailabilityZones", "Instances", "NetworkInterfaces", "SecurityGroups"),
                                *("Subnets", "Vpcs"),
                            )
                        ),
                    ],
                    ["*"],
                ),
                allow(
                    "RegisterTargets",
                    ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"],
                    [target_group.target_group_arn],
                ),
            ],
        )
        self.chart = install(
            self,
            versions.LOAD_BALANCER_CONTROLLER,
            cluster=cluster,
            namespace=NAMESPACE,
            values={
                "clusterName": cluster.cluster.cluster_name,
                # Told, because pods cannot ask the metadata service.
                "region": Stack.of(self).region,
                "vpcId": vpc.vpc_id,
                "serviceAccount": {"name": SERVICE_ACCOUNT},
                # It would hold up every Service of the cluster until it runs, and we have none of its kind.
                "enableServiceMutatorWebhook": False,
                "createIngressClassResource": False,
                "ingressClassParams": {"create": False},
                "enableShield": False,
                "enableWaf": False,
                "enableWafv2": False,
                "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
            },
        )
        self.chart.node.add_dependency(identity)
