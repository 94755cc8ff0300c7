"""Where the runtimes find their models: the bucket itself, or a file system to which it is copied."""

from __future__ import annotations

from typing import Final

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_datasync as datasync
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_efs as efs
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from constructs import Construct

from cloud import names
from cloud.constructs.cluster import Cluster, add_on
from cloud.constructs.pod_identity import PodIdentity, allow
from contract.config import Config
from contract.topology import Topology

FOLDER: Final = "models"
"""Where the models lie on the file system; every claim sees this one folder."""


class BucketModels(Construct):
    """Mountpoint for S3: pods read the model bucket as a file system, with their own identity."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, cluster: Cluster) -> None:
        super().__init__(scope, construct_id)
        # No configuration: this release tolerates every taint by itself, and older schemas refuse unknown keys.
        self.ready = add_on(self, "Driver", names.S3_DRIVER, config=config, cluster=cluster.cluster)
        self.ready.node.add_dependency(cluster.nodes)


class FileSystemModels(Construct):
    """An encrypted EFS file system that all nodes share; DataSync copies the model bucket to it every hour."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        place: Topology,
        cluster: Cluster,
        vpc: ec2.IVpc,
    ) -> None:
        super().__init__(scope, construct_id)
        file_system = efs.FileSystem(
            self,
            "Models",
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            encrypted=True,
            throughput_mode=efs.ThroughputMode.ELASTIC,
            # A copy: the bucket is the original.
            removal_policy=RemovalPolicy.DESTROY,
            enable_automatic_backups=False,
            # NFS as the CSI driver speaks it carries no IAM identity; only nodes and DataSync reach the port.
            allow_anonymous_access=True,
        )
        file_system.connections.allow_default_port_from(cluster.cluster, "Nodes")
        driver = add_on(self, "Driver", names.EFS_DRIVER, config=config, cluster=cluster.cluster)
        driver.node.add_dependency(cluster.nodes)
        identity = PodIdentity(
            self,
            "Controller",
            cluster=cluster.cluster,
            namespace="kube-system",
            service_account="efs-csi-controller-sa",
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name("service-role/AmazonEFSCSIDriverPolicy")],
        )
        driver.node.add_dependency(identity)
        self._copy(config, place, file_system, vpc)
        self.ready = eks.KubernetesManifest(
            self,
            "StorageClass",
            cluster=cluster.cluster,
            manifest=[
                {
                    "apiVersion": "storage.k8s.io/v1",
                    "kind": "StorageClass",
                    "metadata": {"name": names.STORAGE_CLASS},
                    "provisioner": "efs.csi.aws.com",
                    "parameters": {
                        "provisioningMode": "efs-ap",
                        "fileSystemId": file_system.file_system_id,
                        "directoryPerms": "755",
                        # Each claim would get an empty folder of its own otherwise.
                        "subPathPattern": FOLDER,
                        "ensureUniqueDirectory": "false",
                    },
                    "mountOptions": ["tls"],
                }
            ],
        )
        self.ready.node.add_dependency(driver)

    def _copy(self, config: Config, place: Topology, file_system: efs.FileSystem, vpc: ec2.IVpc) -> None:
        stack = Stack.of(self)
        bucket, owner = place.model_bucket_arn, config.cloud.model_bucket_owner or place.account
        role = iam.Role(self, "CopyRole", assumed_by=iam.ServicePrincipal("datasync.amazonaws.com"))
        role.add_to_policy(allow("ListModels", ["s3:GetBucketLocation", "s3:ListBucket"], [bucket], owner=owner))
        role.add_to_policy(allow("ReadModels", ["s3:GetObject", "s3:GetObjectTagging"], [f"{bucket}/*"], owner=owner))
        source = datasync.CfnLocationS3(
            self,
            "Bucket",
            s3_bucket_arn=bucket,
            s3_config=datasync.CfnLocationS3.S3ConfigProperty(bucket_access_role_arn=role.role_arn),
        )
        # DataSync tries the role at once.
        source.node.add_dependency(role.node.find_child("DefaultPolicy"))
        group = ec2.SecurityGroup(
            self, "CopySecurityGroup", vpc=vpc, description="DataSync to EFS", allow_all_outbound=False
        )
        group.connections.allow_to(file_system, ec2.Port.NFS, "Copies models")
        subnet = vpc.private_subnets[0].subnet_id
        # Through it, the folder comes to be when it is first used.
        folder = file_system.add_access_point(
            "Folder",
            path=f"/{FOLDER}",
            create_acl=efs.Acl(owner_uid="0", owner_gid="0", permissions="755"),
            posix_user=efs.PosixUser(uid="0", gid="0"),
        )
        target = datasync.CfnLocationEFS(
            self,
            "FileSystem",
            efs_filesystem_arn=file_system.file_system_arn,
            access_point_arn=folder.access_point_arn,
            in_transit_encryption="TLS1_2",
            ec2_config=datasync.CfnLocationEFS.Ec2ConfigProperty(
                security_group_arns=[
                    stack.format_arn(service="ec2", resource="security-group", resource_name=group.security_group_id)
                ],
                subnet_arn=stack.format_arn(service="ec2", resource="subnet", resource_name=subnet),
            ),
        )
        target.node.add_dependency(file_system.mount_targets_available)
        datasync.CfnTask(
            self,
            "Copy",
            name=f"{config.stack_name}-models",
            source_location_arn=source.attr_location_arn,
            destination_location_arn=target.attr_location_arn,
            schedule=datasync.CfnTask.TaskScheduleProperty(schedule_expression="rate(1 hour)"),
            options=datasync.CfnTask.OptionsProperty(
                # A model that was taken out of the bucket goes; owners and modes there are none to keep.
                preserve_deleted_files="REMOVE",
                transfer_mode="CHANGED",
                verify_mode="ONLY_FILES_TRANSFERRED",
                posix_permissions="NONE",
                uid="NONE",
                gid="NONE",
            ),
        )
