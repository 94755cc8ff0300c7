"""The front door: API key and throttle at API Gateway, then a private way to the API's pods."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration, RemovalPolicy, SecretValue, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cloud.constructs.api_manifests import DEREGISTRATION_SECONDS, PORT
from cloud.constructs.cluster import retention
from cloud.constructs.gateway_errors import add_errors
from cloud.constructs.network import ENTRANCE
from contract.config import Config

GATEWAY_HEADER: Final = "x-darkroom-gateway"
KEY_ID_HEADER: Final = "x-darkroom-key-id"
"""The names of `api/callers.py`."""

BINARY_TYPES: Final = (
    "application/octet-stream",
    *("image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/bmp", "image/tiff"),
    *("video/mp4", "video/webm", "video/quicktime", "audio/mpeg", "audio/wav", "audio/flac", "audio/ogg"),
    "model/gltf-binary",
)
"""Bodies that the gateway hands on as they are, for `POST /v1/inputs`; any other it takes for text in UTF-8 (Amazon API
Gateway, "Binary media types for REST APIs")."""


class FrontDoor(Construct):
    """A regional REST API that asks for a key on every route, and a network load balancer that it alone reaches.

    It tells the API which key it was, and proves itself by a secret that AWS makes and keeps.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, config: Config, cluster: eks.ICluster, vpc: ec2.IVpc
    ) -> None:
        super().__init__(scope, construct_id)
        self._partition = Stack.of(self).partition
        balancer = self._balancer(cluster, vpc)
        self.load_balancer_cidrs = tuple(subnet.ipv4_cidr_block for subnet in vpc.isolated_subnets)
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            description=f"{config.stack_name}: by this, the API knows its gateway",
            generate_secret_string=secretsmanager.SecretStringGenerator(password_length=48, exclude_punctuation=True),
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.target_group = elb.NetworkTargetGroup(
            self,
            "Targets",
            vpc=vpc,
            port=PORT,
            protocol=elb.Protocol.TCP,
            target_type=elb.TargetType.IP,
            # The balancer's own address then stands in, which the pods' security group knows.
            preserve_client_ip=False,
            deregistration_delay=Duration.seconds(DEREGISTRATION_SECONDS),
            health_check=elb.HealthCheck(
                protocol=elb.Protocol.HTTP,
                path="/readyz",
                interval=Duration.seconds(10),
                healthy_threshold_count=2,
                unhealthy_threshold_count=2,
            ),
        )
        balancer.add_listener("Http", port=80, default_target_groups=[self.target_group])
        self.api = self._api(config, balancer)
        self.key = self._usage(config)

    @property
    def url(self) -> str:
        """The address of the API, with a slash at its end."""
        return self.api.url

    @property
    def key_command(self) -> str:
        """Returns what to type to see the API key."""
        return (
            f"aws apigateway get-api-keys --query 'items[?id==`{self.key.key_id}`].value' "
            "--include-values --output text"
        )

    def _balancer(self, cluster: eks.ICluster, vpc: ec2.IVpc) -> elb.NetworkLoadBalancer:
        group = ec2.SecurityGroup(
            self, "BalancerGroup", vpc=vpc, description="Load balancer of the API", allow_all_outbound=False
        )
        group.connections.allow_to(cluster, ec2.Port.tcp(PORT), "The API's pods")
        return elb.NetworkLoadBalancer(
            self,
            "Entrance",
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ENTRANCE),
            internet_facing=False,
            security_groups=[group],
            # API Gateway comes through PrivateLink, from no address that a rule could name; nobody else is let in.
            enforce_security_group_inbound_rules_on_private_link_traffic=False,
            cross_zone_enabled=True,
        )

    def _api(self, config: Config, balancer: elb.NetworkLoadBalancer) -> apigateway.RestApi:
        stage = config.api_gateway.stage_name
        log = logs.LogGroup(self, "AccessLogs", retention=retention(config), removal_policy=RemovalPolicy.DESTROY)
        api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=config.stack_name,
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            # Access logs need the account's role for them, which other APIs of the account may use too.
            cloud_watch_role=True,
            cloud_watch_role_removal_policy=RemovalPolicy.RETAIN,
            deploy_options=apigateway.StageOptions(
                stage_name=stage,
                tracing_enabled=True,
                metrics_enabled=True,
                access_log_destination=apigateway.LogGroupLogDestination(log),
                access_log_format=apigateway.AccessLogFormat.json_with_standard_fields(
                    caller=False,
                    http_method=True,
                    ip=True,
                    protocol=True,
                    request_time=True,
                    resource_path=True,
                    response_length=True,
                    status=True,
                    user=False,
                ),
            ),
            binary_media_types=list(BINARY_TYPES),
            default_method_options=apigateway.MethodOptions(api_key_required=True),
        )
        # Its own output of the address; ours has the name that users look up.
        api.node.try_remove_child("Endpoint")
        origins = config.api_gateway.cors_allowed_origins
        add_errors(api, readable_by_pages=bool(origins))
        link = apigateway.VpcLink(self, "Link", targets=[balancer])
        below = api.root.add_resource("{proxy+}")
        # A browser asks whether a page may send a key before it sends one; the API answers that.
        for method, keyed in [("ANY", True), *([("OPTIONS", False)] if origins else [])]:
            api.root.add_method(method, self._to(config, link, balancer, keyed=keyed), api_key_required=keyed)
            below.add_method(
                method,
                self._to(config, link, balancer, path="proxy", keyed=keyed),
                api_key_required=keyed,
                request_parameters={"method.request.path.proxy": True},
            )
        return api

    def _to(
        self,
        config: Config,
        link: apigateway.VpcLink,
        balancer: elb.NetworkLoadBalancer,
        *,
        path: str = "",
        keyed: bool,
    ) -> apigateway.Integration:
        # Put into the integration by CloudFormation: the template holds the reference, never the secret.
        secret = SecretValue.secrets_manager(
            self.secret.secret_arn, version_id=config.api_gateway.secret_version or None
        ).unsafe_unwrap()
        mapped = {
            # Each overwrites what a client has sent under its name. Where no key is asked for there is no id, and a
            # client's own header would go through: a dash is no tenant's name.
            f"integration.request.header.{GATEWAY_HEADER}": f"'{secret}'",
            f"integration.request.header.{KEY_ID_HEADER}": "context.identity.apiKeyId" if keyed else "'-'",
            **({f"integration.request.path.{path}": f"method.request.path.{path}"} if path else {}),
        }
        # Streamed, so that a task's events arrive as they happen; the China regions have no streaming.
        streams = self._partition != "aws-cn"
        return apigateway.Integration(
            type=apigateway.IntegrationType.HTTP_PROXY,
            integration_http_method="ANY",
            uri=f"http://{balancer.load_balancer_dns_name}/{f'{{{path}}}' if path else ''}",
            options=apigateway.IntegrationOptions(
                connection_type=apigateway.ConnectionType.VPC_LINK,
                vpc_link=link,
                request_parameters=mapped,
                response_transfer_mode=apigateway.ResponseTransferMode.STREAM if streams else None,
                timeout=Duration.minutes(15) if streams else Duration.seconds(29),
            ),
        )

    def _usage(self, config: Config) -> apigateway.IApiKey:
        throttle = config.api_gateway.throttle
        key = self.api.add_api_key("Key")
        plan = self.api.add_usage_plan(
            "Usage",
            throttle=apigateway.ThrottleSettings(rate_limit=throttle.rate_limit, burst_limit=throttle.burst_limit),
        )
        plan.add_api_stage(stage=self.api.deployment_stage)
        plan.add_api_key(key)
        return key
