"""Runs a trial: real processes, a plan of faults, a history of all that happened, and time to recover at the end."""

from __future__ import annotations

import heapq
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contract.record import Status
from local.emulators.environment import ensure_environment
from local.emulators.kinds import chosen
from local.emulators.process import Emulator
from local.folders import state_folder
from tests.chaos.client import Client, api_keys
from tests.chaos.contents import HUGE_OUTPUTS
from tests.chaos.front import Front
from tests.chaos.history import Event, History, Kind
from tests.chaos.place import TrialDeployment, leftovers, provision_trial
from tests.chaos.plan import EXPIRY, EXPIRY_SWEEP, GUILTY, FaultKind, Plan, PlannedFault, PlannedTask, TaskKind
from tests.chaos.pods import Pods
from tests.chaos.proxy import NotingProxy
from tests.support.deployment import Deployment
from tests.support.proxy import Call, Match, everything
from tests.support.stack import Stack

HUGE_STORED: Final = HUGE_OUTPUTS - 80
"""Results after which the agent is killed that stores very many; more than a page of a listing."""
_API_SETTINGS: Final = {
    "EXPIRY_SECONDS": str(EXPIRY),
    "EXPIRY_SWEEP_SECONDS": str(EXPIRY_SWEEP),
    "UNDELIVERED_SWEEP_SECONDS": "2",
    "DEADLINE_SWEEP_SECONDS": "10",
}
_CANCELLED_AT_ONCE: Final = frozenset({TaskKind.HASTY, TaskKind.HASTY_ONCE})
_LOOK_EVERY: Final = 0.5
"""Seconds between two reads of a client."""
_QUIET: Final = 2.0
"""Seconds without a write, an upload or a callback after which nothing more is to be expected."""
_TERMINAL: Final = {str(status) for status in Status if status.terminal}


