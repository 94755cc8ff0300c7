"""From the template to the image: what CloudFormation makes of the messaging stack serves the reference's requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from contract.topology import topology
from local.clients import make_clients
from tests.cloud.synthesis import ACCOUNT, Synthesis
from tests.cloud.tools.conftest import REGION, Run, client
from tests.support.deployment import CallbackQueue, Deployment
from tests.support.stack import Stack
from tests.support.waiting import eventually
from tests.support.web import web_server

KEY = "smoke-test-key-0123456789"


def wait_created(endpoint: str, name: str) -> None:
    def status() -> str:
        found: str = client("cloudformation", endpoint).describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
        return "" if found.endswith("IN_PROGRESS") else found

    assert eventually(status, within=60) == "CREATE_COMPLETE"


@pytest.fixture(scope="module")
def deployment(ministack: str, default: Synthesis) -> Deployment:
    """The messaging stack of the repository's own config.yaml, deployed by CloudFormation and by nothing else."""
    formation, parameters = client("cloudformation", ministack), client("ssm", ministack)
    # What `cdk bootstrap` leaves, and each template asks for.
    parameters.put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")
    name = f"{default.config.stack_name}-messaging"
    formation.create_stack(StackName=name, TemplateBody=json.dumps(default.templates[name]))
    wait_created(ministack, name)
    place = topology(default.config, region=REGION, account=ACCOUNT)
    clients = make_clients(ministack)
    return Deployment(default.config, place, clients, CallbackQueue(clients, place))


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with web_server() as server:
        yield server.url


@pytest.fixture(scope="module")
def stack(deployment: Deployment, web: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The API, which asks for a key, and a pod for each runtime."""
    with Stack(deployment, tmp_path_factory.mktemp("stack")) as made:
        pods = []
        for runtime in deployment.config.runtimes:
            fake = made.start_fake(kind=runtime.type, models="v1-5-pruned-emaonly.safetensors", ready=False)
            pods.append(made.start_pod(runtime.name, fake=fake, ready=False, INPUT_ALLOWED_ORIGINS=web))
        made.start_api(API_KEYS=f"smoke={KEY}")
        for pod in pods:
            pod.wait_ready()
        yield made
        assert made.traces() == {}


def test_the_smoke_test_passes_on_what_cloudformation_made(run: Run, stack: Stack, web: str, tmp_path: Path) -> None:
    result = run(
        *("smoke", "--url", stack.api, "--api-key", KEY, "--output", str(tmp_path), "--timeout", "60"),
        *("--input-image", f"{web}/picture.png"),
    )
    assert result.exit_code == 0, result.output
    assert "the smoke test passed: 8 requests" in result.output
    images = sorted(tmp_path.iterdir())
    assert len(images) == 8
    for path in images:
        with Image.open(path) as image:
            assert image.width > 0


OUTPUTS = """
Parameters: {Endpoint: {Type: String}, KeyValue: {Type: String}}
Resources:
  Key: {Type: "AWS::ApiGateway::ApiKey", Properties: {Enabled: true, Value: {Ref: KeyValue}}}
Outputs:
  FrontApiEndpoint: {Value: {Ref: Endpoint}}
  GetAPIKeyCommand:
    Value: {"Fn::Sub": "aws apigateway get-api-keys --query 'items[?id==`${Key}`].value' --include-values"}
"""


def test_address_and_key_are_found_by_the_stacks_outputs(run: Run, stack: Stack, ministack: str) -> None:
    client("cloudformation", ministack).create_stack(
        StackName="outputs-alone",
        TemplateBody=OUTPUTS,
        Parameters=[
            {"ParameterKey": "Endpoint", "ParameterValue": f"{stack.api}/"},
            {"ParameterKey": "KeyValue", "ParameterValue": KEY},
        ],
    )
    wait_created(ministack, "outputs-alone")
    result = run("smoke", "--stack", "outputs-alone", "--dry-run", AWS_ENDPOINT_URL=ministack)
    assert result.exit_code == 0, result.output
    assert result.output.count("would send") == 8
    assert KEY not in result.output


def test_a_runtime_that_fails_fails_the_smoke_test_and_is_quoted(run: Run, stack: Stack, tmp_path: Path) -> None:
    no_picture = tmp_path / "text.txt"
    no_picture.write_text("this is no picture")
    result = run(
        *("smoke", "--url", stack.api, "--api-key", KEY, "--output", str(tmp_path / "images"), "--timeout", "60"),
        *("--runtime", "dynamicruntime", "--input-image", str(no_picture)),
    )
    assert result.exit_code == 1
    assert "the smoke test failed" in result.output
    shown = " ".join(result.output.split())
    assert "dynamicruntime: text-to-image (v1alpha2) │ ✓" in shown
    assert "dynamicruntime: image-to-image (v1alpha2) │ ✗" in shown


def test_a_wrong_key_is_one_line_that_names_the_option(run: Run, stack: Stack) -> None:
    result = run("smoke", "--url", stack.api, "--api-key", "wrong")
    assert result.exit_code == 2
    assert "--api-key" in result.output
    assert "Traceback" not in result.output


def test_an_unknown_runtime_is_refused_with_the_known_ones(run: Run, stack: Stack) -> None:
    result = run("smoke", "--url", stack.api, "--api-key", KEY, "--runtime", "nobody")
    assert result.exit_code == 2
    assert "comfyruntime (comfyui)" in result.output
