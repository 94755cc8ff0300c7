"""Targets: what cannot be found is said in one line with the way out, and a stack's state is read as it is written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from loadtest.observe.compose import ComposeGpus, ComposeReplicas
from loadtest.observe.local import LocalReplicas, counted
from loadtest.observe.source import SourceError
from loadtest.samples import Replicas
from loadtest.scenario import LocalStack
from loadtest.settings import Settings
from loadtest.target import Kind, TargetError
from loadtest.targets.compose import published
from loadtest.targets.find import check_target, find_target, read_config, region_of
from loadtest.targets.local import free_base, ports_needed, read_state, target_of, up_options
from local import state_file
from local.harness.ports import plan_ports
from local.harness.replicas import Phase
from local.harness.state import Process, ReplicaEntry, State
from local.harness.state import Replicas as StateReplicas

ROOT = Path(__file__).parents[3]


def state(phases: list[Phase]) -> State:
    """Returns the state that the harness writes of a stack with one runtime."""
    nobody = "http://127.0.0.1:1"
    pairs = [
        ReplicaEntry(
            name=f"sdruntime-{number}",
            phase=phase,
            since=0,
            runtime_url=nobody,
            agent_url=nobody,
            runtime_pid=None,
            agent_pid=None,
        )
        for number, phase in enumerate(phases)
    ]
    return State(
        pid=os.getpid(),
        api=nobody,
        sink="http://127.0.0.1:2",
        localstack="http://127.0.0.1:3",
        region="us-east-1",
        task_topic_arn="arn:t",
        callback_topic_arn="arn:c",
        output_bucket="bucket",
        queues={"sdruntime": "http://127.0.0.1:3/queue"},
        processes={"api": Process(pid=1, url=nobody)},
        replicas={
            "sdruntime": StateReplicas(wanted=2, autoscaled=True, min_replica_count=1, max_replica_count=4, pairs=pairs)
        },
    )


def test_the_harness_state_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    state_file.write(path, state([Phase.READY, Phase.NODE, Phase.STARTING, Phase.DRAINING]))
    found = LocalReplicas(path).look()
    assert found["replicas"] == {"sdruntime": Replicas(ready=1, starting=2, draining=1, wanted=2)}
    assert found["busy"] == {}, "nobody answers there"
    target = find_target(Settings(state=path))
    assert target.place is not None
    assert (target.kind, target.place.bucket) == (Kind.LOCAL, "bucket")
    assert target.sample_image == "http://127.0.0.1:2/samples/cat.png"


@pytest.mark.parametrize("phase", list(Phase))
def test_each_phase_of_a_replica_counts_once(phase: Phase) -> None:
    found = counted(json.loads(state([phase]).replicas["sdruntime"].model_dump_json()))
    assert found.ready + found.starting + found.draining == 1


def test_a_stack_that_is_gone_is_not_found(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    assert read_state(path) is None
    with pytest.raises(TargetError, match="start one with `uvx nox -s up`"):
        find_target(Settings(state=path))
    with pytest.raises(SourceError):
        LocalReplicas(path).look()
    state_file.write(path, state([]).model_copy(update={"pid": 2**22 + 1}))
    assert read_state(path) is None, "its process is dead"


def test_an_address_where_nobody_answers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    state_file.write(path, state([]))
    with pytest.raises(TargetError, match=r"the API at http://127\.0\.0\.1:1 cannot be reached"):
        check_target(find_target(Settings(state=path)))


def test_a_state_file_of_another_version_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="is no state file of this version"):
        target_of({"api": "x"}, tmp_path / "up.json", read_config(ROOT / "config.yaml"), "")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (Settings(target=Kind.KUBERNETES), "uvx nox -s cluster -- up"),
        (Settings(target=Kind.KUBERNETES, context="kind-mine"), "--context needs --api-url"),
        (Settings(target=Kind.COMPOSE, endpoint="http://127.0.0.1:1"), "the queues of darkroom are not at"),
        (
            Settings(target=Kind.COMPOSE, endpoint="127.0.0.1:4566"),
            "--endpoint 127.0.0.1:4566: must begin with http://",
        ),
        (Settings(api_url="localhost:8000"), "--api-url localhost:8000: must begin with http://"),
        (Settings(config=Path("nowhere.yaml")), "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_line(settings: Settings, says: str) -> None:
    with pytest.raises(TargetError) as caught:
        find_target(settings)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


DOCKER = """#!/bin/sh
case "$*" in
    "compose port api 8000") echo 127.0.0.1:18000 ;;
    "compose ps"*)
        echo '{"Name": "agent-1", "Service": "sdruntime-agent", "State": "running", "Health": "healthy"}'
        echo '{"Name": "agent-2", "Service": "sdruntime-agent", "State": "running", "Health": "healthy"}'
        echo '{"Name": "agent-3", "Service": "sdruntime-agent", "State": "running", "Health": "starting"}' ;;
    "exec agent-1 "*) echo 'darkroom_agent_busy_seconds_total 12.5' ;;
    *) echo 'service "localstack" is not running' >&2; exit 1 ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a Docker command on the PATH that knows a stack of which LocalStack does not run."""
    command = tmp_path / "docker"
    command.write_text(DOCKER)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.usefixtures("docker")
def test_a_compose_stack_is_found_where_docker_says() -> None:
    assert published("api", 8000, "--api-url") == "http://127.0.0.1:18000"
    with pytest.raises(TargetError, match=r'"localstack" is not running\): start it with .* or name --endpoint'):
        find_target(Settings(target=Kind.COMPOSE))


def test_without_docker_a_compose_stack_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TargetError, match="docker is not on the PATH"):
        published("api", 8000, "--api-url")


@pytest.mark.usefixtures("docker")
def test_each_ready_agent_of_a_compose_stack_is_asked_how_long_its_gpu_has_worked() -> None:
    replicas = ComposeReplicas(ROOT, ["sdruntime"])
    gpus = ComposeGpus(replicas)
    assert gpus.look() == {"busy": {}}, "no agent has been seen yet"
    assert replicas.look() == {"replicas": {"sdruntime": Replicas(ready=2, starting=1)}}
    assert gpus.look() == {"busy": {"sdruntime/agent-1": 12.5}}, "the second one has just gone"


def test_a_stack_of_the_tests_own_is_started_as_the_scenario_says(tmp_path: Path) -> None:
    options = LocalStack(autoscale=True, replicas=3, seconds_per_task=0.5, node_seconds=7)
    words = " ".join(up_options(options, tmp_path / "up.json", 20_000))
    for part in ("--autoscale", "--replicas 3", "--seconds-per-task 0.5", "--node-seconds 7", "--sync-seconds 15"):
        assert part in words
    assert "--autoscale" not in " ".join(up_options(LocalStack(), tmp_path / "up.json", 20_000))


def test_a_stack_of_the_tests_own_gets_as_many_ports_in_a_row_as_it_takes() -> None:
    config = read_config(ROOT / "config.yaml")
    needed = ports_needed(config, 50)
    plan = plan_ports(50 * len(config.runtimes), free_base(needed))
    used = [plan.api, plan.sink, plan.localstack, *(port for worker in plan.workers for port in vars(worker).values())]
    assert sorted(used) == list(range(plan.api, plan.api + needed))
    assert max(used) < 32_000
    with pytest.raises(TargetError, match="5000 replicas of each of 3 runtimes take 30003 ports, and there are 12000"):
        ports_needed(config, 5000)


def test_the_region_is_the_one_that_was_said_or_the_environments_or_the_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[default]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert region_of(Settings()) == "eu-north-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert region_of(Settings()) == "eu-west-3"
    assert region_of(Settings(region="ap-south-1")) == "ap-south-1"
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(TargetError, match="profile"):
        find_target(Settings(target=Kind.AWS))


TEMPLATE = """
Parameters: {Key: {Type: String}}
Resources:
  One: {Type: "AWS::SQS::Queue", Properties: {QueueName: darkroom-sdruntime}}
  Two: {Type: "AWS::SQS::Queue", Properties: {QueueName: darkroom-dynamicruntime}}
  Three: {Type: "AWS::SQS::Queue", Properties: {QueueName: darkroom-comfyruntime}}
