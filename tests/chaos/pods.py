"""Keeps the pods of a trial: strikes them as planned, and replaces what has died, and nothing else."""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx

from contract.task import RuntimeType
from tests.chaos.contents import HUGE_OUTPUTS
from tests.chaos.history import History, Kind
from tests.chaos.plan import FaultKind, Plan, PlannedFault, PlannedRuntime
from tests.support.processes import Process
from tests.support.stack import Fake, Stack

GRACE_PERIOD: Final = 2
"""Seconds that an agent may go on running its task after SIGTERM."""
STOP_WITHIN: Final = GRACE_PERIOD + 10.0
"""Seconds after which an agent that was asked to end is killed, as Kubernetes does."""
TASK_TIMEOUT: Final = 3
"""Visibility timeouts after which the agent gives a run up."""

_RUNTIME_FAULTS: Final[dict[FaultKind, list[dict[str, Any]]]] = {
    FaultKind.RUNTIME_CRASH: [{"name": "exit-in-the-middle"}],
    FaultKind.RUNTIME_HANG: [{"name": "hang"}],
    FaultKind.RUNTIME_ERROR: [{"name": "error", "status": 500, "body": "text"}, {"name": "error", "status": 500}],
    FaultKind.RUNTIME_OUT_OF_MEMORY: [{"name": "out-of-memory"}],
    FaultKind.RUNTIME_GARBAGE: [{"name": "garbage"}],
}
_OF_NODES: Final = frozenset({RuntimeType.COMFYUI, RuntimeType.INVOKEAI})
_STRIKES_WITHIN: Final = 30.0
"""Seconds in which an ordered fault of a runtime surely meets a task."""


@dataclass
class _Pod:
    number: int
    runtime: PlannedRuntime
    fake: Fake
    agent: Process | None = None
    agent_name: str = ""
    generation: int = 0
    expected: bool = False
    """Whether the agent's end was ordered."""
    start_at: float | None = None
    """When a new agent is due."""
    thaw_at: float | None = None
    kill_at: float | None = None
    fake_start_at: float | None = None
    runtimes: list[Fake] = field(default_factory=list)


