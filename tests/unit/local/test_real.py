"""A real server in a fake one's place: what is refused, and what becomes of the stack's processes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.config import ConfigError, load_config
from contract.topology import topology
from local.harness import plan
from local.harness.options import Options
from local.harness.ports import plan_ports
from local.harness.real import check_real, parse_real, shown
from tests.support.waiting import free_port

CONFIG = load_config(Path("config.yaml"))


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_servers_are_named_with_their_runtimes() -> None:
    values = ["comfyruntime=http://127.0.0.1:8188/", "sdruntime=https://user:key@gpu.example/sd?token=a=b"]
    assert parse_real(values) == {
        "comfyruntime": "http://127.0.0.1:8188",
        "sdruntime": "https://user:key@gpu.example/sd?token=a=b",
    }
    assert parse_real([]) == {}


@pytest.mark.parametrize(
    "value",
    [
        "comfyruntime",
        "=http://h",
        "comfyruntime=",
        "comfyruntime=127.0.0.1:8188",
        "a=ftp://h",
        "a=http://",
        "a=http://[b",
    ],
)
def test_what_is_no_name_and_address_is_refused_with_an_example(value: str) -> None:
    with pytest.raises(ConfigError, match=r"such as comfyruntime=http://127\.0\.0\.1:8188"):
        parse_real([value])


def test_a_runtime_has_one_server() -> None:
    with pytest.raises(ConfigError, match="twice"):
        parse_real(["a=http://h:1", "a=http://h:2"])


def test_a_runtime_that_is_not_there_and_a_server_that_does_not_listen_are_named(listening: str) -> None:
    check_real({"comfyruntime": listening}, CONFIG, replicas=1)
    with pytest.raises(ConfigError, match=r"no runtime 'comfy' in config\.yaml; there are sdruntime, "):
        check_real({"comfy": listening}, CONFIG, replicas=1)
    with pytest.raises(ConfigError, match="one agent alone"):
        check_real({"comfyruntime": listening}, CONFIG, replicas=2)
    nobody = f"http://user:secret@127.0.0.1:{free_port()}"
    with pytest.raises(ConfigError, match=r"nobody listens at http://127.0.0.1:\d+ \(comfyruntime\)") as caught:
        check_real({"comfyruntime": nobody}, CONFIG, replicas=1)
    assert "secret" not in str(caught.value)


def test_no_secret_of_an_address_is_shown() -> None:
    assert shown("https://user:key@gpu.example:9/sd?token=a") == "https://gpu.example:9/sd"


def test_the_agent_calls_the_server_which_is_neither_started_nor_restarted() -> None:
    real = {"comfyruntime": "http://user:key@10.0.0.7:8188"}
    options = Options(config=Path("config.yaml"), state=Path("up.json"), real=real)
    place, ports = topology(CONFIG), plan_ports(len(CONFIG.runtimes), 9000)
    urls = {queue.runtime: "http://q" for queue in place.queues}
    runtimes = {item.name: item for item in plan.runtimes(CONFIG, options, ports, {})}
    assert {name for name, item in runtimes.items() if item.address} == {"comfyruntime"}
    assert runtimes["comfyruntime"].url == "http://10.0.0.7:8188"
    agents = plan.agents(CONFIG, place, options, ports, {}, endpoint="http://e", queue_urls=urls, dead_letter_urls=urls)
    for agent in agents:
        is_real = agent.environment["RUNTIME_NAME"] in real
        assert agent.environment["RECYCLE_BY"] == ("nobody" if is_real else "exit")
        assert agent.environment["RUNTIME_FAKE"] == ("false" if is_real else "true")
        assert (agent.environment["API_BASE_URL"] == real["comfyruntime"]) == is_real
