"""The API in the cluster is the local stack's image with settings that it understands."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from api.settings import Settings
from cloud.constructs.api_manifests import MAX_BODY_BYTES, api_config, api_environment
from contract.config import Config, parse_config
from contract.topology import topology
from tests.cloud.kubernetes_objects import faults
from tests.cloud.synthesis import CONFIGS, DISTINCT, ROOT, Synthesis


@pytest.mark.parametrize("name", DISTINCT)
def test_every_object_is_one_that_the_cluster_takes(assemblies: dict[str, Synthesis], name: str) -> None:
    objects = assemblies[name].kubernetes_objects()
    kinds = {item["kind"] for item in objects}
    assert {"Namespace", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "TargetGroupBinding"} <= kinds
    assert [fault for item in objects for fault in faults(item)] == []


def of_kind(assembly: Synthesis, kind: str, name: str = "api") -> dict[str, Any]:
    (found,) = [
        item for item in assembly.kubernetes_objects() if (item["kind"], item["metadata"]["name"]) == (kind, name)
    ]
    return found


def container(assembly: Synthesis) -> dict[str, Any]:
    (found,) = of_kind(assembly, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_the_settings_are_ones_that_the_api_understands(everything: Synthesis, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {item["name"]: item["value"] for item in container(everything)["env"]}
    known = {name.upper() for name in Settings.model_fields}
    assert set(environment) <= known
    for name in known:
        monkeypatch.delenv(name, raising=False)
    arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:x"
    for name, value in (environment | {"GATEWAY_SECRET_ARN": arn}).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    place = topology(everything.config, region=everything.region)
    assert settings.task_topic_arn == place.task_topic_arn
    assert settings.callback_topic_arn == place.callback_topic_arn
    assert settings.s3_bucket == place.output_bucket
    assert settings.root_path == "/prod"
    assert settings.max_body_bytes == MAX_BODY_BYTES
    assert settings.task_message_bytes == everything.config.cloud.task_message_kib * 1024
    assert settings.aws_region == everything.region
    assert settings.cdn_base_url.startswith("https://")
    assert settings.behind_gateway
    assert [(item.name, item.key.get_secret_value(), item.admin) for item in settings.keys] == [
        ("studio-app", "a1b2c3d4e5", False),
        ("studio-app", "f6g7h8i9j0", False),
        ("operators", "k1l2m3n4o5", True),
    ]
    assert not settings.api_keys_shared


def test_one_team_may_share_one_space_in_the_cloud_too() -> None:
    config = parse_config(
        (ROOT / "config.yaml").read_text(encoding="utf-8").replace("APIGW:\n", "APIGW:\n  shared: true\n")
    )
    made = api_environment(config, region="r", task_topic="t", callback_topic="c", bucket="b", gateway_secret_arn="s")
    assert made["API_KEYS_SHARED"] == "true"
    assert "API_KEYS" not in made


def test_only_the_load_balancer_reaches_the_api_and_nothing_else_has_its_addresses(default: Synthesis) -> None:
    (rule,) = of_kind(default, "NetworkPolicy")["spec"]["ingress"]
    sources = {peer["ipBlock"]["cidr"] for peer in rule["from"]}
    entrance = {
        key: item["Properties"]["CidrBlock"]
        for key, item in default.resources("AWS::EC2::Subnet").items()
        if item["Properties"]["CidrBlock"].endswith("/28")
    }
    assert sources == set(entrance.values())
    assert len(sources) == 3
    users = {
        kind
        for template in default.templates.values()
        for item in template["Resources"].values()
        if (kind := item["Type"]) != "AWS::EC2::SubnetRouteTableAssociation"
        and any(key in json.dumps(item) for key in entrance)
    }
    assert users == {"AWS::ElasticLoadBalancingV2::LoadBalancer"}


def test_pods_learn_the_gateways_secret_by_its_name_alone(default: Synthesis) -> None:
    environment = {item["name"]: item["value"] for item in container(default)["env"]}
    assert "GATEWAY_SECRET" not in environment
    assert environment["GATEWAY_SECRET_ARN"]
    assert "resolve:secretsmanager" not in json.dumps(default.kubernetes_objects())
    statements = [
        statement
        for policy in default.properties("AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
        if "secretsmanager" in json.dumps(statement)
    ]
    assert [item["Action"] for item in statements] == ["secretsmanager:GetSecretValue"]
    assert "FrontDoorSecret" in json.dumps(statements[0]["Resource"])


def test_the_gateway_is_deployed_before_the_pods_that_believe_it_alone(default: Synthesis) -> None:
    stacks = default.templates[default.config.stack_name]["Resources"]
    (stage,) = [key for key, item in stacks.items() if item["Type"] == "AWS::ApiGateway::Stage"]
    (manifests,) = [key for key in default.resources("Custom::AWSCDK-EKS-KubernetesResource") if key.startswith("ApiM")]
    assert stage in stacks[manifests]["DependsOn"]


@pytest.mark.parametrize("path", CONFIGS.values(), ids=CONFIGS)
def test_the_api_reads_the_same_runtimes_as_config_yaml_has(path: Any) -> None:
    config = parse_config(path.read_text(encoding="utf-8"))
    read: Config = parse_config(api_config(config))
    # S3_BUCKET tells it where results are.
    assert replace(topology(read), output_bucket="") == replace(topology(config), output_bucket="")
    assert read.api_gateway.throttle == config.api_gateway.throttle
    assert read.api_gateway.cors_allowed_origins == config.api_gateway.cors_allowed_origins
    assert [(item.name, item.type) for item in read.runtimes] == [(item.name, item.type) for item in config.runtimes]


def test_a_change_that_the_api_does_not_see_does_not_restart_it() -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    seen = api_config(parse_config(text))
    assert seen == api_config(parse_config(f"{text}cloud: {{natGateways: 1}}\n"))
    tenants = "  tenants: {alice: [a1b2c3d4e5]}\n  shared: true\n"
    assert seen == api_config(parse_config(text.replace("APIGW:\n", f"APIGW:\n{tenants}")))


def test_a_pod_is_found_gone_before_it_ends(default: Synthesis) -> None:
    pod = of_kind(default, "Deployment")["spec"]["template"]["spec"]
    settings = {item["name"]: item["value"] for item in container(default)["env"]}
    waits = container(default)["lifecycle"]["preStop"]["sleep"]["seconds"]
    (group,) = default.properties("AWS::ElasticLoadBalancingV2::TargetGroup")
    attributes = {item["Key"]: item["Value"] for item in group["TargetGroupAttributes"]}
    assert waits >= int(attributes["deregistration_delay.timeout_seconds"])
    assert pod["terminationGracePeriodSeconds"] > waits + int(settings["GRACE_PERIOD_SECONDS"])


def test_a_pod_may_not_write_rise_or_ask_the_cluster(default: Synthesis) -> None:
    pod = of_kind(default, "Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    dockerfile = (ROOT / "api" / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER (\d+)$", dockerfile, re.MULTILINE) is not None
    assert f"USER {pod['securityContext']['runAsUser']}\n" in dockerfile
    assert container(default)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_api_cannot_reach_the_metadata_of_its_node(default: Synthesis) -> None:
    egress = of_kind(default, "NetworkPolicy")["spec"]["egress"]
    blocks = [peer["ipBlock"] for rule in egress for peer in rule["to"] if "ipBlock" in peer]
    assert {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]} in blocks
    assert all(block["cidr"].endswith("/32") or "except" in block for block in blocks)


def test_failures_are_counted_by_the_line_that_the_agent_logs(default: Synthesis) -> None:
    patterns = [item["FilterPattern"] for item in default.properties("AWS::Logs::MetricFilter")]
    assert sum('$.log_processed.event = "task_ended"' in pattern for pattern in patterns) == 2
    source = (ROOT / "agent" / "completion.py").read_text(encoding="utf-8")
    assert 'log.info("task_ended", status=' in source