class Pods:
    """The agents and their runtimes.

    Args:
        stack: starts processes.
        plan: how many, and of what kind.
        history: is told of every start, end and fault.
    """

    def __init__(self, stack: Stack, plan: Plan, history: History) -> None:
        self._stack = stack
        self._plan = plan
        self._history = history
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._replacing = True
        self._pods: list[_Pod] = []

    def start(self) -> None:
        """Starts all pods that are there from the start, and returns once their agents take tasks."""
        for runtime in self._plan.runtimes:
            for number in runtime.pods:
                fake = self._start_fake(runtime)
                self._pods.append(_Pod(number, runtime, fake, runtimes=[fake]))
        present = [pod for pod in self._pods if not pod.runtime.comes_at]
        for pod in present:
            self._start_agent(pod)
        for pod in present:
            if pod.agent is not None:
                pod.agent.wait_ready()
        self._thread.start()

    def arrive(self) -> None:
        """Starts the agents of the runtime that was away."""
        with self._lock:
            for pod in self._pods:
                if pod.agent is None and not pod.generation:
                    pod.start_at = time.monotonic()

    def kill(self, agent: str) -> None:
        """Kills an agent by its name, unless it has gone already."""
        with self._lock:
            pod = next((pod for pod in self._pods if pod.agent_name == agent), None)
            if pod is not None:
                self.strike(PlannedFault(0.0, FaultKind.AGENT_KILLED, pod.number, 0.5))

    def strike(self, fault: PlannedFault) -> None:
        """Does to a pod what is planned."""
        pod = self._pods[fault.pod]
        if fault.kind in _RUNTIME_FAULTS:
            self._strike_runtime(pod, fault)
            return
        with self._lock:
            agent, now = pod.agent, time.monotonic()
            if agent is None or pod.expected or (pod.thaw_at is not None and fault.kind is not FaultKind.AGENT_KILLED):
                self.note(fault, f"agent-{pod.number}", skipped="it is down already")
                return
            self.note(fault, pod.agent_name)
            match fault.kind:
                case FaultKind.AGENT_KILLED:
                    pod.expected, pod.thaw_at = True, None
                    agent.kill()
                    pod.start_at = now + fault.seconds
                case FaultKind.AGENT_STOPPED:
                    pod.expected = True
                    agent.terminate()
                    pod.kill_at = now + STOP_WITHIN
                case _:
                    agent.freeze()
                    pod.thaw_at = now + fault.seconds

    def _strike_runtime(self, pod: _Pod, fault: PlannedFault) -> None:
        orders = _RUNTIME_FAULTS[fault.kind]
        order = dict(orders[int(fault.at * 100) % len(orders)])
        if fault.kind is FaultKind.RUNTIME_HANG:
            order["seconds"] = fault.seconds
        if fault.kind is FaultKind.RUNTIME_ERROR and pod.runtime.type in _OF_NODES:
            order["at"] = "submit"  # in the run it would be a node's error, which is the workflow's own fault
        try:
            pod.fake.order(**order)
        except (httpx.HTTPError, AssertionError):
            self.note(fault, f"runtime-{pod.number}", skipped="it is down already")
        else:
            self.note(fault, f"runtime-{pod.number}", more=_STRIKES_WITHIN)

    def note(self, fault: PlannedFault, target: str, *, more: float = 0.0, **facts: Any) -> None:
        """Writes a fault down."""
        until = round(time.time() + fault.seconds + more, 3)
        self._history.add(Kind.FAULT, fault=fault.kind, target=target, until=until, **facts)

    def heal(self) -> None:
        """Takes all orders back, thaws what is frozen, and lets the dead be replaced at once."""
        with self._lock:
            for pod in self._pods:
                if pod.thaw_at is not None:
                    pod.thaw_at = 0.0
            self.arrive()
            fakes = [pod.fake for pod in self._pods]
        for fake in fakes:
            try:
                httpx.delete(f"{fake.url}/fake/faults", timeout=5)
            except httpx.HTTPError:
                continue  # a dead runtime has forgotten them

    def frozen_or_down(self) -> list[str]:
        """Returns what does not work now, for people."""
        with self._lock:
            return [
                *(f"agent-{pod.number} frozen" for pod in self._pods if pod.thaw_at is not None),
                *(
                    f"agent-{pod.number} down"
                    for pod in self._pods
                    if (pod.agent is None and (pod.generation or pod.start_at is not None)) or pod.expected
                ),
                *(f"runtime-{pod.number} down" for pod in self._pods if pod.fake_start_at is not None),
            ]

    def close(self) -> None:
        """Stops keeping; asks every agent to end in order and notes how it did."""
        with self._lock:
            self._replacing = False
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(10)
        for pod in self._pods:
            self._tend_fake(pod)
            if pod.agent is not None and pod.thaw_at is not None:
                pod.agent.thaw()
            if pod.agent is not None and pod.agent.is_alive():
                pod.agent.terminate()
        for pod in self._pods:
            if pod.agent is None:
                continue
            try:
                status, _ = pod.agent.wait_ended(STOP_WITHIN)
                self._history.add(Kind.ENDED, name=pod.agent_name, status=status, expected=pod.expected or status == 0)
            except AssertionError:
                pod.agent.kill()
                self._history.add(Kind.ENDED, name=pod.agent_name, status="it does not end", expected=False)

    def note_runs(self) -> None:
        """Writes down every job of every runtime, as their logs tell."""
        for pod in self._pods:
            for fake in pod.runtimes:
                for run in runs_of(fake.process.text()):
                    self._history.add(Kind.RUN, who=f"runtime-{pod.number}", **run)

    def _keep(self) -> None:
        while not self._closing.wait(0.1):
            with self._lock:
                for pod in self._pods:
                    self._tend_agent(pod)
                    self._tend_fake(pod)

    def _tend_agent(self, pod: _Pod) -> None:
        now, agent = time.monotonic(), pod.agent
        if agent is not None and not agent.is_alive():
            status, _ = agent.wait_ended(1)
            # One that is stopped before it listens has no handler of signals yet, and nothing in hand.
            unborn = status == -signal.SIGTERM and "health_listening" not in agent.text()
            fine = pod.expected and (pod.kill_at is None or status == 0 or unborn)
            self._history.add(Kind.ENDED, name=pod.agent_name, status=status, expected=fine)
            pod.agent, pod.thaw_at = None, None
            if pod.start_at is None:
                pod.start_at = now + (0.0 if pod.expected else 1.0)
        elif agent is not None and pod.kill_at is not None and now >= pod.kill_at:
            self._history.add(Kind.ENDED, name=pod.agent_name, status="it does not end", expected=False)
            agent.kill()
            pod.agent, pod.start_at = None, now
        elif agent is not None and pod.thaw_at is not None and now >= pod.thaw_at:
            agent.thaw()
            pod.thaw_at = None
        if pod.agent is None and self._replacing and pod.start_at is not None and now >= pod.start_at:
            self._start_agent(pod)

    def _tend_fake(self, pod: _Pod) -> None:
        now = time.monotonic()
        if pod.fake_start_at is not None:
            if self._replacing and now >= pod.fake_start_at:
                pod.fake_start_at = None
                pod.fake = self._start_fake(pod.runtime, port=int(pod.fake.url.rpartition(":")[2]))
                pod.runtimes.append(pod.fake)
        elif not pod.fake.process.is_alive():
            status, _ = pod.fake.process.wait_ended(1)
            ordered = "fault: leaving in the middle" in pod.fake.process.text()
            self._history.add(Kind.ENDED, name=f"runtime-{pod.number}", status=status, expected=ordered)
            pod.fake_start_at = now + 1.0

    def _start_fake(self, runtime: PlannedRuntime, port: int = 0) -> Fake:
        # A ComfyUI that forgets the first of many files before they are fetched would fail their task.
        options = {"keep_outputs": 2 * HUGE_OUTPUTS} if runtime.type is RuntimeType.COMFYUI else {}
        return self._stack.start_fake(
            kind=runtime.type,
            program="tests.chaos.http_runtime" if runtime.type is RuntimeType.HTTP else "fake_runtime",
            port=port,
            ready=False,
            seconds_per_task=self._plan.seconds_per_task,
            **options,
        )

    def _start_agent(self, pod: _Pod) -> None:
        pod.generation += 1
        pod.agent_name = f"agent-{pod.number}-{pod.generation}"
        pod.expected, pod.start_at, pod.thaw_at, pod.kill_at = False, None, None, None
        pod.agent, _ = self._stack.start_agent(
            pod.runtime.name,
            pod.fake.url,
            AWS_ACCESS_KEY_ID=pod.agent_name,
            VISIBILITY_TIMEOUT=self._plan.visibility,
            SLOTS=pod.runtime.slots,
            GRACE_PERIOD_SECONDS=GRACE_PERIOD,
            TASK_TIMEOUT_SECONDS=TASK_TIMEOUT * self._plan.visibility,
        )
        self._history.add(Kind.STARTED, name=pod.agent_name, pid=pod.agent.pid, log=pod.agent.log.name)


def runs_of(log: str) -> list[dict[str, Any]]:
    """Returns the jobs of a fake runtime's log: request, when it began and ended (Unix seconds), and outcome."""
    jobs: dict[str, dict[str, Any]] = {}
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict):
            continue
        if entry.get("event") == "job began":
            began = _moment(entry)
            jobs[entry["job"]] = {
                "request": _request_in(entry["prompt"]),
                "began": began,
                "ended": began,
                "outcome": "crashed",
            }
        elif entry.get("event") == "job ended" and entry["job"] in jobs:
            jobs[entry["job"]] |= {"ended": _moment(entry), "outcome": entry["outcome"]}
    return [job for job in jobs.values() if job["request"]]


def _moment(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["timestamp"]).timestamp()


def _request_in(prompt: str) -> str:
    """Returns the request that a prompt is about: what stands between `<<` and `>>`."""
    return prompt.partition("<<")[2].partition(">>")[0]
