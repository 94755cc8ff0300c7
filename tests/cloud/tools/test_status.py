"""One table says how a deployment stands, and what could not be asked."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from cloud.kubernetes_access import kubeconfig
from tests.cloud.synthesis import ROOT
from tests.cloud.tools.conftest import Run
from tests.cloud.tools.kubernetes_api import KubernetesApi, deployment, kubernetes_api, node
from tests.support.deployment import Deployment

NODES = "/api/v1/nodes"
DEPLOYMENTS = "/apis/apps/v1/deployments"


def row(output: str, runtime: str) -> list[str]:
    """The cells of a runtime's row."""
    (line,) = [line for line in output.splitlines() if f"│{runtime} " in line]
    return [cell.strip() for cell in line.strip("│┃ ").split("│")]


@pytest.fixture
def config(deployment: Deployment, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(deployment.config.model_dump_json(by_alias=True, exclude_none=True))
    return path


def test_pods_nodes_queues_and_dead_letters_stand_in_one_row(
    run: Run, deployment: Deployment, config: Path, tmp_path: Path
) -> None:
    for _ in range(3):
        deployment.clients.sqs.send_message(QueueUrl=deployment.queue_url("sdruntime"), MessageBody="a task")
    deployment.clients.sqs.receive_message(QueueUrl=deployment.queue_url("sdruntime"))
    deployment.clients.sqs.send_message(QueueUrl=deployment.dead_letter_url("sdruntime"), MessageBody="dead")
    with kubernetes_api(tmp_path) as api:
        api.lists = cluster()
        result = run(
            *("status", "--config", str(config), "--kubeconfig", str(api.kubeconfig)),
            AWS_ENDPOINT_URL=deployment.endpoint,
        )
    assert result.exit_code == 0, result.output
    assert row(result.output, "sdruntime") == [
        *("sdruntime", "sdwebui", "2/3", "1/1"),
        *("2 spot, 1 on demand (g5.2xlarge, g6.2xlarge)", "2", "1", "1"),
    ]
    assert row(result.output, "comfyruntime") == ["comfyruntime", "comfyui", "-", "-", "0", "0", "0", "0"]


def test_a_runtime_that_keda_does_not_scale_is_told_with_kedas_own_words(
    run: Run, deployment: Deployment, config: Path, tmp_path: Path
) -> None:
    def scaled(name: str, **conditions: tuple[str, str]) -> dict[str, Any]:
        told = [{"type": kind, "status": status, "message": text} for kind, (status, text) in conditions.items()]
        return {
            "metadata": {"name": name, "labels": {"app.kubernetes.io/instance": name}},
            "status": {"conditions": told},
        }

    with kubernetes_api(tmp_path) as api:
        api.lists = cluster() | {
            "/apis/keda.sh/v1alpha1/scaledobjects": [
                scaled("sdruntime", Ready=("False", "cannot get queueName from queueURL")),
                scaled("comfyruntime", Ready=("True", ""), Fallback=("True", "")),
                scaled("dynamicruntime", Ready=("True", ""), Fallback=("False", "")),
                {"metadata": {"name": "new"}},
            ]
        }
        result = run(
            *("status", "--config", str(config), "--kubeconfig", str(api.kubeconfig)),
            AWS_ENDPOINT_URL=deployment.endpoint,
        )
    said = " ".join(result.output.split())
    assert "sdruntime: KEDA does not scale it: cannot get queueName from queueURL" in said
    assert "comfyruntime: KEDA cannot read its queue, and keeps the replicas of the fallback" in said
    assert said.count("KEDA") == 2


def cluster() -> dict[str, list[dict[str, Any]]]:
    return {
        DEPLOYMENTS: [
            deployment("sdruntime", track="canary", ready=1, wanted=1),
            deployment("sdruntime", ready=2, wanted=3),
        ],
        NODES: [
            node("a", "sdruntime", capacity="spot"),
            node("b", "sdruntime", capacity="spot", instance_type="g6.2xlarge"),
            node("c", "sdruntime", capacity="on-demand"),
            {"metadata": {"name": "component"}, "spec": {}},
        ],
    }


def test_without_a_cluster_the_queues_are_shown_and_it_is_said_why(
    run: Run, deployment: Deployment, config: Path
) -> None:
    result = run("status", "--config", str(config), AWS_ENDPOINT_URL=deployment.endpoint)
    assert result.exit_code == 0, result.output
    assert row(result.output, "sdruntime")[2:] == ["-", "-", "-", "0", "0", "0"]
    assert "pods and nodes are not known" in result.output


@pytest.mark.parametrize("reachable", [True, False])
def test_a_cluster_that_refuses_or_is_gone_is_no_stack_trace(
    run: Run, deployment: Deployment, config: Path, tmp_path: Path, reachable: bool
) -> None:
    def ask(api: KubernetesApi) -> str:
        result = run(
            *("status", "--config", str(config), "--kubeconfig", str(api.kubeconfig)),
            AWS_ENDPOINT_URL=deployment.endpoint,
        )
        assert result.exit_code == 0
        return result.output

    with kubernetes_api(tmp_path) as api:
        api.refuse = True
        output = ask(api) if reachable else ""
    output = output or ask(api)
    api.kubeconfig.unlink()
    assert "the cluster cannot be reached" in ask(api)
    assert ("the cluster refuses" if reachable else "the cluster cannot be reached") in output


def test_a_stack_that_was_never_deployed_has_no_queues(run: Run, localstack: str) -> None:
    result = run(
        *("status", "--config", str(ROOT / "config.yaml"), "--stack", "nowhere", "--queues-only"),
        AWS_ENDPOINT_URL=localstack,
    )
    assert result.exit_code == 0
    assert row(result.output, "sdruntime")[5] == "no queue"


def test_the_clusters_token_is_a_signed_request_that_names_it() -> None:
    command = "aws eks update-kubeconfig --name blue --region us-east-1"
    eks = {"cluster": {"endpoint": "https://blue.example", "certificateAuthority": {"data": "Y2E="}}}
    stacks = {"Stacks": [{"Outputs": [{"OutputKey": "ConfigCommand", "OutputValue": command}]}]}
    clients = {
        "eks": Mock(describe_cluster=Mock(return_value=eks)),
        "cloudformation": Mock(describe_stacks=Mock(return_value=stacks)),
    }
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        import boto3

        sts = boto3.client("sts", region_name="us-east-1")
        aws: Any = Mock(region="us-east-1", client=lambda name: clients.get(name, sts))
        with kubeconfig(aws, "blue", None) as path:
            text = path.read_text()
            assert path.stat().st_mode & 0o077 == 0
    assert not path.exists()
    token = text.partition('"k8s-aws-v1.')[2].partition('"')[0]
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    assert "Action=GetCallerIdentity" in url
    assert "x-k8s-aws-id" in url
    assert "X-Amz-Signature=" in url
    assert "https://blue.example" in text
