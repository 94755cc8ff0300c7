"""Which processes there are, and what they are told."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from contract.config import load_config, parse_config
from contract.topology import topology
from local.harness import plan
from local.harness.options import Options
from local.harness.ports import plan_ports
from local.harness.sample import curl_line

CONFIG = load_config(Path("config.yaml"))
PLACE = topology(CONFIG)
URLS = {queue.runtime: f"http://127.0.0.1:9002/{queue.name}" for queue in PLACE.queues}


def options(**changes: object) -> Options:
    return Options(config=Path("config.yaml"), state=Path("up.json"), **changes)  # type: ignore[arg-type]


def agents(choices: Options, inherited: dict[str, str] | None = None) -> list[plan.Component]:
    ports = plan_ports(len(CONFIG.runtimes) * choices.replicas, 9000)
    return plan.agents(
        CONFIG,
        PLACE,
        choices,
        ports,
        inherited or {},
        endpoint="http://127.0.0.1:9002",
        queue_urls=URLS,
        dead_letter_urls={name: f"{url}-dlq" for name, url in URLS.items()},
    )


def test_each_runtime_has_one_agent_that_calls_the_fake_of_that_name() -> None:
    ports = plan_ports(3, 9000)
    fakes = {item.name: item for item in plan.runtimes(CONFIG, options(), ports, {})}
    assert set(fakes) == {"sdruntime", "dynamicruntime", "comfyruntime"}
    for agent in agents(options()):
        name = agent.environment["RUNTIME_NAME"]
        assert agent.name == f"{name}-agent"
        assert agent.environment["API_BASE_URL"] == fakes[name].url
        assert agent.environment["SQS_QUEUE_URL"] == URLS[name]
        assert agent.environment["S3_BUCKET"] == PLACE.output_bucket


def test_an_agent_that_asks_for_a_new_runtime_gets_its_own_one_restarted() -> None:
    ports = plan_ports(len(CONFIG.runtimes) * 2, 9000)
    fakes = {item.name: item for item in plan.runtimes(CONFIG, options(replicas=2), ports, {})}
    for agent in agents(options(replicas=2)):
        assert agent.environment["RECYCLE_BY"] == "exit"
        assert fakes[agent.runtime].url == agent.environment["API_BASE_URL"]


def test_replicas_share_a_queue_and_nothing_else() -> None:
    pairs = agents(options(replicas=2))
    assert [agent.name for agent in pairs[:2]] == ["sdruntime-1-agent", "sdruntime-2-agent"]
    assert len({agent.port for agent in pairs}) == 6
    assert len({agent.environment["API_BASE_URL"] for agent in pairs}) == 6
    assert pairs[0].environment["SQS_QUEUE_URL"] == pairs[1].environment["SQS_QUEUE_URL"]


def test_a_static_runtime_holds_its_model_alone_and_a_dynamic_one_offers_several() -> None:
    static, dynamic, comfy = (plan.models_of(runtime, CONFIG) for runtime in CONFIG.runtimes)
    assert static == ["v1-5-pruned-emaonly.safetensors"]
    assert len(dynamic) > 1
    assert static[0] in dynamic
    assert static[0] in comfy


def test_latency_and_seconds_per_task_reach_the_fake_runtimes() -> None:
    ports = plan_ports(3)
    [fake, *_] = plan.runtimes(CONFIG, options(latency=0.25, seconds_per_task=2), ports, {})
    line = shlex.join(fake.command)
    assert "--latency 0.25" in line
    assert "--seconds-per-task 2" in line
    assert "--seconds-per-task" not in plan.runtimes(CONFIG, options(), ports, {})[0].command


def test_recorded_nodes_reach_the_fake_runtimes() -> None:
    told = {"FAKE_RUNTIME_CATALOGUE": "mine.json.gz", "FAKE_RUNTIME_PORT": "1"}
    for fake in plan.runtimes(CONFIG, options(), plan_ports(3, 9000), told):
        assert fake.environment["FAKE_RUNTIME_CATALOGUE"] == "mine.json.gz"
        assert "FAKE_RUNTIME_PORT" not in fake.environment


def test_nothing_that_a_shell_has_for_real_aws_reaches_a_process() -> None:
    shell = {
        "PATH": "/bin",
        "AWS_PROFILE": "production",
        "AWS_SESSION_TOKEN": "secret",
        "AWS_ENDPOINT_URL_S3": "https://example.com",
        "HOST": "laptop",
        "S3_BUCKET": "real",
        "HTTP_PROXY": "http://proxy:3128",
        "NO_PROXY": "intranet",
        "API_KEYS": "me=key",
    }
    for component in agents(options(), shell):
        environment = component.environment
        assert {name for name in environment if name.startswith("AWS_")} == {
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ENDPOINT_URL",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "AWS_EC2_METADATA_DISABLED",
        }
        assert environment["AWS_ACCESS_KEY_ID"] == "test"
        assert environment["S3_BUCKET"] == PLACE.output_bucket
        assert "HOST" not in environment
        assert environment["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    front = plan.api(PLACE, options(), plan_ports(3, 9000), shell, endpoint="http://127.0.0.1:9002")
    assert front.environment["HOST"] == "127.0.0.1"
    assert front.environment["API_KEYS"] == "me=key"


def test_inputs_may_come_from_the_sink_and_from_no_other_private_address() -> None:
    assert {agent.environment["INPUT_ALLOWED_ORIGINS"] for agent in agents(options())} == {"http://127.0.0.1:9001"}


def test_the_line_to_copy_is_the_reference_request() -> None:
    line = curl_line("http://127.0.0.1:8000", CONFIG)
    assert line is not None
    words = shlex.split(line)
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:8000/v1alpha2"]
    assert json.loads(words[-1]) == json.loads(Path("tests/seeds/v1alpha2-text-to-image.json").read_text())
    only_comfy = parse_config("{modelBucketArn: 'arn:aws:s3:::abc', modelsRuntime: [{name: c, type: comfyui}]}")
    assert curl_line("http://127.0.0.1:8000", only_comfy) is None


@pytest.mark.parametrize(("shown", "value"), [(True, "k'=1"), (False, "KEY_OF_alice")])
def test_the_line_to_copy_carries_the_key_where_only_a_person_sees_it(shown: bool, value: str) -> None:
    line = curl_line("http://127.0.0.1:8000", CONFIG, keys="alice=k'=1, bob=2", shown=shown)
    assert line is not None
    assert f"x-api-key: {value}" in shlex.split(line)
    assert shown or "k'=1" not in line


@pytest.mark.parametrize(("kind", "ready_path"), [("invokeai", "/api/v1/app/version"), ("openai", "/health")])
def test_a_fake_one_stands_in_for_a_server_that_is_not_there(kind: str, ready_path: str) -> None:
    config = parse_config(f"modelBucketArn: arn:aws:s3:::my-models\nmodelsRuntime:\n- {{name: own, type: {kind}}}\n")
    (runtime,) = plan.runtimes(config, options(), plan_ports(1), {})
    assert runtime.command[1:5] == ("-m", "fake_runtime", "--type", kind)
    assert runtime.ready_path == ready_path


def test_the_example_stands_in_for_a_runtime_of_ones_own() -> None:
    config = parse_config("modelBucketArn: arn:aws:s3:::my-models\nmodelsRuntime:\n- {name: own, type: http}\n")
    (runtime,) = plan.runtimes(config, options(), plan_ports(1), {})
    assert runtime.command[1:4] == ("-m", "local.example_runtime", "--port")
    assert runtime.ready_path == "/health"
