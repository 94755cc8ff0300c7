"""How a pod of the chart becomes processes: the environment of its containers, on an address of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud import helm
from cluster.pods import Standing, Whereabouts, environment_of, has_work, played, secret_names, status_of
from cluster.ports import cluster_ports, pod_address
from cluster.releases import Surroundings, as_pods_see, values_of
from contract.config import Config, parse_config
from contract.topology import topology
from local.harness.options import Options
from local.harness.ports import PortsError

QUEUE = "http://127.0.0.1:4566/queue/us-east-1/000000000000/darkroom-sdruntime"
PROCESSES = Surroundings("http://127.0.0.1:4566", True, 10, "http://127.0.0.1:8001")
SECRETS = {"sdruntime-emulator": {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}}


def config_of(**runtime: Any) -> Config:
    described = {"name": "sdruntime", "type": "sdwebui", "dynamicModel": True, **runtime}
    return parse_config(json.dumps({"modelsRuntime": [described]}))


def rendered(config: Config, around: Surroundings = PROCESSES) -> list[dict[str, Any]]:
    runtime = config.runtimes[0]
    values = values_of(config, runtime, topology(config), around, queue=QUEUE, dead_letters=f"{QUEUE}-dlq")
    return helm.render(values, release=runtime.name, namespace=runtime.namespace)


def pod_of(objects: list[dict[str, Any]], name: str = "sdruntime") -> dict[str, Any]:
    [deployment] = [item for item in objects if (item["kind"], item["metadata"]["name"]) == ("Deployment", name)]
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": "sdruntime-abc", "namespace": "default", "uid": "1"}
    return {"metadata": metadata, "spec": {**template["spec"], "nodeName": "local-1"}}


@pytest.fixture
def where(tmp_path: Path) -> Whereabouts:
    return Whereabouts("127.20.0.2", tmp_path, tmp_path, 16442)


def test_the_agent_of_a_pod_is_told_what_the_chart_says_and_where_its_pod_is(where: Whereabouts) -> None:
    config = config_of()
    pod = pod_of(rendered(config))
    assert secret_names(pod) == {"sdruntime-emulator"}
    options = Options(config=Path(), state=Path(), seconds_per_task=4)
    both = played(pod, where, config=config, options=options, secrets=SECRETS, inherited={"AWS_PROFILE": "work"})
    told = both.agent.environment
    assert told["RUNTIME_NAME"] == "sdruntime"
    assert told["SQS_QUEUE_URL"] == QUEUE
    assert told["AWS_ACCESS_KEY_ID"] == "test"
    assert told["POD_NAME"] == "sdruntime-abc"
    assert told["API_BASE_URL"] == "http://127.20.0.2:7860"
    assert told["INPUT_ALLOWED_ORIGINS"] == "http://127.0.0.1:8001"
    assert (told["HEALTH_HOST"], told["KUBERNETES_SERVICE_PORT"]) == ("127.20.0.2", "16442")
    assert "AWS_PROFILE" not in told
    assert both.agent.ready_url == "http://127.20.0.2:9464/readyz"
    assert both.runtime.ready_url == "http://127.20.0.2:7860/sdapi/v1/options"
    # The chart's liveness probe: a new runtime 5 to 10 s after it is asked for.
    assert (both.recycle_every, both.recycle_looks) == (5, 2)
    assert both.agent.stop_timeout == 10 + 15
    assert both.runtime.command[-4:] == ("--host", "127.20.0.2", "--port", "7860")


def test_what_a_runtime_is_given_by_extra_values_reaches_its_agent() -> None:
    own = {"runtime": {"queueAgent": {"extraEnv": [{"name": "SQS_WAIT_SECONDS", "value": "3"}]}}}
    pod = pod_of(rendered(config_of(extraValues=own)))
    agent = pod["spec"]["containers"][0]
    assert environment_of(agent, pod, SECRETS)["SQS_WAIT_SECONDS"] == "3"


def test_a_placeholder_has_nothing_to_do() -> None:
    objects = rendered(config_of(extraValues={"runtime": {"headroom": {"replicas": 1}}}))
    assert has_work(pod_of(objects))
    assert not has_work(pod_of(objects, "sdruntime-headroom"))


def test_a_pod_says_step_by_step_how_far_it_is() -> None:
    pod = pod_of(rendered(config_of()))
    at = "2026-11-29T12:00:00Z"
    steps = [
        Standing(at),
        Standing(at, at),
        Standing(at, at, at),
        replace(Standing(at, at, at, at), ready=True, restarts={"inference-api": 2}),
    ]
    seen = []
    for step in steps:
        status = status_of(pod, "127.20.0.2", step)
        holds = [item["type"] for item in status["conditions"] if item["status"] == "True"]
        seen.append((status["phase"], holds[-1]))
    assert seen == [
        ("Pending", "PodReadyToStartContainers"),
        ("Pending", "Initialized"),
        ("Running", "Initialized"),
        ("Running", "Ready"),
    ]
    assert status["initContainerStatuses"][0]["restartCount"] == 2


def test_without_gpus_the_fakes_ask_for_none_and_the_policy_lets_the_pods_reach_the_api() -> None:
    around = Surroundings("http://172.18.0.1:4566", False, 10, "", ("10.96.0.1/32", "172.18.0.2/32"))
    objects = rendered(config_of(), around)
    runtime = pod_of(objects)["spec"]["initContainers"][0]
    assert runtime["resources"]["requests"]["nvidia.com/gpu"] == "0"
    assert runtime["args"] == ["--type", "sdwebui", "--port", "7860"]
    [policy] = [item for item in objects if item["kind"] == "NetworkPolicy"]
    blocks = [to["ipBlock"]["cidr"] for rule in policy["spec"]["egress"] for to in rule["to"] if "ipBlock" in to]
    assert {"10.96.0.1/32", "172.18.0.2/32", "172.18.0.1/32"} <= set(blocks)
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", ())}
    assert {443, 6443, 4566} <= ports


def test_pods_reach_a_queue_by_the_emulators_address() -> None:
    assert as_pods_see(QUEUE, "http://172.18.0.1:4566").startswith("http://172.18.0.1:4566/queue/")


def test_every_pod_has_an_address_of_its_own() -> None:
    _, control = cluster_ports(12_000)
    found = {pod_address(control, number) for number in range(1, 2000)}
    assert len(found) == 1999
    assert all(address.startswith("127.") and not address.startswith("127.0.") for address in found)
    _, other = cluster_ports(12_100)
    assert pod_address(control, 1) != pod_address(other, 1)


def test_ports_that_do_not_fit_are_refused() -> None:
    with pytest.raises(PortsError, match="lower --port-base"):
        cluster_ports(65_530)
