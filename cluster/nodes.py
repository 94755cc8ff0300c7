"""Nodes whose pods are processes of this machine: what a kubelet does, as far as the chart needs it.

Scheduler, controllers, KEDA and the API server are the real ones. A pod that is bound to one of these nodes gets a fake
runtime and an agent as processes, starts and ends in a pod's order, has its own service account's token and its own
address, and is ready when its probe says so. What is missing is the container: images, resources, network policy.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from cluster import pods
from cluster.api import APPLY, MERGE, ApiError, ApiServer
from cluster.pods import Played, Pod, Standing, Whereabouts
from cluster.ports import ControlPorts, pod_address
from contract.config import Config
from local.harness.lines import Printer
from local.harness.options import Options
from local.harness.plan import Component
from local.harness.probe import answers_ok
from local.harness.supervisor import StartFailedError, Supervisor

PREFIX: Final = "local-"
_LOOK: Final = 0.3
"""Seconds between two looks at the pods, and at their probes."""
_BEAT: Final = 10.0
"""Seconds between two signs of life, as a kubelet gives them."""
_TOKEN_SECONDS: Final = 3607
"""As the chart's volume asks."""
_RENEW_AFTER: Final = 0.8 * _TOKEN_SECONDS
_RETRY: Final = 1.0


def node(number: int) -> dict[str, Any]:
    """Returns a node with one GPU, as Karpenter would bring it for the chart's pods."""
    name = f"{PREFIX}{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": "process",
                "topology.kubernetes.io/zone": f"local-{'abc'[(number - 1) % 3]}",
            },
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}]},
    }


def node_status(at: str) -> dict[str, Any]:
    """Returns the status of a node that is well."""
    amounts = {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "80Gi", "pods": "29", "nvidia.com/gpu": "1"}
    kinds = {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
    return {
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "conditions": [
                {"type": kind, "status": holds, "lastHeartbeatTime": at, "reason": "Process", "message": "a process"}
                for kind, holds in kinds.items()
            ],
        }
    }


class _Life:
    """One pod on a node."""

    def __init__(self, pod: Pod, where: Whereabouts) -> None:
        self.pod = pod
        self.where = where
        self.standing = Standing()
        self.played: Played | None = None
        self.task: asyncio.Task[None] | None = None
        self.ending = False

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.pod['metadata']['namespace']}/pods/{self.name}"


