"""What the nodes make of pods: processes that start and end in order, and a status that says how far they are."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from cluster import nodes, pods
from cluster.api import ApiError, ApiServer
from cluster.nodes import LocalNodes
from cluster.pods import Played, Whereabouts
from cluster.ports import cluster_ports
from contract.config import parse_config
from local.harness.lines import Printer
from local.harness.options import Options
from local.harness.plan import Component, Stage
from local.harness.restarts import RestartPolicy
from local.harness.supervisor import Supervisor
from tests.support.waiting import free_port

SERVER = """
import http.server, signal, sys, time
name, port, journal = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def say(what):
    with open(journal, "a") as file:
        file.write(f"{name} {what}\\n")
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
def end(*_):
    say("ends")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
say("starts")
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


class Journal:
    """What the processes of pods say of themselves, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()


class Api:
    """Pods in memory; what is told of them is merged in."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.deleted: list[dict[str, Any]] = []
        self.away = False

    async def call(self, method: str, path: str, body: Any = None, **_: Any) -> dict[str, Any]:
        self.calls.append((method, path))
        if self.away:
            raise ApiError("away")
        name = path.rsplit("/pods/", maxsplit=1)[-1].partition("/")[0]
        if path == "/api/v1/pods":
            return {"items": json.loads(json.dumps(list(self.pods.values())))}
        if path.endswith("/token"):
            return {"status": {"token": "t0ken"}}
        if "/secrets/" in path:
            return {"data": {"AWS_ACCESS_KEY_ID": base64.b64encode(b"test").decode()}}
        if "/nodes/" in path:
            return {}
        if name not in self.pods:
            raise ApiError("no such pod", 404)
        if method == "DELETE":
            self.deleted.append(body)
            del self.pods[name]
        else:
            self.pods[name]["status"] = body["status"]
        return {}

    def bind(self, name: str) -> None:
        env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "AWS_ACCESS_KEY_ID"}}}]
        self.pods[name] = {
            "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
            "spec": {
                "nodeName": "local-1",
                "serviceAccountName": "sdruntime",
                "initContainers": [{"name": pods.RUNTIME, "image": "r"}],
                "containers": [{"name": pods.AGENT, "image": "a", "env": env}],
            },
        }

    def holds(self, name: str, kind: str) -> bool:
        conditions = self.pods.get(name, {}).get("status", {}).get("conditions", ())
        return any((item["type"], item["status"]) == (kind, "True") for item in conditions)


async def until(holds: Any, within: float = 20) -> None:
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - other processes' state
            await asyncio.sleep(0.02)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
async def api(tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """An API server with nodes that play its pods."""

    def played(pod: Any, where: Whereabouts, **_: Any) -> Played:
        def component(part: str, stage: Stage) -> Component:
            port = free_port()
            name = f"{pod['metadata']['name']}/{part}"
            command = (sys.executable, "-c", SERVER, part, str(port), str(journal.path))
            return Component(name, stage, command, {}, port, "/", stop_timeout=5)

        return Played(component("runtime", Stage.RUNTIME), component("agent", Stage.AGENT))

    monkeypatch.setattr(pods, "played", played)
    monkeypatch.setattr(nodes, "_LOOK", 0.05)
    monkeypatch.setattr(nodes, "_RETRY", 0.05)
    authority = tmp_path / "ca.crt"
    authority.write_text("authority")
    made = Api()
    printer = Printer(Console(file=io.StringIO()), [])
    config = parse_config("modelsRuntime: [{name: sdruntime, type: sdwebui, dynamicModel: true}]")
    async with Supervisor(printer, RestartPolicy()) as supervisor:
        supervisor.settle()
        playing = LocalNodes(
            cast("ApiServer", made),  # it is asked for `call` alone
            supervisor,
            printer,
            config=config,
            options=Options(config=Path(), state=Path()),
            ports=cluster_ports(12_000)[1],
            folder=tmp_path / "pods",
            logs=tmp_path,
            authority=authority,
            count=1,
        )
        await playing.register()
        running = asyncio.create_task(playing.run())
        yield made
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_pod_starts_and_ends_in_its_order(api: Api, journal: Journal, tmp_path: Path) -> None:
    api.bind("a")
    await until(lambda: api.holds("a", "Ready"))
    assert journal.lines[:2] == ["runtime starts", "agent starts"]
    folder = tmp_path / "pods" / "a" / "serviceaccount"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "token": "t0ken",
        "ca.crt": "authority",
        "namespace": "default",
    }
    assert (folder / "token").stat().st_mode & 0o077 == 0
    api.pods["a"]["metadata"] |= {"deletionTimestamp": "2026-11-29T12:00:00Z", "deletionGracePeriodSeconds": 5}
    await until(lambda: not api.pods)
    assert journal.lines[2:4] == ["agent ends", "runtime ends"]
    assert api.deleted == [{"gracePeriodSeconds": 0, "preconditions": {"uid": "uid-a"}}]
    await until(lambda: not folder.exists())


async def test_pods_live_on_while_the_api_server_is_away(api: Api, journal: Journal) -> None:
    api.bind("a")
    await until(lambda: api.holds("a", "Ready"))
    api.away = True
    await asyncio.sleep(0.5)
    api.away = False
    api.bind("b")
    await until(lambda: api.holds("b", "Ready"))
    assert not [line for line in journal.lines if line.endswith("ends")]


async def test_a_pod_that_is_taken_away_by_force_is_killed(api: Api, journal: Journal) -> None:
    api.bind("a")
    await until(lambda: api.holds("a", "Ready"))
    asked = len(api.calls)
    del api.pods["a"]
    await until(lambda: any(method == "DELETE" for method, _ in api.calls[asked:]))
    api.bind("a")
    await until(lambda: api.holds("a", "Ready"))
    assert journal.lines.count("agent starts") == 2


async def test_the_agent_gets_another_runtime_when_it_asks(api: Api, journal: Journal, tmp_path: Path) -> None:
    api.bind("a")
    await until(lambda: api.holds("a", "Ready"))
    asking = tmp_path / "pods" / "a" / "restart"
    asking.touch()
    await until(lambda: journal.lines.count("runtime starts") == 2)
    asking.unlink()
    await until(lambda: api.pods["a"]["status"]["initContainerStatuses"][0]["restartCount"] == 1)
    assert "agent ends" not in journal.lines


async def test_an_api_server_that_cannot_be_reached_is_said_in_one_line(tmp_path: Path) -> None:
    from cluster.pki import Authority

    authority = Authority(tmp_path, "ca")
    api = ApiServer("https://127.0.0.1:1", authority.certificate, authority.issue("admin", "admin"))
    with pytest.raises(ApiError, match=r"GET /api/v1/pods: ConnectError"):
        await api.call("GET", "/api/v1/pods")
    await api.close()
