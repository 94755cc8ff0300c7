"""The EKS cluster, the nodes that its own components run on, and who may enter."""

from __future__ import annotations

from typing import Any, Final, cast

from aws_cdk import Aws, RemovalPolicy, Stack, Tags
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from constructs import Construct

from cloud import names, versions
from cloud.names import url_suffix
from contract.config import Config

SETTINGS: Final[dict[str, dict[str, Any]]] = {
    # The chart's network policies are nothing without it.
    "vpc-cni": {"enableNetworkPolicy": "true"},
}
"""What add-ons are told."""


class Cluster(Construct):
    """A cluster with two m5.large for the components; the runtimes' nodes are Karpenter's."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, vpc: ec2.IVpc) -> None:
        super().__init__(scope, construct_id)
        self.charts = {str(name): chart for name, chart in config.cloud.charts.items()}
        """What the config says of charts of others; see `cloud/constructs/charts.py`."""
        logging = logs.LogGroup(
            self,
            "ControlPlaneLogs",
            # EKS writes to this name; made here, because EKS would keep the logs for ever.
            log_group_name=f"/aws/eks/{config.stack_name}/cluster",
            retention=retention(config),
            removal_policy=RemovalPolicy.DESTROY,
        )
        # Whoever of this account may assume it, administers the cluster: `ConfigCommand` names it.
        self.access_role = iam.Role(
            self, "AccessRole", assumed_by=iam.AccountRootPrincipal(), description="Administers the cluster"
        )
        cluster = eks.Cluster(
            self,
            "Cluster",
            cluster_name=config.stack_name,
            version=eks.KubernetesVersion.of(versions.KUBERNETES),
            vpc=vpc,
            vpc_subnets=[ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS)],
            endpoint_access=_entrance(config),
            default_capacity_type=eks.DefaultCapacityType.NODEGROUP,
            default_capacity=0,
            # `ConfigCommand` says it, under the name that users know.
            output_config_command=False,
            # They come as add-ons, which EKS would otherwise have to take over from its own.
            bootstrap_self_managed_addons=False,
            bootstrap_cluster_creator_admin_permissions=False,
            masters_role=self.access_role,
            secrets_encryption_key=kms.Key(
                self,
                "SecretsKey",
                enable_key_rotation=True,
                removal_policy=RemovalPolicy.DESTROY,
                description=f"Kubernetes secrets of {config.stack_name}",
            ),
            cluster_logging=[eks.ClusterLoggingTypes.AUDIT, eks.ClusterLoggingTypes.AUTHENTICATOR],
            kubectl_provider_options=eks.KubectlProviderOptions(kubectl_layer=KubectlV36Layer(self, "Kubectl")),
        )
        cluster.node.add_dependency(logging)
        # In Python, the generated class lacks a member of the interface that it implements.
        self.cluster = cast("eks.ICluster", cluster)
        for child in cluster.node.find_all():
            # Those of the CDK's own functions, too; it would keep them for ever.
            if isinstance(child, logs.CfnLogGroup):
                child.retention_in_days = config.cloud.log_retention_days
                child.apply_removal_policy(RemovalPolicy.DESTROY)
        self.nodes = self._component_nodes(config)
        for name in names.NODE_ADD_ONS:
            self.nodes.node.add_dependency(
                add_on(self, name, name, config=config, cluster=self.cluster, values=SETTINGS.get(name))
            )
        for name in names.CLUSTER_ADD_ONS:
            add_on(self, name, name, config=config, cluster=self.cluster).node.add_dependency(self.nodes)

    @property
    def config_command(self) -> str:
        """Returns what to type to reach the cluster with kubectl."""
        return (
            f"aws eks update-kubeconfig --name {self.cluster.cluster_name} --region {Aws.REGION} "
            f"--role-arn {self.access_role.role_arn}"
        )

    def _component_nodes(self, config: Config) -> eks.Nodegroup:
        template = ec2.LaunchTemplate(
            self,
            "ComponentNodes",
            http_tokens=ec2.LaunchTemplateHttpTokens.REQUIRED,
            http_put_response_hop_limit=1,
            http_endpoint=True,
            # Bottlerocket's volumes: the system, and what containers write.
            block_devices=[_volume("/dev/xvda", 4), _volume("/dev/xvdb", 40)],
        )
        Tags.of(template).add("Name", f"{config.stack_name}-components")
        role = iam.Role(
            self,
            "ComponentNodeRole",
            assumed_by=instances(self),
            managed_policies=node_policies(),
        )
        nodes = eks.Nodegroup(
            self,
            "Components",
            cluster=self.cluster,
            node_role=role,
            ami_type=eks.NodegroupAmiType.BOTTLEROCKET_X86_64,
            instance_types=[ec2.InstanceType("m5.large")],
            min_size=2,
            max_size=3,
            desired_size=2,
            subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            launch_template_spec=eks.LaunchTemplateSpec(
                id=template.launch_template_id or "", version=template.latest_version_number
            ),
            release_version=config.cloud.releases.component_nodes or None,
        )
        # After the control plane, and with it: a release has one name for all versions of Kubernetes.
        cast("eks.CfnNodegroup", nodes.node.default_child).version = versions.KUBERNETES
        return nodes


def add_on(
    scope: Construct,
    construct_id: str,
    name: str,
    *,
    config: Config,
    cluster: eks.ICluster,
    values: dict[str, Any] | None = None,
) -> eks.Addon:
    """Makes an add-on of EKS in the version that the config names: without one it would keep its first for ever."""
    return eks.Addon(
        scope,
        construct_id,
        cluster=cluster,
        addon_name=name,
        addon_version=config.cloud.releases.add_ons.get(name),
        configuration_values=values,
    )


def _entrance(config: Config) -> eks.EndpointAccess:
    """Returns from where the Kubernetes API may be reached: always from the VPC, from elsewhere by the config alone."""
    cidrs = config.cloud.public_access_cidrs
    return eks.EndpointAccess.PUBLIC_AND_PRIVATE.only_from(*cidrs) if cidrs else eks.EndpointAccess.PRIVATE


def retention(config: Config) -> logs.RetentionDays:
    """Returns how long logs are kept."""
    return {
        1: logs.RetentionDays.ONE_DAY,
        3: logs.RetentionDays.THREE_DAYS,
        5: logs.RetentionDays.FIVE_DAYS,
        7: logs.RetentionDays.ONE_WEEK,
        14: logs.RetentionDays.TWO_WEEKS,
        30: logs.RetentionDays.ONE_MONTH,
        60: logs.RetentionDays.TWO_MONTHS,
        90: logs.RetentionDays.THREE_MONTHS,
        180: logs.RetentionDays.SIX_MONTHS,
        365: logs.RetentionDays.ONE_YEAR,
    }[config.cloud.log_retention_days]


def instances(scope: Construct) -> iam.IPrincipal:
    """Returns the principal by which instances take a role; EC2's own name is another one in China."""
    return iam.ServicePrincipal.from_static_service_principle_name(f"ec2.{url_suffix(Stack.of(scope).partition)}")


def node_policies() -> list[iam.IManagedPolicy]:
    """Returns what a node needs: to join, to give pods addresses, to pull images, and to be looked into.

    Source: the policies of Karpenter's node role (aws/karpenter-provider-aws, getting started, v1.14.1).
    """
    return [
        iam.ManagedPolicy.from_aws_managed_policy_name(name)
        for name in (
            "AmazonEKSWorkerNodePolicy",
            "AmazonEKS_CNI_Policy",
            "AmazonEC2ContainerRegistryPullOnly",
            "AmazonSSMManagedInstanceCore",
        )
    ]


def _volume(device: str, gibibytes: int) -> ec2.BlockDevice:
    return ec2.BlockDevice(
        device_name=device,
        volume=ec2.BlockDeviceVolume.ebs(gibibytes, encrypted=True, volume_type=ec2.EbsDeviceVolumeType.GP3),
    )