class LocalNodes:
    """Keeps nodes alive and plays their pods, until it is cancelled.

    Args:
        api: the API server.
        supervisor: starts and ends processes.
        printer: of the lines.
        config: the deployment's.
        options: of the fake runtimes.
        ports: of the control plane.
        folder: for what the pods have on this machine.
        logs: the folder of their logs.
        authority: the cluster's, which each pod gets.
        count: of nodes.
    """

    def __init__(
        self,
        api: ApiServer,
        supervisor: Supervisor,
        printer: Printer,
        *,
        config: Config,
        options: Options,
        ports: ControlPorts,
        folder: Path,
        logs: Path,
        authority: Path,
        count: int,
        inherited: Callable[[], dict[str, str]] = lambda: dict(os.environ),
    ) -> None:
        self._api = api
        self._supervisor = supervisor
        self._say = printer.say
        self._config = config
        self._options = options
        self._ports = ports
        self._folder = folder
        self._logs = logs
        self._authority = authority
        self._count = count
        self._inherited = inherited
        self._lives: dict[str, _Life] = {}
        self._numbers = 0
        self._group = asyncio.TaskGroup()

    async def register(self) -> None:
        """Makes the nodes.

        Raises:
            ApiError: the API server refuses.
        """
        for number in range(1, self._count + 1):
            wanted = node(number)
            await self._api.call(
                "PATCH", f"/api/v1/nodes/{PREFIX}{number}", wanted, kind=APPLY, fieldManager="darkroom", force="true"
            )
        await self._beat()

    async def run(self) -> None:
        """Plays the pods until it is cancelled."""
        troubled = False
        async with self._group:
            self._group.create_task(self._beats(), name="heartbeat of the nodes")
            while True:
                try:
                    found = await self._api.call("GET", "/api/v1/pods", fieldSelector="spec.nodeName!=")
                except ApiError as error:
                    if not troubled:
                        self._say(f"the API server is away; pods stay as they are ({error})", style="yellow")
                    troubled = True
                else:
                    troubled = False
                    self._follow({item["metadata"]["uid"]: item for item in found["items"]})
                await asyncio.sleep(_LOOK)

    def _follow(self, found: dict[str, Pod]) -> None:
        """Begins with new pods, ends those that are to end, and those that are gone."""
        for uid, pod in found.items():
            if not pod["spec"]["nodeName"].startswith(PREFIX):
                continue
            life = self._lives.get(uid)
            if life is None:
                self._numbers += 1
                address = pod_address(self._ports, self._numbers)
                folder = self._folder / pod["metadata"]["name"]
                where = Whereabouts(address, folder, self._logs, self._ports.api_server)
                life = self._lives[uid] = _Life(pod, where)
                life.task = self._group.create_task(self._live(life), name=f"pod {life.name}")
            life.pod = pod
            if "deletionTimestamp" in pod["metadata"] and not life.ending:
                life.ending = True
                within = float(pod["metadata"].get("deletionGracePeriodSeconds", 30))
                self._group.create_task(self._end(life, within), name=f"end of pod {life.name}")
        for uid, life in list(self._lives.items()):
            if uid not in found and not life.ending:
                life.ending = True
                self._group.create_task(self._end(life, 0.0), name=f"end of pod {life.name}")

    async def _live(self, life: _Life) -> None:
        """Starts a pod and watches its probes; what the API server refuses is tried again."""
        while True:
            try:
                await self._start(life)
                return await self._watch(life)
            except ApiError as error:
                if error.status == 404:
                    return None  # it is being deleted
                await asyncio.sleep(_RETRY)
            except StartFailedError as error:
                self._say(f"pod {life.name}: {error}", style="red")
                await asyncio.sleep(_RETRY)

    async def _start(self, life: _Life) -> None:
        standing = life.standing
        if not pods.has_work(life.pod):
            at = pods.now()
            life.standing = Standing(at, at, at, at, ready=True)
            return await self._tell(life)
        if life.played is None:
            await self._prepare(life)
            secrets = {name: await self._secret(life.pod, name) for name in pods.secret_names(life.pod)}
            life.played = pods.played(
                life.pod,
                life.where,
                config=self._config,
                options=self._options,
                secrets=secrets,
                inherited=self._inherited(),
            )
        if not standing.runtime_started:
            await self._supervisor.start(life.played.runtime, after_restart=self._counting(life, pods.RUNTIME))
            standing.runtime_started = pods.now()
            await self._tell(life)
        if not standing.runtime_up:
            while not await _answers(life.played.runtime):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(_LOOK)
            standing.runtime_up = pods.now()
        if not standing.agent_started:
            await self._supervisor.start(life.played.agent, after_restart=self._counting(life, pods.AGENT))
            standing.agent_started = pods.now()
        return await self._tell(life)

    def _counting(self, life: _Life, container: str) -> Callable[[], Any]:
        async def count() -> None:
            life.standing.restarts[container] = life.standing.restarts.get(container, 0) + 1
            with contextlib.suppress(ApiError):
                await self._tell(life)

        return count

    async def _watch(self, life: _Life) -> None:
        """Tells readiness, renews the token, and restarts the runtime when the agent asks for it; never returns."""
        loop, asked = asyncio.get_running_loop(), 0
        renewed = looked = loop.time()
        while life.played is not None:
            ready = await _answers(life.played.agent)
            if ready is not life.standing.ready:
                life.standing.ready, life.standing.ready_since = ready, pods.now()
                await self._tell(life)
            if loop.time() - looked >= life.played.recycle_every:
                looked = loop.time()
                asked = asked + 1 if pods.recycle_file(life.where).exists() else 0
            if asked >= life.played.recycle_looks:
                self._say(f"pod {life.name}: the agent asks for a new runtime", style="yellow")
                await self._supervisor.retire(life.played.runtime.name)
                await self._supervisor.start(life.played.runtime, after_restart=self._counting(life, pods.RUNTIME))
                await self._counting(life, pods.RUNTIME)()
                while not await _answers(life.played.runtime):  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(_LOOK)
                asked, looked = 0, loop.time()
            if loop.time() - renewed > _RENEW_AFTER:
                await self._write_token(life)
                renewed = loop.time()
            await asyncio.sleep(_LOOK)

    async def _end(self, life: _Life, within: float) -> None:
        """Ends a pod in order: the agent, which has its time, then the runtime, then the object."""
        if life.task is not None:
            life.task.cancel()
            await asyncio.gather(life.task, return_exceptions=True)
        if life.played is not None:
            await self._supervisor.retire(life.played.agent.name, within=within)
            await self._supervisor.retire(life.played.runtime.name, within=min(within, pods.RUNTIME_STOP_SECONDS))
        uid = life.pod["metadata"]["uid"]
        while True:
            try:
                await self._api.call("DELETE", life.path, {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
            except ApiError as error:
                if error.status not in {404, 409}:
                    await asyncio.sleep(_RETRY)
                    continue
            break
        await asyncio.to_thread(shutil.rmtree, life.where.folder, ignore_errors=True)
        del self._lives[uid]

    async def _tell(self, life: _Life) -> None:
        """Tells the API server how a pod stands."""
        status = pods.status_of(life.pod, life.where.address, replace(life.standing))
        await self._api.call("PATCH", f"{life.path}/status", {"status": status}, kind=MERGE)

    async def _prepare(self, life: _Life) -> None:
        folder = pods.service_account(life.where)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await asyncio.to_thread(shutil.copyfile, self._authority, folder / "ca.crt")
        (folder / "namespace").write_text(life.pod["metadata"]["namespace"], encoding="utf-8")
        await self._write_token(life)

    async def _write_token(self, life: _Life) -> None:
        metadata, account = life.pod["metadata"], life.pod["spec"]["serviceAccountName"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        answer = await self._api.call(
            "POST",
            f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token",
            {"spec": {"expirationSeconds": _TOKEN_SECONDS, "boundObjectRef": bound}},
        )
        path = pods.service_account(life.where) / "token"
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(answer["status"]["token"], encoding="ascii")
        draft.replace(path)

    async def _secret(self, pod: Pod, name: str) -> dict[str, str]:
        found = await self._api.call("GET", f"/api/v1/namespaces/{pod['metadata']['namespace']}/secrets/{name}")
        return {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            with contextlib.suppress(ApiError):
                await self._beat()

    async def _beat(self) -> None:
        at = pods.now()
        for number in range(1, self._count + 1):
            path = f"/api/v1/nodes/{PREFIX}{number}/status"
            try:
                await self._api.call("PATCH", path, node_status(at), kind=MERGE)
            except ApiError as error:
                if error.status != 404:
                    raise
                # Somebody has deleted it: it stays away, as a machine that was ended does.


async def _answers(component: Component) -> bool:
    return await answers_ok(component.port, component.ready_path, host=component.host)
