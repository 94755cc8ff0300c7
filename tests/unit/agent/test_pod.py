"""What this pod costs to delete is told to Kubernetes: a stand-in for its API server looks at every call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agent.operations.pod import (
    ANNOTATION,
    BUSY_COST,
    DO_NOT_DISRUPT,
    IDLE_COST,
    Debounce,
    Pace,
    PodApi,
    PodDeletionCost,
    Wish,
    find_pod,
)
from tests.support.cluster_authority import Served, make_authority
from tests.support.waiting import until

QUICK = Pace(look=0.01, busy_after=0.03, idle_after=0.05, retry=0.05)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service account's folder, with an authority as EKS's is."""
    folder = tmp_path_factory.mktemp("serviceaccount")
    make_authority(folder)
    (folder / "namespace").write_text("darkroom")
    return folder


@dataclass
class ApiServer:
    """The API server as the agent sees it."""

    port: int = 0
    token: str = "first"
    status: int = 200
    costs: list[str] = field(default_factory=list)
    undisturbed: list[str | None] = field(default_factory=list)
    tries: int = 0
    wrong: list[str] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.tries += 1
        expected = {
            "method": ("PATCH", request.method),
            "path": ("/api/v1/namespaces/darkroom/pods/agent-1", request.path),
            "type": ("application/merge-patch+json", request.headers.get("Content-Type")),
        }
        self.wrong += [name for name, (wanted, found) in expected.items() if wanted != found]
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        if self.status == 200:
            document: dict[str, Any] = json.loads(await request.read())
            self.wrong += (
                [] if set(document) == {"metadata"} and set(document["metadata"]) == {"annotations"} else ["body"]
            )
            self.costs.append(document["metadata"]["annotations"][ANNOTATION])
            self.undisturbed.append(document["metadata"]["annotations"][DO_NOT_DISRUPT])
        return web.json_response({}, status=self.status)


@asynccontextmanager
async def api_server(account: Path) -> AsyncIterator[ApiServer]:
    api = ApiServer()
    runner = web.ServerRunner(web.Server(api.answer), shutdown_timeout=0.1)
    await runner.setup()
    served = Served(account / "ca.crt", account / "server.crt", account / "server.key")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=served.server_context()).start()
    api.port = runner.addresses[0][1]
    (account / "token").write_text("first\n")
    try:
        yield api
        assert api.wrong == []
    finally:
        await runner.cleanup()


def pod(api: ApiServer, account: Path) -> PodApi:
    found, _ = find_pod(host="127.0.0.1", port=api.port, namespace="", name="agent-1", folder=account)
    assert found is not None
    return found


@asynccontextmanager
async def keeping(place: PodApi, is_busy: Callable[[], bool]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(PodDeletionCost(place, is_busy, QUICK).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_karpenter_leaves_a_busy_pods_node_alone_and_no_other(account: Path) -> None:
    busy = True
    async with api_server(account) as api, keeping(pod(api, account), lambda: busy):
        await until(lambda: api.undisturbed == ["true"])
        busy = False
        await until(lambda: api.undisturbed == ["true", None])


async def test_a_busy_pod_is_expensive_and_an_idle_one_cheap(account: Path) -> None:
    busy = False
    async with api_server(account) as api, keeping(pod(api, account), lambda: busy):
        await until(lambda: api.costs == [str(IDLE_COST)])
        busy = True
        await until(lambda: api.costs == [str(IDLE_COST), str(BUSY_COST)])
        busy = False
        await until(lambda: api.costs == [str(IDLE_COST), str(BUSY_COST), str(IDLE_COST)])
    assert BUSY_COST > IDLE_COST


async def test_a_token_that_was_changed_is_read_again(account: Path) -> None:
    busy = False
    async with api_server(account) as api, keeping(pod(api, account), lambda: busy):
        await until(lambda: api.costs)
        api.token = "second"
        busy = True
        await until(lambda: api.tries >= 3)
        assert len(api.costs) == 1
        (account / "token").write_text("second\n")
        await until(lambda: api.costs == [str(IDLE_COST), str(BUSY_COST)])


@pytest.mark.parametrize("status", [403, 404])
async def test_a_refusal_is_one_line_and_then_silence(account: Path, status: int) -> None:
    with capture_logs() as lines:
        async with api_server(account) as api:
            api.status = status
            async with keeping(pod(api, account), lambda: True) as task:
                await asyncio.wait({task}, timeout=30)
                assert task.done()
                assert task.exception() is None
            assert api.tries == 1
    assert [(line["event"], line["log_level"]) for line in lines] == [("pod_deletion_cost_off", "warning")]


async def test_an_api_server_in_trouble_is_asked_again_and_said_once(account: Path) -> None:
    with capture_logs() as lines:
        async with api_server(account) as api:
            api.status = 503
            async with keeping(pod(api, account), lambda: True):
                await until(lambda: api.tries >= 3)
                api.status = 200
                await until(lambda: api.costs == [str(BUSY_COST)])
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["pod_deletion_cost_out_of_reach"]


async def test_nobody_but_the_clusters_own_server_gets_the_token(account: Path, tmp_path: Path) -> None:
    make_authority(tmp_path)
    with capture_logs() as lines:
        async with api_server(account) as api:
            place = PodApi(pod(api, account).url, account / "token", tmp_path / "ca.crt")
            async with keeping(place, lambda: True):
                await until(lambda: lines)
            assert api.tries == 0
    assert lines[0]["event"] == "pod_deletion_cost_out_of_reach"


@pytest.mark.parametrize(
    ("host", "name", "token", "says"),
    [
        ("", "agent-1", True, "not Kubernetes"),
        ("10.0.0.1", "", True, "POD_NAME"),
        ("10.0.0.1", "agent-1", False, "service account token"),
    ],
)
def test_without_leave_or_a_cluster_there_is_no_pod(
    host: str, name: str, token: bool, says: str, tmp_path: Path
) -> None:
    if token:
        (tmp_path / "token").write_text("x")
    found, why_not = find_pod(host=host, port=443, namespace="n", name=name, folder=tmp_path)
    assert found is None
    assert says in why_not


def test_a_cluster_of_ipv6_has_its_address_in_brackets(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    found, _ = find_pod(host="fd00::1", port=443, namespace="n", name="p", folder=tmp_path)
    assert found is not None
    assert found.url == "https://[fd00::1]:443/api/v1/namespaces/n/pods/p"


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=60))
def test_kubernetes_is_told_only_of_what_lasts(looks: list[tuple[float, bool]]) -> None:
    pace, now, seen = Pace(), 0.0, []
    debounce = Debounce(pace)
    told: list[Wish] = []
    for seconds, busy in looks:
        now += seconds
        seen.append((now, busy))
        wish = debounce.judge(busy=busy, now=now)
        if wish is Wish.NOTHING:
            continue
        assert (wish is Wish.BUSY) is busy
        if told:
            assert told[-1] is not wish, "it knows that already"
            *_, (first, _) = takewhile(lambda look, wanted=busy: look[1] is wanted, reversed(seen))  # type: ignore[misc]
            assert now - first >= (pace.busy_after if busy else pace.idle_after)
        debounce.told(wish)
        told.append(wish)
    assert bool(told) == bool(looks), "the first look is always told: an earlier agent may have left something"
