"""Measures what a developer waits for: how soon `up` is ready, what it takes, and how fast tasks go through."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import yaml

from loadtest.targets.local import free_base
from local.clients import make_clients
from local.emulators.kinds import KINDS, EmulatorName
from local.harness.plan import base_environment
from tests.bench.http_load import Reply, load
from tests.bench.measure import Progress
from tests.bench.programs import BenchError
from tests.bench.report import Figures, StackRow

TASKS: Final = 300
CONNECTIONS: Final = 32

_ROOT: Final = Path(__file__).parents[2]
_START_SECONDS: Final = 120.0
_DRAIN_SECONDS: Final = 180.0
_REST_SECONDS: Final = 5.0
"""After which a stack is at rest."""
_PORTS: Final = 12


@dataclass(frozen=True)
class Checkout:
    """A working tree whose stack is measured."""

    name: str
    root: Path
    emulators: tuple[EmulatorName, ...]

    @property
    def python(self) -> str:
        """Its own environment's, where `nox -s up` has made one; its packages may be others."""
        own = self.root / ".nox" / "up" / "bin" / "python"
        return str(own) if own.exists() else sys.executable


def checkouts(against: Path | None) -> list[Checkout]:
    """Returns this checkout, with each emulator, and another one that is compared with it.

    Raises:
        BenchError: the other one has never been started.
    """
    ours = Checkout("this", _ROOT, tuple(KINDS))
    if against is None:
        return [ours]
    other = Checkout("other", against.resolve(), (EmulatorName.LOCALSTACK,))
    if not (other.root / ".nox" / "up").is_dir():
        raise BenchError(f"{other.root} has no environment for `up`: run `uvx nox -s up` there once, and end it")
    return [ours, other]


def measure_stacks(
    against: Path | None, *, folder: Path, tasks: int, repeat: int, progress: Progress
) -> list[StackRow]:
    """Returns a row for each checkout and emulator, measured by turns.

    Args:
        against: another checkout; None: this one alone.
        folder: of the logs.
        tasks: that are sent, at latency 0.
        repeat: how often each is measured; medians are shown.
        progress: is told how far it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [(checkout, emulator) for checkout in checkouts(against) for emulator in checkout.emulators]
    found: dict[tuple[str, EmulatorName], list[Figures]] = {}
    for turn in range(repeat):
        for number, (checkout, emulator) in enumerate(chosen):
            progress(f"stack: {checkout.name}, {emulator}", turn * len(chosen) + number, repeat * len(chosen))
            figures = _measure(checkout, emulator, folder / f"{checkout.name}-{emulator}-{turn}", tasks)
            found.setdefault((checkout.name, emulator), []).append(figures)
    return [StackRow(name, emulator, tuple(figures)) for (name, emulator), figures in found.items()]


def _measure(checkout: Checkout, emulator: EmulatorName, folder: Path, tasks: int) -> Figures:
    folder.mkdir()
    state_path = folder / "up.json"
    config = folder / "config.yaml"
    config.write_text(json.dumps(_unthrottled(checkout.root / "config.yaml")), encoding="utf-8")
    command = [
        checkout.python,
        "-m",
        "local",
        "up",
        "--config",
        str(config),
        "--state",
        str(state_path),
        "--latency",
        "0",
    ]
    command += ["--latency", "0", "--port-base", str(free_base(_PORTS))]
    if emulator is not EmulatorName.LOCALSTACK:
        command += ["--emulator", emulator]
    began = time.monotonic()
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=checkout.root, stdout=log, stderr=subprocess.STDOUT, env=_environment(checkout)
        )
    try:
        state = _started(process, state_path, folder)
        ready = time.monotonic() - began
        time.sleep(_REST_SECONDS)
        memory = _memory(process.pid)
        accepted, done = _send(state, tasks)
        return {"ready": ready, "accepted": accepted, "tasks": done, **memory}
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _unthrottled(config: Path) -> Any:
    """Returns a config.yaml whose API takes all that comes; JSON is YAML."""
    found = yaml.safe_load(config.read_text(encoding="utf-8"))
    found.setdefault("APIGW", {})["throttle"] = {"rateLimit": 10_000, "burstLimit": 5_000}
    return found


def _environment(checkout: Checkout) -> dict[str, str]:
    return {**base_environment(os.environ), "PYTHONPATH": str(checkout.root), "LOG_LEVEL": "WARNING"}


def _started(process: subprocess.Popen[bytes], state: Path, folder: Path) -> Mapping[str, Any]:
    deadline = time.monotonic() + _START_SECONDS
    while not state.is_file():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"the stack does not start: {folder / 'up.log'}")
        time.sleep(0.02)
    found: Mapping[str, Any] = json.loads(state.read_text(encoding="utf-8"))
    return found


def _memory(pid: int) -> dict[str, float]:
    """Returns the proportional set size of the emulator and of all, in bytes."""
    top = psutil.Process(pid)
    sizes = {"emulator": 0.0, "memory": 0.0}
    for process in (top, *top.children(recursive=True)):
        size = float(process.memory_full_info().pss)
        sizes["memory"] += size
        if any(part.endswith("serve.py") for part in process.cmdline()):
            sizes["emulator"] += size
    return sizes


def _send(state: Mapping[str, Any], tasks: int) -> tuple[float, float]:
    """Sends tasks to each runtime in turn; returns how many a second were accepted, and were through."""
    runtimes = [name for name in state["queues"] if "comfy" not in name]
    made = 0
    refused: list[int] = []

    def request() -> bytes:
        nonlocal made
        made += 1
        metadata = {
            "id": f"stack-{made}",
            "runtime": runtimes[made % len(runtimes)],
            "tasktype": "text-to-image",
            "prefix": "output",
        }
        content = {"prompt": "A dog", "steps": 1, "width": 64, "height": 64}
        body = json.dumps({"task": {"metadata": metadata, "content": content}}).encode()
        head = "POST /v1alpha2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def note(reply: Reply) -> None:
        if reply.status != httpx.codes.OK:
            refused.append(reply.status)

    began = time.monotonic()
    asyncio.run(load(int(state["api"].rpartition(":")[2]), CONNECTIONS, request, note, requests=tasks))
    accepted = tasks / (time.monotonic() - began)
    if refused:
        raise BenchError(f"{len(refused)} of {tasks} tasks were refused, the first with {refused[0]}")
    _drained(state)
    return accepted, tasks / (time.monotonic() - began)


def _drained(state: Mapping[str, Any]) -> None:
    """Returns once every queue is empty."""
    sqs = make_clients(state["localstack"]).sqs
    deadline = time.monotonic() + _DRAIN_SECONDS
    for url in state["queues"].values():
        while any(int(count) for count in _counts(sqs, url)):
            if time.monotonic() > deadline:
                raise BenchError(f"{url} is not empty after {_DRAIN_SECONDS:.0f} s")
            time.sleep(0.05)


def _counts(sqs: Any, url: str) -> Iterable[str]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer: Mapping[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return answer.values()
