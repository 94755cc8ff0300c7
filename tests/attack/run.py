"""Runs the attack against a stack that it has started itself, and measures what the stack makes of it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from local.emulators.environment import ensure_environment
from local.emulators.kinds import chosen
from local.emulators.process import Emulator
from local.folders import state_folder
from tests.attack.bodies import bodies, crowd
from tests.attack.heads import REFUSED, Attempt, heads, methods_and_paths, smuggling
from tests.attack.links import canary, spellings
from tests.attack.verdict import CROWD, Phase, Pulse, Tried
from tests.attack.wire import CLOSED, OPEN, Place, exchange, head, post
from tests.support.deployment import deploy
from tests.support.processes import Process
from tests.support.stack import SPARES, Pod, Stack, task
from tests.support.waiting import free_port

GROUPS: Final = ("heads", "bodies", "crowd", "keys", "links", "slow")

_ALICE, _BOB = "alice-" + secrets.token_hex(8), "bob-" + secrets.token_hex(8)
_REQUEST_SECONDS: Final = 5
_SLOW: Final = 150
"""Connections of each kind that send a byte now and then."""
_AT_ONCE: Final = 8
_REST_SECONDS: Final = 5
_QUIET_SECONDS: Final = 8
"""After which no further answer is waited for."""


class Attack:
    """One attack.

    Args:
        groups: of `GROUPS`.
        folder: of logs.
        say: is given each line of progress.
    """

    def __init__(self, groups: Iterable[str], folder: Path, say: Callable[[str], None]) -> None:
        self.groups = set(groups)
        self.tried: list[Tried] = []
        self.phases: list[Phase] = []
        self.hits = 0
        self.rest = self.after = Phase("", 0, 0)
        self._folder = folder
        self._say = say

    def run(self) -> Pulse:
        """Starts the stack, attacks it, ends it, and returns what was measured.

        Raises:
            AssertionError: a process does not come up.
            EnvironmentFailedError, EmulatorFailedError: LocalStack cannot be installed, or does not start.
        """
        kind = chosen(os.environ)
        python = ensure_environment(state_folder(), say=self._say, kind=kind)
        localstack = Emulator(python=python, folder=self._folder, kind=kind)
        localstack.start()
        try:
            localstack.wait_until_ready()
            with Stack(deploy(localstack.endpoint, config=SPARES), self._folder) as stack:
                return self._run(stack)
        finally:
            localstack.stop()

    def _run(self, stack: Stack) -> Pulse:
        api = stack.start_api(
            API_KEYS=f"alice={_ALICE},bob={_BOB}",
            REQUEST_SECONDS=str(_REQUEST_SECONDS),
            ALLOWED_HOSTS="127.0.0.1",
        )
        pod = stack.start_pod(stack.spare_runtime("attacked"))
        sink_port, control_port = free_port(), free_port()
        sink = Process(
            "sink",
            "local",
            folder=self._folder,
            environment=stack.deployment.aws_environment(),
            arguments=[
                *("sink", "--config", str(self._folder / "config.yaml")),
                *("--endpoint", stack.deployment.endpoint, "--port", str(sink_port)),
            ],
            ready_url=f"http://127.0.0.1:{sink_port}/healthz",
        )
        control = Process("control", "tests.attack.control", folder=self._folder, arguments=[str(control_port)])
        pulse = None
        try:
            sink.wait_ready()
            place = _place(stack.api)
            servers = {"api": place.port, "control": control_port}
            processes = {"api": api.pid, "agent": pod.agent.pid, "sink": sink.pid}
            pulse = Process(
                "pulse",
                "tests.attack.pulse",
                folder=self._folder,
                arguments=[
                    *(f"--server={name}={port}" for name, port in servers.items()),
                    *(f"--process={name}={pid}" for name, pid in processes.items()),
                ],
            )
            others = {"sink": Place("127.0.0.1", sink_port), "agent": _place(pod.health)}
            asyncio.run(self._attack(stack, place, pod, others))
            for process in (api, pod.agent, sink):
                if not process.is_alive():
                    self.tried.append(Tried("processes", process.name, problems=["has ended"]))
            for name, text in stack.traces().items():
                self.tried.append(Tried("processes", name, problems=[f"wrote a stack trace: {text[-200:]!r}"]))
        finally:
            for started in (pulse, control, sink):
                if started is not None:
                    started.stop()
        return Pulse.read(pulse.text().splitlines())

    async def _attack(self, stack: Stack, place: Place, pod: Pod, others: dict[str, Place]) -> None:
        runtime, unwatched = pod.runtime, stack.spare_runtime("nobody's")
        await self._warm_up(place, runtime)
        began = time.monotonic()
        self._say(f"the stack is up; {_REST_SECONDS} s of rest, to know the machine's own noise")
        await asyncio.sleep(_REST_SECONDS)
        self.rest = Phase("rest", began, time.monotonic())
        slow = asyncio.create_task(self._slow(place)) if "slow" in self.groups else None
        if "heads" in self.groups:
            attempts = [*heads(place), *smuggling(place), *methods_and_paths(place)]
            await self._send("heads", place, attempts, quiet=_QUIET_SECONDS)
            for name, other in others.items():
                await self._send(
                    f"heads at the {name}", other, _elsewhere(name, other), one_shape=False, quiet=_QUIET_SECONDS
                )
        if "keys" in self.groups:
            await self._keys(place, runtime)
        if "bodies" in self.groups:
            await self._send("bodies", place, bodies(place, _ALICE, unwatched), at_once=1)
            await self._send("bodies that an agent takes", place, _for_agent(place, runtime), at_once=1)
        if "crowd" in self.groups:
            await self._send("crowd", place, crowd(place, _ALICE, unwatched), room=CROWD)
        if "links" in self.groups:
            await self._links(place, runtime)
        if slow is not None:
            await slow
        began = time.monotonic()
        self._say(f"{_REST_SECONDS} s of rest, to see what stays")
        await asyncio.sleep(_REST_SECONDS)
        self.after = Phase("after", began, time.monotonic())

    @asynccontextmanager
    async def _phase(self, name: str, room: int | None = None) -> AsyncIterator[None]:
        began, before = time.monotonic(), len(self.tried)
        yield
        ended = time.monotonic()
        self.phases.append(Phase(name, began, ended, room) if room else Phase(name, began, ended))
        count = sum(item.count for item in self.tried[before:])
        self._say(f"{name}: {count} tries in {ended - began:.1f} s")

    async def _send(
        self,
        name: str,
        place: Place,
        attempts: Iterable[Attempt],
        *,
        at_once: int = _AT_ONCE,
        one_shape: bool = True,
        quiet: float = 0,
        room: int | None = None,
    ) -> None:
        """Sends attempts, and notes what was answered otherwise than is right."""
        found: dict[tuple[str, str], Tried] = {}
        turns = asyncio.Semaphore(at_once)

        async def one(attempt: Attempt) -> None:
            async with turns:
                answer = await exchange(place, attempt.pieces, within=60, quiet=quiet)
            tried = found[attempt.group, attempt.what]
            tried.statuses[answer.status] += 1
            shown = attempt.pieces[0][:80]
            if answer.status not in attempt.right:
                tried.problems.append(f"{_named(answer.status)} to {shown!r}…")
            elif len(answer.statuses) > attempt.most:
                tried.problems.append(f"{answer.statuses} to {shown!r}…")
            elif answer.status >= 400 and one_shape and answer.error() is None:
                tried.problems.append(f"not in the one shape: {answer.raw[-80:]!r}")
            elif answer.status == 503 and answer.error().get("code") != "busy":
                tried.problems.append(f"503 for another reason than that it is busy: {answer.raw[-80:]!r}")

        async with self._phase(name, room):
            async with asyncio.TaskGroup() as group:
                for attempt in attempts:
                    found.setdefault((attempt.group, attempt.what), Tried(attempt.group, attempt.what))
                    group.create_task(one(attempt))
                    await asyncio.sleep(0)
                    # The next body is made when it is wanted: each takes its 20 MiB here, too.
                    async with turns:
                        pass
            self.tried += found.values()

    async def _warm_up(self, place: Place, runtime: str) -> None:
        """Sends what is sound: what a process takes to serve at all is no growth."""
        for size in (1000, 1000, 2_000_000):
            body = json.dumps({"task": task(f"sound-{size}", runtime, padding="x" * size)}).encode()
            await exchange(place, post("/v1alpha2", place, body, x_api_key=_ALICE))
        await self._ended(place, ["sound-1000", "sound-2000000"])

    async def _keys(self, place: Place, runtime: str) -> None:
        """Calls without a key, with wrong ones, and with another tenant's."""
        wrong = Tried("keys", "no key, or none of ours")
        other = Tried("keys", "another tenant's task")
        body = json.dumps({"task": task("hers", runtime, prompt="hers")}).encode()
        async with self._phase("keys"):
            keys: list[dict[str, str]] = [{}, {"authorization": _ALICE}, {"cookie": f"x-api-key={_ALICE}"}]
            keys += [{"x-api-key": key} for key in ("", "alice", _ALICE[:-1], _ALICE + "x", "a" * 60_000, "\xe9", "*")]
            for headers in keys:
                for method, path in (
                    ("GET", f"/v1/runtimes?x-api-key={_ALICE}"),
                    ("POST", "/v1/tasks"),
                    ("GET", "/v1/"),
                ):
                    status = (await exchange(place, [head(method, path, place, **headers)])).status
                    wrong.statuses[status] += 1
                    if status != 401:
                        wrong.problems.append(f"{method} {path[:12]} with {headers!r:.60}: {_named(status)}")
            await exchange(place, post("/v1alpha2", place, body, x_api_key=_ALICE))
            for method, path, right in (
                ("GET", "/v1/tasks/hers", {404}),
                ("DELETE", "/v1/tasks/hers", {404}),
                ("GET", "/v1/tasks/hers/events", {404}),
                ("GET", "/task?taskId=hers", {404}),
                ("GET", "/v1/tasks/hers?tenant=alice", {403}),
                ("DELETE", "/v1/tasks/hers?tenant=alice", {403}),
                ("GET", "/v1/tasks/..%2falice%2fhers", {404}),
                ("GET", "/v1/tasks/alice%2fhers", {404}),
            ):
                status = (await exchange(place, [head(method, path, place, x_api_key=_BOB)])).status
                other.statuses[status] += 1
                if status not in right:
                    other.problems.append(f"bob's {method} {path}: {_named(status)}")
            self.tried += [wrong, other]

    async def _links(self, place: Place, runtime: str) -> None:
        """Sends tasks whose inputs lie where nothing may go, and waits until each has ended."""
        async with self._phase("links"), canary() as server:
            # It must be able to notice somebody, or nothing that it does not notice means anything.
            await exchange(Place("127.0.0.1", server.port), [b"x"])
            assert server.hits == 1
            server.hits = 0
            tried, ids = Tried("links", "a loopback address as an input"), []
            for number, link in enumerate(spellings(server.port)):
                wanted = task(f"link-{number}", runtime, tasktype="image-to-image", init_images=[link])
                body = json.dumps({"task": wanted}).encode()
                answer = await exchange(place, post("/v1alpha2", place, body, x_api_key=_ALICE))
                tried.statuses[answer.status] += 1
                if answer.status == 200:
                    ids.append(f"link-{number}")
            waiting = await self._ended(place, ids)
            if waiting:
                tried.problems.append(f"not ended: {', '.join(waiting[:5])}")
            self.tried.append(tried)
            self.hits += server.hits

    async def _slow(self, place: Place) -> None:
        """Sends a byte now and then over many connections, until the server has closed them all."""
        line = head(
            "POST", "/v1/tasks", place, x_api_key=_ALICE, content_type="application/json", content_length="1000"
        )
        kinds = {
            "headers that never end": (line[:-2], b"X-A: a\r\n"),
            "a request line that never ends": (b"GET /", b"a"),
            "a body that never ends": (line, b" "),
            "a body that never ends, without a key": (line.replace(_ALICE.encode(), b"x"), b" "),
        }
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for what, (begin, piece) in kinds.items():
                tried = Tried("slow", what)
                self.tried.append(tried)
                for _ in range(_SLOW):
                    group.create_task(self._drip(place, tried, begin, piece))
        self._say(f"slow: {_SLOW * len(kinds)} connections, all closed after {time.monotonic() - began:.0f} s")

    async def _drip(self, place: Place, tried: Tried, begin: bytes, piece: bytes) -> None:
        answer = await exchange(place, [begin, *[piece] * 60], pause=1, within=50)
        tried.statuses[answer.status] += 1
        if not answer.ended:
            tried.problems.append("still open after 50 s")

    async def _ended(self, place: Place, ids: list[str]) -> list[str]:
        """Waits until tasks have ended; returns those that have not within a minute."""
        waiting = list(ids)
        deadline = time.monotonic() + 60
        while waiting and time.monotonic() < deadline:
            await asyncio.sleep(0.3)
            answers = [
                await exchange(place, [head("GET", f"/v1/tasks/{task_id}", place, x_api_key=_ALICE)])
                for task_id in waiting
            ]
            waiting = [
                task_id
                for task_id, answer in zip(waiting, answers, strict=True)
                if not any(b'"status":"%s"' % word in answer.raw for word in (b"succeeded", b"failed", b"cancelled"))
            ]
        return waiting


