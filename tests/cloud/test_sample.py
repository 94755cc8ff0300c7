"""The sample application: nobody has it who has not asked for it; who reaches it, and what it may do."""

from __future__ import annotations

from typing import Any, Final

import pytest

from api.sample.settings import SampleSettings
from contract.config import Sample
from contract.fixed_cost import fixed_of
from contract.prices import bill, fixed_usage, load_prices, total
from tests.cloud.synthesis import ROOT, Synthesis
from tests.cloud.test_permissions import actions_of

ON: Final = "AWS::ECS::Service"


@pytest.fixture(scope="module")
def within(assemblies: dict[str, Synthesis]) -> Synthesis:
    """A deployment whose sample application nobody outside the network reaches, as it is unless more is said."""
    return assemblies["odd-names"]


def listener_of(assembly: Synthesis) -> dict[str, Any]:
    stack = f"{assembly.config.stack_name}-sample"
    (found,) = assembly.properties("AWS::ElasticLoadBalancingV2::Listener", stack)
    return found


def ways_in(assembly: Synthesis) -> list[tuple[Any, int]]:
    """Which networks are let in, and to which port."""
    return [
        (rule["CidrIp"], rule["ToPort"])
        for group in assembly.properties("AWS::EC2::SecurityGroup", f"{assembly.config.stack_name}-sample")
        for rule in group.get("SecurityGroupIngress", [])
    ]


def balancer_of(assembly: Synthesis) -> dict[str, Any]:
    (found,) = assembly.properties("AWS::ElasticLoadBalancingV2::LoadBalancer", f"{assembly.config.stack_name}-sample")
    return found


def container_of(assembly: Synthesis) -> dict[str, Any]:
    (task,) = assembly.properties("AWS::ECS::TaskDefinition")
    (container,) = task["ContainerDefinitions"]
    return dict(container)


def test_it_is_off_unless_the_config_says_otherwise(default: Synthesis, everything: Synthesis) -> None:
    assert not default.resources(ON)
    assert len(everything.resources(ON)) == 1


def test_by_default_it_is_reached_from_within_the_network_alone(within: Synthesis) -> None:
    assert balancer_of(within)["Scheme"] == "internal"
    (way,) = ways_in(within)
    assert "VpcCidrBlock" in str(way[0]) or "CidrBlock" in str(way[0])
    assert (listener_of(within)["Protocol"], way[1]) == ("HTTP", 80)


def test_from_outside_come_the_named_networks_alone_and_by_tls(everything: Synthesis) -> None:
    assert balancer_of(everything)["Scheme"] == "internet-facing"
    assert ways_in(everything) == [("203.0.113.0/24", 443)]
    listener = listener_of(everything)
    assert (listener["Protocol"], listener["Port"]) == ("HTTPS", 443)
    assert listener["Certificates"] == [{"CertificateArn": everything.config.cloud.sample.certificate_arn}]


@pytest.mark.parametrize("which", ["within", "everything"])
def test_its_container_is_the_apis_image_and_is_told_addresses_alone(
    request: pytest.FixtureRequest, which: str
) -> None:
    assembly: Synthesis = request.getfixturevalue(which)
    container = container_of(assembly)
    assert container["EntryPoint"] == ["python", "-m", "api.sample"]
    assert "/api" in str(container["Image"])
    assert container["ReadonlyRootFilesystem"] is True
    assert "Secrets" not in container
    told = {item["Name"] for item in container["Environment"]}
    known = {name.upper() for name in SampleSettings.model_fields}
    needed = {name.upper() for name, field in SampleSettings.model_fields.items() if field.is_required()}
    assert needed <= told <= known
    (service,) = assembly.properties(ON)
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"


def test_it_takes_callbacks_from_a_queue_of_its_own_and_may_do_nothing_else(within: Synthesis) -> None:
    stack = f"{within.config.stack_name}-sample"
    (queue,) = within.resources("AWS::SQS::Queue", stack)
    (task,) = within.properties("AWS::ECS::TaskDefinition")
    role = {"Ref": task["TaskRoleArn"]["Fn::GetAtt"][0]}
    (statement,) = [
        statement
        for policy in within.properties("AWS::IAM::Policy", stack)
        if role in policy["Roles"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert statement["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert set(statement["Action"]) == actions_of("api/sample", shared=False)
    (subscription,) = within.properties("AWS::SNS::Subscription", stack)
    assert (subscription["Protocol"], subscription["RawMessageDelivery"]) == ("sqs", True)
    assert subscription["TopicArn"].endswith(f":{within.config.stack_name}-callbacks")


def test_its_page_says_what_it_costs(within: Synthesis) -> None:
    config = within.config
    without = config.model_copy(update={"cloud": config.cloud.model_copy(update={"sample": Sample()})})
    costs = [total(bill(fixed_usage(fixed_of(one)), load_prices())) for one in (config, without)]
    assert f"${costs[0] - costs[1]:.2f} a month" in (ROOT / "docs" / "sample.md").read_text(encoding="utf-8")