Outputs:
  FrontApiEndpoint: {Value: "https://api.example/prod/"}
  GetAPIKeyCommand:
    Value: {"Fn::Sub": "aws apigateway get-api-keys --query 'items[?id==`${Key}`].value' --include-values"}
"""


def test_a_deployment_in_aws_is_found_by_its_stacks_outputs() -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        settings = Settings(target=Kind.AWS, endpoint=endpoint, region="eu-west-1")
        with pytest.raises(TargetError, match="the stack darkroom cannot be read"):
            find_target(settings)
        session: Any = boto3.Session("test", "test", region_name="eu-west-1")
        key = session.client("apigateway", endpoint_url=endpoint).create_api_key(value="a-key-of-twenty-or-more")
        session.client("cloudformation", endpoint_url=endpoint).create_stack(
            StackName="darkroom",
            TemplateBody=TEMPLATE,
            Parameters=[{"ParameterKey": "Key", "ParameterValue": key["id"]}],
        )
        target = find_target(settings)
    finally:
        server.stop()
    assert (target.api, target.api_key) == ("https://api.example/prod", "a-key-of-twenty-or-more")
    assert target.headers() == {"x-api-key": "a-key-of-twenty-or-more"}
    assert "a-key-of" not in repr(target), "no secret in a log"
    assert target.place is not None
    assert set(target.place.queues) == {"sdruntime", "dynamicruntime", "comfyruntime"}
    assert target.place.callback_topic_arn.startswith("arn:aws:sns:eu-west-1:")