class _Agenda:
    """What is to be done when; may be written by any thread."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def add(self, at: float, action: Callable[[], None]) -> None:
        with self._lock:
            heapq.heappush(self._due, (at, next(self._numbers), action))

    def take(self, now: float) -> list[Callable[[], None]]:
        """Returns what is due."""
        taken = []
        with self._lock:
            while self._due and self._due[0][0] <= now:
                taken.append(heapq.heappop(self._due)[2])
        return taken

    def __len__(self) -> int:
        return len(self._due)


@dataclass(frozen=True)
class _Struck:
    """All that tasks are sent to and faults strike."""

    front: Front
    pods: Pods
    client: Client
    proxy: NotingProxy
    deployment: TrialDeployment
    localstack: Emulator


class TrialError(Exception):
    """The trial could not begin: a process does not come up; the text has the end of its log."""


class Trial:
    """One trial.

    Args:
        plan: what to do.
        folder: of the history and of all logs.
        limit: seconds for all of it, from the first task to recovery.
        say: is given a line of progress now and then.
        localstack: one that runs; one is started when none is given.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        *,
        limit: float,
        say: Callable[[str], None],
        localstack: Emulator | None = None,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._limit = limit
        self._say = say
        self._localstack = localstack
        self._agenda = _Agenda()
        self._leaving = threading.Event()
        self._frozen_until = 0.0
        self.history = History(folder / "history.jsonl")

    def run(self) -> list[Event]:
        """Runs it and returns its history. Ctrl-C once ends the faults early; twice, the wait for recovery too.

        Raises:
            TrialError: a process does not come up.
            EnvironmentFailedError, EmulatorFailedError: LocalStack cannot be installed, or does not start.
        """
        localstack = self._localstack
        if localstack is None:
            kind = chosen(os.environ)
            localstack = Emulator(
                python=ensure_environment(state_folder(), say=self._say, kind=kind),
                folder=self._folder,
                kind=kind,
                settings={"SQS_ENABLE_MESSAGE_RETENTION_PERIOD": "1"},
            )
            localstack.start()
        try:
            localstack.wait_until_ready()
            self._run(localstack)
        finally:
            os.kill(localstack.pid, signal.SIGCONT)
            if self._localstack is None:
                localstack.stop()
            self.history.close()
        return self.history.events

    def _run(self, localstack: Emulator) -> None:
        plan, history = self._plan, self.history
        guilty = [task.name for task in plan.tasks if task.kind in GUILTY]
        history.add(
            Kind.TRIAL,
            seed=plan.seed,
            agents=plan.agents,
            visibility=plan.visibility,
            slots=plan.slots,
            guilty=guilty,
            expiry=EXPIRY,
            types={runtime.name: runtime.type for runtime in plan.runtimes},
        )
        deployment = provision_trial(localstack.endpoint, plan)
        topic = deployment.place.callback_topic_arn
        with (
            NotingProxy(localstack.endpoint, history, callback_topic=topic) as proxy,
            Stack(deployment, self._folder, aws=proxy.url) as stack,
        ):
            front, pods = Front(stack, history, _API_SETTINGS | {"API_KEYS": api_keys()}), Pods(stack, plan, history)
            try:
                front.start()
                pods.start()
            except AssertionError as error:
                raise TrialError(str(error)) from error
            client = Client(
                api=stack.api,
                deployment=deployment,
                proxy=proxy,
                history=history,
                plan=plan,
                leaving=self._leaving,
            )
            ear = _Ear(deployment, history)
            ear.start()
            interrupted, recovered, reason, began_recovery = False, False, "it was broken off", time.monotonic()
            began = time.monotonic()
            with ThreadPoolExecutor(48) as pool:
                try:
                    try:
                        self._strike(_Struck(front, pods, client, proxy, deployment, localstack), pool)
                    except KeyboardInterrupt:
                        interrupted = True
                        self._say("no more faults: waiting until all has recovered (Ctrl-C again: not even that)")
                    self._leaving.set()
                    began_recovery = time.monotonic()
                    self._heal(pods, proxy, deployment, localstack)
                    reason = self._wait_until_settled(front, pods, deployment, deadline=began + self._limit)
                    recovered = not reason
                except KeyboardInterrupt:
                    interrupted = True
            history.add(
                Kind.SETTLED,
                recovered=recovered,
                reason=reason,
                interrupted=interrupted,
                seconds=round(time.monotonic() - began_recovery, 1),
            )
            front.close()
            pods.close()
            ear.stop()
            client.close()
            pods.note_runs()
            for name, text in stack.traces().items():
                history.add(Kind.TRACE, name=name, text=text)
            history.add(Kind.FINAL, **leftovers(deployment))

    # Faults ----------------------------------------------------------------------------------------------------------

    def _strike(self, struck: _Struck, pool: ThreadPoolExecutor) -> None:
        began, pods, client = time.monotonic(), struck.pods, struck.client
        for planned in self._plan.tasks:
            self._agenda.add(planned.at, _in_pool(pool, self._send, struck, planned, pool, began))
            if planned.kind in _CANCELLED_AT_ONCE:
                self._agenda.add(planned.at, _in_pool(pool, client.cancel_at_once, planned))
        for fault in self._plan.faults:
            self._agenda.add(fault.at, _in_pool(pool, self._fault, fault, struck, pool, began))
        self._agenda.add(self._plan.away.comes_at, pods.arrive)
        looks = int(self._plan.window / _LOOK_EVERY)
        for number in range(looks):
            self._agenda.add(number * _LOOK_EVERY, _in_pool(pool, client.look))
        progress = began
        while (now := time.monotonic()) - began < self._plan.window or len(self._agenda):
            for action in self._agenda.take(now - began):
                action()
            if now - began > min(self._limit, self._plan.window * 1.5):
                return  # whatever follows upon what is still unanswered does not follow any more
            if now >= progress:
                progress = now + 5
                self._say(f"{now - began:5.0f} s  {self._progress(pods)}")
            time.sleep(0.02)

    def _send(self, struck: _Struck, planned: PlannedTask, pool: ThreadPoolExecutor, began: float) -> None:
        client = struck.client
        client.send(planned)
        follow_up: Callable[[], None] | None = {
            TaskKind.CANCELLED: _in_pool(pool, client.cancel, planned),
            TaskKind.RESUBMITTED: _in_pool(pool, client.send, planned, 2),
            TaskKind.DUPLICATED: _in_pool(pool, client.send_twice, planned),
            TaskKind.CROWDED: _in_pool(pool, client.crowd, planned),
            TaskKind.HUGE: _in_pool(pool, self._kill_and_cancel, struck, planned),
        }.get(planned.kind)
        if follow_up is not None and not self._leaving.is_set():
            self._agenda.add(time.monotonic() - began + planned.again_after, follow_up)

    def _kill_and_cancel(self, struck: _Struck, planned: PlannedTask) -> None:
        """Kills the agent that stores a task's many results when most are there, and cancels the task."""
        agent = struck.client.wait_stored(planned.task_id, HUGE_STORED, within=self._plan.window)
        if agent:
            struck.pods.kill(agent)
            struck.client.cancel(planned)

    def _fault(self, fault: PlannedFault, struck: _Struck, pool: ThreadPoolExecutor, began: float) -> None:
        end = time.monotonic() - began + fault.seconds
        pods, localstack = struck.pods, struck.localstack
        if fault.kind.strikes_one:
            pods.strike(fault)
        elif fault.kind is FaultKind.API_KILLED:
            struck.front.kill(fault)
        elif fault.kind is FaultKind.QUEUE_GONE:
            pods.note(fault, "AWS")
            struck.deployment.delete_queue(self._plan.away.name)
            self._agenda.add(end, _in_pool(pool, struck.deployment.restore))
        elif fault.kind is FaultKind.AWS_FROZEN:
            if time.monotonic() < self._frozen_until:
                pods.note(fault, "AWS", skipped="it is frozen already")
                return
            self._frozen_until = time.monotonic() + fault.seconds
            pods.note(fault, "AWS")
            os.kill(localstack.pid, signal.SIGSTOP)
            self._agenda.add(end, lambda: os.kill(localstack.pid, signal.SIGCONT))
        else:
            match, arguments = self._matches()[fault.kind]
            pods.note(fault, "AWS")
            self._agenda.add(end, struck.proxy.fail(match, **arguments))

    def _matches(self) -> dict[FaultKind, tuple[Match, dict[str, Any]]]:
        def uploads(call: Call) -> bool:
            return call.operation == "PutObject" and "/." not in call.resource

        def callbacks(call: Call) -> bool:
            return call.service == "sns" and b"callbacks" in call.body

        def submissions(call: Call) -> bool:
            return call.service == "sns" and not callbacks(call)

        return {
            FaultKind.AWS_UNAVAILABLE: (everything, {"status": 503}),
            FaultKind.UPLOADS_FAIL: (uploads, {"status": 500}),
            FaultKind.CALLBACKS_FAIL: (callbacks, {"status": 503}),
            FaultKind.ANSWERS_LOST: (everything, {"lose": True}),
            FaultKind.SUBMISSIONS_FAIL: (submissions, {"status": 503}),
            FaultKind.SNS_UNAVAILABLE: (lambda call: call.service == "sns", {"status": 503}),
        }

    # Recovery --------------------------------------------------------------------------------------------------------

    def _heal(self, pods: Pods, proxy: NotingProxy, deployment: TrialDeployment, localstack: Emulator) -> None:
        proxy.heal()
        os.kill(localstack.pid, signal.SIGCONT)
        deployment.restore()
        pods.heal()

    def _wait_until_settled(self, front: Front, pods: Pods, deployment: TrialDeployment, *, deadline: float) -> str:
        """Returns nothing once all is done and quiet, or what is still amiss at the deadline."""
        began = time.monotonic()
        progress = began
        while True:
            amiss = self._amiss(front, pods, deployment)
            if not amiss:
                return ""
            now = time.monotonic()
            if now >= deadline:
                return f"{amiss} after {now - began:.0f} s without faults"
            if now >= progress:
                progress = now + 5
                self._say(f"recovering for {now - began:.0f} s: {amiss}; {self._progress(pods)}")
            time.sleep(0.5)

    def _amiss(self, front: Front, pods: Pods, deployment: TrialDeployment) -> str:
        events = list(self.history.events)
        down = [*pods.frozen_or_down(), *(["the API is down"] if front.down() else [])]
        if down:
            return ", ".join(down)
        for name, (visible, held) in deployment.waiting().items():
            if visible or held:
                return f"{visible} messages wait for {name}, {held} are held"
        unfinished = unfinished_tasks(events)
        if unfinished:
            return f"{len(unfinished)} tasks have not ended, such as {unfinished[0]}"
        noisy = {Kind.WRITE, Kind.OBJECT, Kind.PUBLISHED, Kind.DELETED, Kind.REQUEST}
        last = max((event.at for event in events if event.kind in noisy), default=0.0)
        return "" if time.time() - last > _QUIET else "it has only just become quiet"

    def _progress(self, pods: Pods) -> str:
        events = list(self.history.events)
        count = {kind: sum(event.kind is kind for event in events) for kind in (Kind.FAULT, Kind.HEARD)}
        sent = {
            event.facts["task"]
            for event in events
            if event.kind in {Kind.REQUEST, Kind.FOREIGN}
            if "task" in event.facts
        }
        waiting = len(unfinished_tasks(events))
        down = ", ".join(pods.frozen_or_down())
        return (
            f"{len(sent)}/{len(self._plan.tasks)} tasks sent, {waiting} under way, {count[Kind.HEARD]} callbacks, "
            f"{count[Kind.FAULT]} faults{f' ({down})' if down else ''}"
        )


