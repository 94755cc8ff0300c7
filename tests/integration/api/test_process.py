"""`python -m api` as a process: it says where it listens, serves, and ends in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.deployment import Deployment
from tests.support.processes import ROOT, Process
from tests.support.waiting import free_port


@pytest.fixture
def process(module_deployment: Deployment, tmp_path: Path) -> Iterator[Process]:
    config = tmp_path / "config.yaml"
    config.write_text((ROOT / "config.yaml").read_text())
    port = free_port()
    place = module_deployment.place
    api = Process(
        "api",
        "api",
        folder=tmp_path,
        environment={
            **module_deployment.aws_environment(),
            "CONFIG_FILE": str(config),
            "TASK_TOPIC_ARN": place.task_topic_arn,
            "CALLBACK_TOPIC_ARN": place.callback_topic_arn,
            "S3_BUCKET": place.output_bucket,
            "PORT": str(port),
            "API_KEYS": "dev=a-secret-key",
        },
        ready_url=f"http://127.0.0.1:{port}/readyz",
    )
    try:
        yield api.wait_ready()
    finally:
        api.stop()


def lines(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.text().splitlines()]


def test_it_serves_logs_without_secrets_and_ends_at_once_with_an_event_stream_open(process: Process) -> None:
    base = process.ready_url.removesuffix("/readyz")
    headers = {"x-api-key": "a-secret-key"}
    metadata = {"id": "logged", "runtime": "sdruntime", "tasktype": "text-to-image", "prefix": "output"}
    request = {"task": {"metadata": metadata, "content": {"prompt": "a private prompt"}}}

    assert httpx.post(f"{base}/v1alpha2", json=request, headers=headers).status_code == 200
    with httpx.stream("GET", f"{base}/v1/tasks/logged/events", headers=headers) as stream:
        chunks = stream.iter_text()
        assert "retry" in next(chunks)
        process.terminate()
        status, seconds = process.wait_ended(within=60)

    assert seconds < 10
    assert status in {0, -15}
    logged = [line for line in lines(process) if line.get("task_id") == "logged"]
    assert logged[0]["key"] == "dev"
    assert logged[0]["route"] == "/v1alpha2"
    assert "a-secret-key" not in process.text()
    assert "a private prompt" not in process.text()
    assert "Traceback" not in process.text()


def test_a_port_in_use_is_one_clear_line(process: Process, tmp_path: Path, module_deployment: Deployment) -> None:
    port = process.ready_url.split(":")[2].removesuffix("/readyz")
    place = module_deployment.place
    second = Process(
        "second",
        "api",
        folder=tmp_path,
        environment={
            **module_deployment.aws_environment(),
            "CONFIG_FILE": str(tmp_path / "config.yaml"),
            "TASK_TOPIC_ARN": place.task_topic_arn,
            "CALLBACK_TOPIC_ARN": place.callback_topic_arn,
            "S3_BUCKET": place.output_bucket,
            "PORT": port,
        },
    )
    try:
        status, _ = second.wait_ended(within=15)
    finally:
        second.stop()

    assert status == 1
    assert port in second.text()
    assert "address already in use" in second.text()
    assert "Traceback" not in second.text()
    assert any("OPEN" in line.get("event", "") for line in lines(second))
