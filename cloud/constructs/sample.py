"""The sample application: one task on Fargate, its load balancer, and a queue of its own on the callback topic."""

from __future__ import annotations

from typing import Final

from aws_cdk import Acknowledgment, Duration, RemovalPolicy, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cloud import names
from cloud.constructs.cluster import retention
from cloud.constructs.pod_identity import allow
from contract.config import Config
from contract.origins import bucket_origins
from contract.topology import Topology

PORT: Final = 8080
QUEUE_ACTIONS: Final = ("sqs:ReceiveMessage", "sqs:DeleteMessage")
"""What the application does with its queue; all else it does with its callers' keys."""

USER: Final = "10001"
"""The user of the image."""

_IDLE: Final = Duration.seconds(120)
"""Longer than the comments on a silent event stream are apart."""

_PULL: Final = ("ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_DRAIN: Final = Duration.seconds(10)
_KEPT: Final = Duration.hours(1)
"""How long a callback waits for the application: it is one of the newest, or of no use to a page."""


class SampleApplication(Construct):
    """The API's image with another command: it hands the console out, and each call on to the API with its key.

    It holds no key. Who is not let in by the load balancer does not reach it, and who has no key sees no task.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        place: Topology,
        vpc: ec2.IVpc,
        api_url: str,
        cdn: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self._config = config
        self._place = place
        self._vpc = vpc
        balancer_group = ec2.SecurityGroup(
            self, "BalancerGroup", vpc=vpc, description="Load balancer of the sample", allow_all_outbound=False
        )
        group = ec2.SecurityGroup(self, "Group", vpc=vpc, description="Sample application", allow_all_outbound=False)
        group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "API Gateway, and AWS's services")
        group.connections.allow_from(balancer_group, ec2.Port.tcp(PORT), "Its load balancer")
        # As nodes pull: from whichever registry the config names.
        execution_role = _role(self, "ExecutionRole", [allow("Pull", list(_PULL), ["*"])])
        service = ecs.FargateService(
            self,
            "Service",
            cluster=ecs.Cluster(self, "Cluster", vpc=vpc),
            task_definition=self._task(self._callbacks(), execution_role, api_url, cdn),
            # One has all callbacks; two would share them.
            desired_count=1,
            min_healthy_percent=100,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
            assign_public_ip=False,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            security_groups=[group],
        )
        service.node.add_dependency(execution_role)
        self.url = self._entrance(service, balancer_group)
        """Where the page is."""

    def _callbacks(self) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            "Callbacks",
            retention_period=_KEPT,
            receive_message_wait_time=Duration.seconds(20),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        topic = sns.Topic.from_topic_arn(self, "CallbackTopic", self._place.callback_topic_arn)
        topic.add_subscription(subscriptions.SqsSubscription(queue, raw_message_delivery=True))
        return queue

    def _task(self, queue: sqs.Queue, execution_role: iam.Role, api_url: str, cdn: str) -> ecs.FargateTaskDefinition:
        task = ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=256,
            memory_limit_mib=512,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.X86_64, operating_system_family=ecs.OperatingSystemFamily.LINUX
            ),
            task_role=_role(self, "Role", [allow("TakeCallbacks", list(QUEUE_ACTIONS), [queue.queue_arn])]),
            execution_role=execution_role,
        )
        place = self._place
        bucket = " ".join(bucket_origins(place.output_bucket, place.region))
        log = logs.LogGroup(self, "Logs", retention=retention(self._config), removal_policy=RemovalPolicy.DESTROY)
        container = task.add_container(
            "sample",
            image=ecs.ContainerImage.from_registry(
                names.image(self._config, "api", account=place.account, region=place.region)
            ),
            entry_point=["python", "-m", "api.sample"],
            user=USER,
            readonly_root_filesystem=True,
            environment={
                "AWS_REGION": place.region,
                "HOST": "0.0.0.0",  # noqa: S104 - the task's own address
                "PORT": str(PORT),
                "API_URL": api_url,
                "CALLBACK_QUEUE_URL": queue.queue_url,
                "IMAGE_SOURCES": cdn or bucket,
                "UPLOAD_SOURCES": bucket,
            },
            logging=ecs.LogDriver.aws_logs(stream_prefix="sample", log_group=log),
        )
        Validations.of(container).acknowledge(
            Acknowledgment(
                id="Annotation::@aws-cdk/aws-ecs:ecrImageRequiresPolicy", reason="the execution role pulls any image"
            )
        )
        container.add_port_mappings(ecs.PortMapping(container_port=PORT))
        return task

    def _entrance(self, service: ecs.FargateService, group: ec2.SecurityGroup) -> str:
        sample = self._config.cloud.sample
        port, scheme = (443, "https") if sample.certificate_arn else (80, "http")
        for cidr in sample.allowed_cidrs or (self._vpc.vpc_cidr_block,):
            group.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(port), "Who may open the page")
        balancer = elb.ApplicationLoadBalancer(
            self,
            "Entrance",
            vpc=self._vpc,
            internet_facing=bool(sample.allowed_cidrs),
            vpc_subnets=ec2.SubnetSelection(
                subnet_type=ec2.SubnetType.PUBLIC if sample.allowed_cidrs else ec2.SubnetType.PRIVATE_WITH_EGRESS
            ),
            security_group=group,
            drop_invalid_header_fields=True,
            idle_timeout=_IDLE,
        )
        listener = balancer.add_listener(
            "Listener",
            port=port,
            protocol=elb.ApplicationProtocol.HTTPS if sample.certificate_arn else elb.ApplicationProtocol.HTTP,
            certificates=[elb.ListenerCertificate.from_arn(sample.certificate_arn)] if sample.certificate_arn else None,
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS if sample.certificate_arn else None,
            # The group says who may come; the CDK would let in everybody.
            open=False,
        )
        listener.add_targets(
            "Targets",
            port=PORT,
            protocol=elb.ApplicationProtocol.HTTP,
            targets=[service],
            deregistration_delay=_DRAIN,
            health_check=elb.HealthCheck(path="/healthz", interval=Duration.seconds(10), healthy_threshold_count=2),
        )
        return f"{scheme}://{balancer.load_balancer_dns_name}"


def _role(scope: Construct, construct_id: str, statements: list[iam.PolicyStatement]) -> iam.Role:
    role = iam.Role(scope, construct_id, assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))
    for statement in statements:
        role.add_to_policy(statement)
    return role