def _elsewhere(name: str, place: Place) -> Iterator[Attempt]:
    """Yields what the other servers are sent: heads alone, since they take no bodies."""
    for attempt in heads(place):
        if attempt.what not in {"no Host", "two Hosts", "a Host that is none", "another's Host"}:
            # They are aiohttp's, which has its own limits and shape of errors: it is enough that they stand.
            yield Attempt(f"heads at the {name}", attempt.what, attempt.pieces, attempt.right | REFUSED | {200, CLOSED})


def _for_agent(place: Place, runtime: str) -> Iterator[Attempt]:
    """Yields bodies that the API accepts, for an agent to take."""
    for what, content in (
        ("as many lists as are allowed", b"[" + b"[]," * 99_000 + b"1]"),
        ("a text of 20 MiB, of four bytes a character", '"🐶'.encode() + b"a" * (20 * 1024 * 1024 - 2000) + b'"'),
    ):
        metadata = {"id": f"taken-{len(content)}", "runtime": runtime, "tasktype": "text-to-image", "prefix": "p"}
        body = b'{"task":{"metadata":%s,"content":{"prompt":"a","steps":1,"styles_":%s}}}' % (
            json.dumps(metadata).encode(),
            content,
        )
        yield Attempt(
            "bodies", f"{what}, for an agent", tuple(post("/v1/tasks", place, body, x_api_key=_ALICE)), frozenset({202})
        )


def _place(url: str) -> Place:
    parts = urlsplit(url)
    return Place(parts.hostname or "", parts.port or 0)


def _named(status: int) -> str:
    return {CLOSED: "closed without an answer", OPEN: "no answer"}.get(status, str(status))
