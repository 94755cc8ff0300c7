"""compose.yaml names its runtimes by hand: it must serve each runtime of config.yaml, and as what that says."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from contract.config import load_config
from contract.topology import topology

ROOT = Path(__file__).parents[3]


def test_every_container_has_an_end_to_its_memory_and_processes() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert len(services) > 10
    for name, service in services.items():
        assert re.fullmatch(r"\$\{(RUNTIME_|LOCALSTACK_)?MEMORY_LIMIT:-\w+\}", service["mem_limit"]), name
        assert 0 < service["pids_limit"] <= 4096, name


def test_every_runtime_of_the_config_has_an_agent_on_its_own_queue() -> None:
    config = load_config(ROOT / "config.yaml")
    place = topology(config)
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    agents = [
        service["environment"] for service in services.values() if "RUNTIME_NAME" in service.get("environment", {})
    ]
    assert {agent["RUNTIME_NAME"] for agent in agents} == {runtime.name for runtime in config.runtimes}
    for agent in agents:
        runtime = config.runtime(agent["RUNTIME_NAME"])
        assert runtime is not None
        assert agent["RUNTIME_TYPE"] == runtime.type
        assert (agent.get("DYNAMIC_SD_MODEL") == "true") is runtime.dynamic_model
        played = services[urlsplit(agent["API_BASE_URL"]).hostname]
        assert (agent.get("RUNTIME_FAKE") == "true") is (played["image"] == "darkroom/fake-runtime")
        assert agent["SQS_QUEUE_URL"].rpartition("/")[2] == place.queue(runtime.name).name
        assert agent["SNS_TOPIC_ARN"] == place.callback_topic_arn
        assert agent["S3_BUCKET"] == place.output_bucket
    assert services["api"]["environment"]["TASK_TOPIC_ARN"] == place.task_topic_arn


def test_each_of_our_servers_answers_to_the_names_of_the_services_and_to_no_others() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    told = {
        name: service["environment"].get("ALLOWED_HOSTS") or service["environment"].get("FAKE_RUNTIME_ALLOWED_HOSTS")
        for name, service in services.items()
        if name in {"localstack", "api", "sink"} or "FAKE_RUNTIME_TYPE" in service.get("environment", {})
    }
    for hosts in told.values():
        assert {*(hosts or "").split(",")} == {*told, "${ALLOWED_HOSTS:-}"}