class _Ear:
    """Listens to the callback topic."""

    def __init__(self, deployment: Deployment, history: History) -> None:
        self._deployment = deployment
        self._history = history
        self._stop = threading.Event()
        self._heard = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Listens until nothing more comes."""
        self._stop.set()
        self._thread.join(60)
        while self._hear():
            pass

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                self._hear()
            except Exception as error:  # noqa: BLE001 - AWS is frozen on purpose
                sys.stderr.write(f"callbacks: {error}\n")
                self._stop.wait(1)

    def _hear(self) -> int:
        heard = self._deployment.callbacks.heard(wait=1)
        new, self._heard = heard[self._heard :], len(heard)
        for callback in new:
            self._history.add(Kind.HEARD, submission=callback.attributes.get("submission", ""), body=callback.body)
        return len(new)


def unfinished_tasks(events: Sequence[Event]) -> list[str]:
    """Returns the tasks with a submission that has not ended, as far as records have been written.

    A submission whose client was refused may stay queued for ever: it does not count.
    """
    accepted = {
        event.facts["request"]
        for event in events
        if event.kind in {Kind.REQUEST, Kind.FOREIGN} and event.facts.get("outcome", "accepted") == "accepted"
        if "request" in event.facts
    }
    status: dict[tuple[str, str], tuple[str, str]] = {}
    for event in events:
        if event.kind is Kind.WRITE:
            record = event.facts["record"]
            for item in (record["current"], *record["earlier"].values()):
                key = (event.facts["task"], item["submission"])
                if status.get(key, ("", ""))[0] not in _TERMINAL:
                    status[key] = item["status"], (item["context"] or {}).get("request", "")
    known = {request for _, request in status.values()}
    return sorted(
        {
            task
            for (task, _), (state, request) in status.items()
            if state not in _TERMINAL and (state != "queued" or request in accepted)
        }
        | (accepted - known)
    )


def _in_pool(pool: ThreadPoolExecutor, function: Callable[..., object], *arguments: Any) -> Callable[[], None]:
    def report(future: Future[object]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            sys.stderr.write(f"chaos: {function.__name__}: {error!r}\n")

    return lambda: pool.submit(function, *arguments).add_done_callback(report)
