"""What is deployed: what survives it, what can be reached, what is encrypted, what watches, what is billed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from api.callers import GATEWAY_HEADER, KEY_ID_HEADER
from cloud import names, versions
from cloud.constructs.runtimes import other_chart
from contract.config import RuntimeConfig
from tests.cloud.synthesis import CONFIGS, ROOT, Synthesis


@pytest.mark.parametrize("name", CONFIGS)
def test_the_stack_has_the_references_five_outputs_and_no_other(assemblies: dict[str, Synthesis], name: str) -> None:
    assembly = assemblies[name]
    outputs = assembly.templates[assembly.config.stack_name]["Outputs"]
    # The CDK names so what another stack of the deployment reads.
    assert {name for name in outputs if not name.startswith("PublishOutput")} == {
        "FrontApiEndpoint",
        "GetAPIKeyCommand",
        "sdNotificationOutputArn",
        "OutputS3Bucket",
        "ConfigCommand",
    }


def test_the_output_bucket_survives_and_nothing_else_that_costs(everything: Synthesis) -> None:
    kept = {
        resource["Type"]
        for template in everything.templates.values()
        for resource in template["Resources"].values()
        if resource.get("DeletionPolicy") == "Retain"
    }
    # The account's role for API Gateway's logs belongs to all APIs of the account, and costs nothing.
    assert kept == {"AWS::S3::Bucket", "AWS::ApiGateway::Account", "AWS::IAM::Role"}
    assert len(everything.resources("AWS::S3::Bucket")) == 1


def test_nothing_but_the_api_can_be_reached_from_outside(default: Synthesis) -> None:
    rules = [
        rule
        for group in default.properties("AWS::EC2::SecurityGroup")
        for rule in group.get("SecurityGroupIngress", [])
    ] + default.properties("AWS::EC2::SecurityGroupIngress")
    assert rules
    assert not [rule for rule in rules if "CidrIp" in rule or "CidrIpv6" in rule]
    (balancer,) = default.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert balancer["Scheme"] == "internal"
    subnets = default.properties("AWS::EC2::Subnet")
    assert len(subnets) == 9
    assert not any(subnet["MapPublicIpOnLaunch"] for subnet in subnets)
    methods = default.properties("AWS::ApiGateway::Method")
    assert len(methods) == 2
    assert all(method["ApiKeyRequired"] for method in methods)


def test_pages_of_other_origins_may_ask_without_a_key_where_origins_are_named(everything: Synthesis) -> None:
    methods = everything.properties("AWS::ApiGateway::Method")
    assert sorted((method["HttpMethod"], method["ApiKeyRequired"]) for method in methods) == [
        *[("ANY", True)] * 2,
        *[("OPTIONS", False)] * 2,
    ]
    for answer in everything.properties("AWS::ApiGateway::GatewayResponse"):
        assert answer["ResponseParameters"]["gatewayresponse.header.Access-Control-Allow-Origin"] == "'*'"


def test_the_clusters_own_api_is_open_to_the_configured_networks(everything: Synthesis) -> None:
    (cluster,) = everything.properties("AWS::EKS::Cluster")
    assert cluster["ResourcesVpcConfig"]["PublicAccessCidrs"] == ["203.0.113.0/24"]
    assert cluster["ResourcesVpcConfig"]["EndpointPrivateAccess"] is True


def test_instances_answer_version_two_of_the_metadata_service_and_one_hop_away_only(default: Synthesis) -> None:
    templates = default.properties("AWS::EC2::LaunchTemplate")
    assert templates
    for template in templates:
        assert template["LaunchTemplateData"]["MetadataOptions"] == {
            "HttpEndpoint": "enabled",
            "HttpPutResponseHopLimit": 1,
            "HttpTokens": "required",
        }


def test_whatever_keeps_data_is_encrypted(everything: Synthesis) -> None:
    assert all(item["SqsManagedSseEnabled"] for item in everything.properties("AWS::SQS::Queue"))
    assert all(item["KmsMasterKeyId"] for item in everything.properties("AWS::SNS::Topic"))
    assert all(item["Encrypted"] for item in everything.properties("AWS::EFS::FileSystem"))
    volumes = [
        mapping["Ebs"]
        for template in everything.properties("AWS::EC2::LaunchTemplate")
        for mapping in template["LaunchTemplateData"]["BlockDeviceMappings"]
    ]
    assert len(volumes) == 2
    assert all(volume["Encrypted"] for volume in volumes)
    (cluster,) = everything.properties("AWS::EKS::Cluster")
    assert cluster["EncryptionConfig"][0]["Resources"] == ["secrets"]
    assert all(key["EnableKeyRotation"] for key in everything.properties("AWS::KMS::Key"))


def test_the_network_has_the_references_measures(default: Synthesis, everything: Synthesis) -> None:
    (vpc,) = default.properties("AWS::EC2::VPC")
    assert vpc["CidrBlock"] == "10.0.0.0/16"
    subnets = default.properties("AWS::EC2::Subnet")
    assert [subnet["CidrBlock"].rpartition("/")[2] for subnet in subnets] == ["19"] * 6 + ["28"] * 3
    assert len(default.resources("AWS::EC2::NatGateway")) == 3
    assert len(everything.resources("AWS::EC2::NatGateway")) == 1
    (endpoint,) = default.properties("AWS::EC2::VPCEndpoint")
    assert str(endpoint["ServiceName"]).count("s3") == 1
    assert len(endpoint["RouteTableIds"]) == 9


def test_configured_zones_are_taken(everything: Synthesis) -> None:
    zones = {subnet["AvailabilityZone"] for subnet in everything.properties("AWS::EC2::Subnet")}
    assert zones == {"us-east-1a", "us-east-1b", "us-east-1d"}


def test_the_components_run_on_two_m5_large(default: Synthesis) -> None:
    (nodes,) = default.properties("AWS::EKS::Nodegroup")
    assert nodes["InstanceTypes"] == ["m5.large"]
    assert nodes["ScalingConfig"]["DesiredSize"] == 2
    assert nodes["AmiType"] == "BOTTLEROCKET_x86_64"
    (cluster,) = default.properties("AWS::EKS::Cluster")
    assert cluster["Version"] == versions.KUBERNETES


def test_nodes_and_add_ons_have_the_versions_that_the_config_names(everything: Synthesis, default: Synthesis) -> None:
    """Where a template names none, CloudFormation leaves what runs as it was made: without security updates."""
    (nodes,) = everything.properties("AWS::EKS::Nodegroup")
    assert (nodes["ReleaseVersion"], nodes["Version"]) == ("1.66.0-0123abcd", versions.KUBERNETES)
    add_ons = {item["AddonName"]: item.get("AddonVersion") for item in everything.properties("AWS::EKS::Addon")}
    assert sorted(add_ons) == sorted(names.add_ons(everything.config))
    assert {name: version for name, version in add_ons.items() if version} == {"vpc-cni": "v1.20.4-eksbuild.1"}
    found = {item["AddonName"] for item in default.properties("AWS::EKS::Addon")}
    assert found == set(names.add_ons(default.config))


def test_the_kubernetes_api_is_open_to_whom_the_config_names_and_to_nobody_by_default(
    default: Synthesis, everything: Synthesis
) -> None:
    def entrance(assembly: Synthesis) -> tuple[Any, Any]:
        (cluster,) = assembly.properties("AWS::EKS::Cluster")
        access = cluster["ResourcesVpcConfig"]
        assert access["EndpointPrivateAccess"] is True
        return access["EndpointPublicAccess"], access.get("PublicAccessCidrs")

    assert entrance(default)[0] is False
    assert entrance(everything) == (True, ["203.0.113.0/24"])


def test_nodes_find_their_network_and_the_rest_finds_nodes(default: Synthesis) -> None:
    (nodes,) = default.resources("AWS::EKS::Nodegroup").items()
    add_ons = {
        item["Properties"]["AddonName"]: (key, item) for key, item in default.resources("AWS::EKS::Addon").items()
    }
    before = {name for name, (logical_id, _) in add_ons.items() if logical_id in nodes[1]["DependsOn"]}
    after = {name for name, (_, item) in add_ons.items() if nodes[0] in item.get("DependsOn", [])}
    assert before == {"vpc-cni", "kube-proxy", "eks-pod-identity-agent"}
    assert after == add_ons.keys() - before
    # Nothing is there that an add-on would have to take over.
    (cluster,) = default.properties("AWS::EKS::Cluster")
    assert cluster["BootstrapSelfManagedAddons"] is False


def test_the_throttle_is_the_configs(everything: Synthesis) -> None:
    (plan,) = everything.properties("AWS::ApiGateway::UsagePlan")
    assert plan["Throttle"] == {"RateLimit": 100, "BurstLimit": 200}
    (stage,) = everything.properties("AWS::ApiGateway::Stage")
    assert stage["StageName"] == "prod"


def test_the_gateway_refuses_as_the_api_does(default: Synthesis) -> None:
    answers = {item["ResponseType"]: item for item in default.properties("AWS::ApiGateway::GatewayResponse")}
    assert {kind: item["StatusCode"] for kind, item in answers.items()} == {
        "INVALID_API_KEY": "401",
        "THROTTLED": "429",
        "REQUEST_TOO_LARGE": "413",
        "INTEGRATION_FAILURE": "503",
        "INTEGRATION_TIMEOUT": "503",
    }
    for kind, item in answers.items():
        error = json.loads(item["ResponseTemplates"]["application/json"])["error"]
        assert error.keys() == {"code", "message", "details"}
        waits = item.get("ResponseParameters", {}).get("gatewayresponse.header.Retry-After")
        assert (waits is not None) == (item["StatusCode"] in {"429", "503"}), kind


def test_the_gateway_says_which_key_it_was_and_proves_itself_by_a_secret_that_no_template_holds(
    default: Synthesis, everything: Synthesis
) -> None:
    for assembly in (default, everything):
        for method in assembly.properties("AWS::ApiGateway::Method"):
            mapped = method["Integration"]["RequestParameters"]
            keyed = method["ApiKeyRequired"]
            # Where no key is asked for, a client must not be able to name one.
            said = "context.identity.apiKeyId" if keyed else "'-'"
            assert mapped[f"integration.request.header.{KEY_ID_HEADER}"] == said
            sent = json.dumps(mapped[f"integration.request.header.{GATEWAY_HEADER}"])
            assert re.search(r"'\{\{resolve:secretsmanager:.*:SecretString::", sent)
        secrets = assembly.properties("AWS::SecretsManager::Secret")
        assert secrets
        for secret in secrets:
            assert "SecretString" not in secret
            assert secret["GenerateSecretString"]["PasswordLength"] == 48
        # Quotes would end the gateway's literal.
        assert secret["GenerateSecretString"]["ExcludePunctuation"] is True


def test_another_version_of_the_secret_deploys_the_gateway_anew(default: Synthesis, everything: Synthesis) -> None:
    (method, *_) = everything.properties("AWS::ApiGateway::Method")
    sent = json.dumps(method["Integration"]["RequestParameters"][f"integration.request.header.{GATEWAY_HEADER}"])
    version = everything.config.api_gateway.secret_version
    assert version
    assert f":SecretString:::{version}}}}}" in sent
    assert ":SecretString:::}}" in json.dumps(default.properties("AWS::ApiGateway::Method"))


def test_karpenter_hears_of_five_kinds_of_interruption(default: Synthesis) -> None:
    rules = default.properties("AWS::Events::Rule")
    assert sorted(rule["EventPattern"]["detail-type"][0] for rule in rules) == [
        "AWS Health Event",
        "EC2 Capacity Reservation Instance Interruption Warning",
        "EC2 Instance Rebalance Recommendation",
        "EC2 Instance State-change Notification",
        "EC2 Spot Instance Interruption Warning",
    ]
    (queue,) = default.properties("AWS::SQS::Queue", default.config.stack_name)
    assert queue["MessageRetentionPeriod"] == 300
    arns = {str(target["Arn"]) for rule in rules for target in rule["Targets"]}
    assert len(arns) == 1


def charts(assembly: Synthesis) -> dict[str, dict[str, Any]]:
    return {item["Release"]: item for item in assembly.properties("Custom::AWSCDK-EKS-HelmChart")}


def test_the_charts_are_the_pinned_ones_and_a_release_for_each_runtime(default: Synthesis) -> None:
    releases = charts(default)
    others = (versions.KARPENTER, versions.KARPENTER_CRD, versions.KEDA, versions.LOAD_BALANCER_CONTROLLER)
    for chart in others:
        assert (releases[chart.name]["Version"], releases[chart.name]["Repository"]) == (
            chart.version,
            chart.repository,
        )
    runtimes = {runtime.name for runtime in default.config.runtimes}
    assert set(releases) == runtimes | {chart.name for chart in others}
    # The definitions come from their own chart, which Helm upgrades.
    assert releases[versions.KARPENTER.name]["SkipCrds"] is True


def test_a_runtime_can_be_released_from_another_chart(default: Synthesis, everything: Synthesis) -> None:
    other, ours = charts(everything)["comfyruntime"], charts(everything)["sdruntime"]
    assert (other["Chart"], other["Version"]) == ("darkroom-runtime", "0.2.0")
    assert other["Repository"].startswith("oci://")
    assert "ChartAssetURL" not in other
    assert "Repository" not in ours
    assert ours["ChartAssetURL"] == charts(default)["sdruntime"]["ChartAssetURL"]


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ({"chartRepository": "https://charts.example"}, ("https://charts.example", None, "darkroom-runtime")),
        (
            {"chartRepository": "http://charts.example/", "chartName": "sd-on-eks", "chartVersion": "1.0.0"},
            ("http://charts.example/", "1.0.0", "sd-on-eks"),
        ),
        (
            {"chartRepository": "oci://r.example/charts/theirs", "chartVersion": "1.1.0"},
            ("oci://r.example/charts/theirs", "1.1.0", "theirs"),
        ),
    ],
)
def test_a_chart_of_ones_own_has_the_name_that_one_gave_it(
    described: dict[str, str], expected: tuple[str, str | None, str]
) -> None:
    found = other_chart(RuntimeConfig.model_validate({"name": "a", "type": "sdwebui", **described}))
    assert found is not None
    assert (found.repository, found.version, found.chart) == expected


def test_our_chart_is_called_as_its_own_file_says() -> None:
    described = yaml.safe_load((ROOT / "cloud" / "chart" / "Chart.yaml").read_text(encoding="utf-8"))
    assert described["name"] == names.CHART


def test_no_pod_is_given_agents_that_nobody_asked_for(default: Synthesis) -> None:
    (add_on,) = [
        item for item in default.properties("AWS::EKS::Addon") if item["AddonName"] == "amazon-cloudwatch-observability"
    ]
    watched = json.loads(add_on["ConfigurationValues"])["manager"]["applicationSignals"]["autoMonitor"]
    assert watched == {"monitorAllServices": False}


def test_a_rollout_of_the_api_waits_for_the_load_balancer(default: Synthesis) -> None:
    (namespace,) = [item for item in default.kubernetes_objects() if item["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["elbv2.k8s.aws/pod-readiness-gate-inject"] == "enabled"
    (binding,) = [item for item in default.kubernetes_objects() if item["kind"] == "TargetGroupBinding"]
    assert binding["metadata"]["namespace"] == namespace["metadata"]["name"]


def test_logs_are_forgotten_after_a_week_or_as_configured(default: Synthesis, everything: Synthesis) -> None:
    groups = default.properties("AWS::Logs::LogGroup")
    assert {group["RetentionInDays"] for group in groups if "darkroom" in str(group.get("LogGroupName"))} == {30}
    named = {str(group.get("LogGroupName")) for group in everything.properties("AWS::Logs::LogGroup")}
    for name in ("application", "dataplane", "host", "performance"):
        assert f"/aws/containerinsights/studio/{name}" in named
    assert "/aws/eks/studio/cluster" in named


def test_somebody_is_told_of_what_the_config_says(default: Synthesis, everything: Synthesis) -> None:
    alarms = {item["AlarmName"]: item for item in everything.properties("AWS::CloudWatch::Alarm")}
    assert set(alarms) == {
        "studio-sdruntime-waits",
        "studio-sdruntime-untaken",
        "studio-sdruntime-dead-letters",
        "studio-comfyruntime-waits",
        "studio-comfyruntime-untaken",
        "studio-comfyruntime-dead-letters",
        "studio-failed",
        "studio-undelivered",
        "studio-gpu-idle",
        "studio-spot-interruptions",
    }
    assert alarms["studio-sdruntime-waits"]["Threshold"] == 300
    assert alarms["studio-failed"]["Threshold"] == 2
    assert alarms["studio-gpu-idle"]["Threshold"] == 10
    assert all(alarm["AlarmActions"] for alarm in alarms.values())
    (subscription,) = [item for item in everything.properties("AWS::SNS::Subscription") if item["Protocol"] == "email"]
    assert subscription["Endpoint"] == "operators@example.com"
    assert not any(alarm.get("AlarmActions") for alarm in default.properties("AWS::CloudWatch::Alarm"))


def test_the_oldest_task_is_seen_however_often_it_was_handed_back(default: Synthesis) -> None:
    """SQS leaves out what was received three times or more; the agents tell of just that (`task_received_again`)."""
    [alarm] = [
        item for item in default.properties("AWS::CloudWatch::Alarm") if item["AlarmName"] == "darkroom-sdruntime-waits"
    ]
    [age] = [query["Expression"] for query in alarm["Metrics"] if "Expression" in query]
    read = {query["Id"]: query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query}
    assert re.fullmatch(r"MAX\(\[FILL\((\w+), 0\), FILL\((\w+), 0\)\]\)", age)
    by_name = {metric["MetricName"]: metric["Dimensions"] for metric in read.values()}
    assert by_name["ApproximateAgeOfOldestMessage"] == [{"Name": "QueueName", "Value": "darkroom-sdruntime"}]
    assert by_name["darkroom-age-received-again"] == [{"Name": "Runtime", "Value": "sdruntime"}]
    [counted] = [
        item for item in default.properties("AWS::Logs::MetricFilter") if "task_received_again" in item["FilterPattern"]
    ]
    assert counted["MetricTransformations"] == [
        {
            "MetricName": "darkroom-age-received-again",
            "MetricNamespace": "Darkroom",
            "MetricValue": "$.log_processed.age_seconds",
            "Dimensions": [{"Key": "Runtime", "Value": "$.log_processed.runtime"}],
        }
    ]


def test_a_queue_that_nobody_takes_from_is_seen_without_any_agent(default: Synthesis) -> None:
    """A task that was handed back three times has no age in SQS, and no agent is there to tell of it."""
    [alarm] = [
        item
        for item in default.properties("AWS::CloudWatch::Alarm")
        if item["AlarmName"] == "darkroom-sdruntime-untaken"
    ]
    [untaken] = [query["Expression"] for query in alarm["Metrics"] if "Expression" in query]
    assert untaken == "IF(FILL(there, 0) > 0 AND FILL(taken, 0) == 0, 1, 0)"
    read = {query["Id"]: query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query}
    assert (read["there"]["Metric"]["MetricName"], read["there"]["Stat"]) == (
        "ApproximateNumberOfMessagesVisible",
        "Minimum",
    )
    assert (read["taken"]["Metric"]["MetricName"], read["taken"]["Stat"]) == ("NumberOfMessagesReceived", "Sum")
    assert {item["Metric"]["Namespace"] for item in read.values()} == {"AWS/SQS"}
    assert (alarm["Threshold"], alarm["EvaluationPeriods"], read["there"]["Period"]) == (1, 3, 300), "for 900 seconds"


def test_a_budget_there_is_only_when_the_config_says_so(default: Synthesis, everything: Synthesis) -> None:
    assert not default.resources("AWS::Budgets::Budget")
    (budget,) = everything.properties("AWS::Budgets::Budget")
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 500, "Unit": "USD"}
    assert budget["Budget"]["CostFilters"] == {
        "TagKeyValue": ["user:darkroom:deployment$studio"],
        "Region": [everything.region],
    }


def test_results_are_delivered_by_cloudfront_only_when_the_config_says_so_and_records_never(
    default: Synthesis, everything: Synthesis
) -> None:
    assert not default.resources("AWS::CloudFront::Distribution")
    (distribution,) = everything.properties("AWS::CloudFront::Distribution")
    assert distribution["DistributionConfig"]["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "https-only"
    assert distribution["DistributionConfig"]["PriceClass"] == "PriceClass_200"
    (policy,) = everything.properties("AWS::S3::BucketPolicy")
    statements = policy["PolicyDocument"]["Statement"]
    (grant,) = [item for item in statements if item["Effect"] == "Allow"]
    assert grant["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert grant["Action"] == "s3:GetObject"
    assert "AWS:SourceArn" in grant["Condition"]["StringEquals"]
    (refusal,) = [item for item in statements if item.get("Sid") == "DeliverNoRecords"]
    assert refusal["Effect"] == "Deny"
    endings = {str(resource["Fn::Join"][1][-1]) for resource in refusal["Resource"]}
    private = (
        *("agents", "deadlines", "ended", "idempotency", "inputs", "lists"),
        *("payloads", "requests", "tasks", "usage", "webhooks"),
    )
    assert endings == {f"/.{folder}/*" for folder in private}


def test_models_come_from_the_bucket_or_from_a_file_system(default: Synthesis, everything: Synthesis) -> None:
    def add_ons(assembly: Synthesis) -> set[str]:
        return {item["AddonName"] for item in assembly.properties("AWS::EKS::Addon")}

    assert "aws-mountpoint-s3-csi-driver" in add_ons(default)
    assert not default.resources("AWS::EFS::FileSystem")
    assert "aws-efs-csi-driver" in add_ons(everything)
    assert "aws-mountpoint-s3-csi-driver" not in add_ons(everything)
    # Who reaches the port of the file system: the nodes, and what copies.
    sources = [
        rule["SourceSecurityGroupId"]
        for rule in everything.properties("AWS::EC2::SecurityGroupIngress")
        if rule.get("FromPort") == 2049
    ]
    assert sources
    assert all("Cluster" in str(source) or "CopySecurityGroup" in str(source) for source in sources)
    (task,) = everything.properties("AWS::DataSync::Task")
    assert task["Schedule"] == {"ScheduleExpression": "rate(1 hour)"}
    (storage_class,) = [item for item in everything.kubernetes_objects() if item["kind"] == "StorageClass"]
    assert storage_class["metadata"]["name"] == "efs-model-storage-sc"


def test_everything_that_can_be_tagged_says_whose_it_is(everything: Synthesis) -> None:
    tagged = [
        resource
        for kind in (
            *("AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::S3::Bucket", "AWS::EC2::VPC", "AWS::EC2::NatGateway"),
            *("AWS::EKS::Nodegroup", "AWS::ECR::Repository", "AWS::ElasticLoadBalancingV2::LoadBalancer"),
        )
        for resource in everything.properties(kind)
    ]
    assert tagged
    for resource in tagged:
        tags = resource["Tags"]
        pairs = tags if isinstance(tags, dict) else {tag["Key"]: tag["Value"] for tag in tags}
        assert pairs["darkroom:deployment"] == "studio"
        assert pairs["cost-center"] == "studio"


def test_there_is_a_repository_for_each_image(default: Synthesis) -> None:
    names = {item["RepositoryName"] for item in default.properties("AWS::ECR::Repository")}
    assert names == {"darkroom/api", "darkroom/agent", "darkroom/sdwebui", "darkroom/comfyui"}


def test_the_registry_stack_says_what_the_image_cache_is_built_with(default: Synthesis) -> None:
    outputs = default.templates["darkroom-registry"]["Outputs"]
    assert {"ImageCacheInstanceProfile", "ImageCacheSecurityGroup", "ImageCacheSubnet"} <= set(outputs)
    (group,) = default.properties("AWS::EC2::SecurityGroup", "darkroom-registry")
    assert "SecurityGroupIngress" not in group
    assert [rule["ToPort"] for rule in group["SecurityGroupEgress"]] == [443]
