"""The stack in Docker Compose takes the reference's requests, and its containers and images are hardened."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from contract.config import load_config
from tests.compose.conftest import ROOT, Compose
from tests.journeys.journeys import JOURNEYS
from tests.journeys.target import Inbox, Target
from tests.support.waiting import eventually

METADATA = {"runtime": "sdruntime", "tasktype": "text-to-image", "prefix": "output"}

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def target(compose: Compose) -> Target:
    return Target(
        api=f"http://127.0.0.1:{compose.ports['API_PORT']}",
        aws=f"http://127.0.0.1:{compose.ports['LOCALSTACK_PORT']}",
        sample_image="http://sink:8001/samples/cat.png",
        config=load_config(ROOT / "config.yaml"),
    )


@pytest.fixture(scope="session")
def inbox(target: Target) -> Iterator[Inbox]:
    with Inbox.open(target) as opened:
        yield opened


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS.keys())
def test_the_reference_requests_go_all_the_way(
    journey: Callable[[Target, Inbox], None], target: Target, inbox: Inbox
) -> None:
    journey(target, inbox)


def test_every_container_is_hardened(compose: Compose) -> None:
    names = compose.run("ps", "--all", "--format", "{{.Name}}").split()
    assert len(names) >= 10
    for name in names:
        (state,) = json.loads(subprocess.run(["docker", "inspect", name], capture_output=True, check=True).stdout)
        user = state["Config"]["User"]
        assert user.split(":")[0] not in {"", "0", "root"}, f"{name} runs as root"
        assert "ALL" in state["HostConfig"]["CapDrop"], name
        assert state["HostConfig"]["ReadonlyRootfs"], f"{name} has a writable root file system"
        for bindings in (state["HostConfig"]["PortBindings"] or {}).values():
            assert all(binding["HostIp"] == "127.0.0.1" for binding in bindings), name


PROBE = """
import json, os, pathlib, re, shutil
tools = [name for name in ("gcc", "cc", "make", "git", "uv", "pip") if shutil.which(name)]
private = re.compile(rb"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY-----")
files = [path for place in ("/app", "/root", "/home") for path in pathlib.Path(place).rglob("*") if path.is_file()]
hidden = [str(path) for path in files if any(part in {".env", ".git", ".aws", ".netrc"} for part in path.parts)]
told = [str(path) for path in files if os.access(path, os.R_OK) and private.search(path.read_bytes())]
print(json.dumps({"files": len(files), "tools": tools, "hidden": hidden, "told": told, "names": sorted(os.environ)}))
"""


@pytest.mark.parametrize("image", ["api", "agent", "webhooks", "fake-runtime", "local", "localstack"])
def test_images_hold_no_build_tools_and_no_secret(image: str, compose: Compose) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "--network=none", "--entrypoint", "python", f"darkroom/{image}", "-c", PROBE],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["files"] > 0, "nothing was looked at"
    assert (found["tools"], found["hidden"], found["told"]) == ([], [], [])
    assert not [name for name in found["names"] if re.search("SECRET|TOKEN|PASSWORD|KEY|CREDENTIAL", name)]
    history = subprocess.run(
        ["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", f"darkroom/{image}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # What is given to a build as an argument or a variable stays in the image for good.
    given = re.findall(r"(?:^|\s)(?:ENV|ARG)\s+(\w+)|^\|\d+ (\w+)=", history, re.MULTILINE)
    assert given
    assert not [name for names in given for name in names if re.search("SECRET|TOKEN|PASSWORD|CREDENTIAL", name)]


def test_a_webhook_is_delivered_to_a_receiver_in_another_container(compose: Compose, target: Target) -> None:
    task = {"metadata": {**METADATA, "webhook": "http://sink:8001/webhooks"}, "content": {"prompt": "A dog"}}
    sent = httpx.post(f"{target.api}/v1/tasks", json={"task": task}, timeout=20)
    assert sent.status_code == 202, sent.text
    sink = f"http://127.0.0.1:{compose.ports['SINK_PORT']}"

    def arrived() -> list[dict[str, Any]]:
        heard = [item["body"] for item in httpx.get(f"{sink}/webhooks", timeout=10).json()]
        return [json.loads(body) for body in heard if sent.json()["id"] in body]

    (event,) = eventually(arrived, within=60)
    assert event["type"] == "task.succeeded"


def test_a_localstack_that_was_killed_takes_tasks_again_without_a_person(
    compose: Compose, target: Target
) -> None:  # the last one: what the others left is gone
    def status() -> int:
        task = {"task": {"metadata": METADATA, "content": {"prompt": "A dog", "alwayson_scripts": {}}}}
        try:
            return httpx.post(f"{target.api}/v1/tasks", json=task, timeout=20).status_code
        except httpx.TransportError:
            return 0

    assert status() == 202
    (name,) = compose.run("ps", "--format", "{{.Name}}", "localstack").split()
    before = subprocess.run(["docker", "inspect", "-f", "{{.RestartCount}}", name], capture_output=True, check=True)
    compose.run("exec", "localstack", "python", "-c", "import os, signal; os.kill(1, signal.SIGTERM)")
    eventually(
        lambda: (
            before.stdout
            != subprocess.run(
                ["docker", "inspect", "-f", "{{.RestartCount}}", name], capture_output=True, check=True
            ).stdout
        )
    )
    eventually(lambda: status() == 202, within=60, every=1)
