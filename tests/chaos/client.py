"""Plays the clients of a trial: sends, sends again, cancels and reads tasks, and notes what was answered."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import httpx

from tests.chaos.contents import content_of, task_type
from tests.chaos.history import History, Kind
from tests.chaos.plan import ONCE, TENANTS, Plan, PlannedTask, TaskKind
from tests.chaos.proxy import NotingProxy
from tests.support.deployment import Deployment

TRIES: Final = 6
"""How often a client sends a task that is not accepted; a second passes in between."""
CROWD: Final = 23
"""How often the id of a task that was cancelled is submitted again: more often than a record keeps what has ended."""
_SECRET: Final = "the-key-of-{}"
_TIMEOUT: Final = 60.0
_LOOK: Final = 0.02
"""Seconds between two looks at what has reached AWS."""


class Client:
    """All clients together; safe to use by many threads.

    Args:
        api: its URL.
        deployment: for what is sent past the API.
        proxy: knows the messages that were published.
        history: is told of every answer.
        plan: decides what requests look like.
        leaving: set when the trial is broken off: nothing is tried again.
    """

    def __init__(
        self,
        *,
        api: str,
        deployment: Deployment,
        proxy: NotingProxy,
        history: History,
        plan: Plan,
        leaving: threading.Event,
    ) -> None:
        self._http = httpx.Client(base_url=api, timeout=_TIMEOUT, limits=httpx.Limits(max_connections=100))
        self._deployment = deployment
        self._proxy = proxy
        self._history = history
        self._plan = plan
        self._leaving = leaving
        self._known: list[PlannedTask] = []

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def send(self, planned: PlannedTask, number: int = 1, *, runtime: str = "") -> None:
        """Sends a task until it is accepted, or `TRIES` times.

        Args:
            planned: the task.
            number: how many times its id has been submitted, this time included.
            runtime: another one than its own.
        """
        runtime = runtime or planned.runtime
        if planned.kind is TaskKind.UNREADABLE:
            body = f"no task: {planned.name}"
            self._put(runtime, body)
            self._history.add(Kind.FOREIGN, unreadable=body)
            return
        if planned.kind is TaskKind.FOREIGN:
            request = f"{planned.name}/{number}"
            self._put(runtime, json.dumps(self._task(planned, request, runtime)))
            self._history.add(Kind.FOREIGN, request=request, task=planned.ref)
            return
        once = planned.kind in ONCE
        for attempt in range(TRIES):
            # Without a key each sending is a request of its own.
            request = f"{planned.name}/{number}" + ("" if once or not attempt else f".{attempt}")
            # Keys, as ids, may be the same for two tenants.
            key = f"{planned.task_id}/{number}" if once else ""
            facts = self._post(planned, self._task(planned, request, runtime), key=key)
            accepted = facts["outcome"] == "accepted"
            last = accepted or attempt == TRIES - 1 or self._leaving.is_set()
            if last or not once:
                self._history.add(
                    Kind.REQUEST, request=request, task=planned.ref, before=attempt if once else 0, **facts
                )
            if accepted:
                self._known.append(planned)
            if last or self._leaving.wait(1):
                return

    def cancel_at_once(self, planned: PlannedTask) -> None:
        """Cancels a task as soon as it has a record, answered or not."""
        if self._wait(lambda: planned.ref in self._proxy.recorded, within=10):
            self.cancel(planned)

    def crowd(self, planned: PlannedTask) -> None:
        """Cancels a task, and submits its id until its record has no place for the first submission any more."""
        first = 1
        while not self._cancel_surely(planned):
            first += 1
            if first > TRIES or self._leaving.is_set():
                return
            self.send(planned, first)
        for number in range(first + 1, first + CROWD + 1):
            if self._leaving.is_set():
                return
            self.send(planned, number, runtime=self._plan.runtimes[0].name)
            if number < first + CROWD:
                self.cancel(planned)

    def wait_stored(self, task_id: str, number: int, within: float) -> str:
        """Returns which agent stores a task's results, once so many are stored; nothing if they do not come."""

        def stored() -> bool:
            return len(self._proxy.uploads.get(task_id, {})) >= number

        return list(self._proxy.uploads[task_id].values())[-1] if self._wait(stored, within=within) else ""

    def _wait(self, reached: Callable[[], bool], *, within: float) -> bool:
        deadline = time.monotonic() + within
        while not reached():
            if time.monotonic() > deadline or self._leaving.wait(_LOOK):
                return False
        return True

    def _cancel_surely(self, planned: PlannedTask) -> bool:
        """Cancels a task; returns whether it was before it ran."""
        for _ in range(TRIES):
            if (status := self.cancel(planned)) in {200, 202, 404, 409} or self._leaving.wait(1):
                return status == 200
        return False

    def send_twice(self, planned: PlannedTask) -> None:
        """Delivers the message of a task once more."""
        request = f"{planned.name}/1"
        body = self._proxy.messages.get(request)
        if body is not None:
            self._put(planned.runtime, body)
            self._history.add(Kind.DUPLICATE, request=request)

    def cancel(self, planned: PlannedTask) -> int:
        """Asks for a task's end; returns the status of the answer, 0 for none."""
        facts: dict[str, Any] = {"status": 0}
        try:
            answer = self._http.delete(f"/v1/tasks/{planned.task_id}", headers=_key(planned))
            facts = {"status": answer.status_code}
            if answer.is_success:
                facts["submission"] = answer.json().get("submission", "")
        except httpx.HTTPError:
            pass
        self._history.add(Kind.CANCEL, task=planned.ref, **facts)
        return int(facts["status"])

    def look(self) -> None:
        """Reads some task."""
        if not self._known:
            return
        planned = random.choice(self._known[-60:])
        try:
            answer = self._http.get(f"/v1/tasks/{planned.task_id}", headers=_key(planned))
        except httpx.HTTPError:
            return
        if answer.status_code == 200:
            seen = answer.json()
            self._history.add(Kind.SEEN, task=planned.ref, submission=seen["submission"], status=seen["status"])

    def _post(self, planned: PlannedTask, task: dict[str, Any], *, key: str) -> dict[str, Any]:
        route, headers = ("/v1/tasks", {"idempotency-key": key}) if key else ("/v1alpha2", {})
        if planned.kind is TaskKind.DATED:
            route = "/v1/tasks"  # the other one knows of no such thing
        try:
            answer = self._http.post(route, json={"task": task}, headers=headers | _key(planned))
        except httpx.HTTPError as error:
            return {"outcome": "unknown", "status": 0, "reason": repr(error)}
        if answer.is_success:
            return {"outcome": "accepted", "status": answer.status_code}
        return {
            "outcome": "refused",
            "status": answer.status_code,
            "fate": _fate(answer),
            "reason": answer.text[:200],
        }

    def _put(self, runtime: str, body: str) -> None:
        self._deployment.clients.sqs.send_message(QueueUrl=self._deployment.queue_url(runtime), MessageBody=body)

    def _task(self, planned: PlannedTask, request: str, runtime: str) -> dict[str, Any]:
        of_type = self._plan.runtime(runtime).type
        return {
            "metadata": {
                "id": planned.task_id,
                "runtime": runtime,
                "tasktype": task_type(of_type),
                "prefix": planned.prefix,
                "context": {"request": request},
                **({"start_by": planned.again_after} if planned.kind is TaskKind.DATED else {}),
            },
            "content": content_of(planned.kind, request, of_type, visibility=self._plan.visibility),
        }


def api_keys() -> str:
    """Returns the API's setting of that name: a key for each tenant."""
    return ",".join(f"{tenant}={_SECRET.format(tenant)}" for tenant in TENANTS)


def _key(planned: PlannedTask) -> dict[str, str]:
    return {"x-api-key": _SECRET.format(planned.tenant)}


def _fate(answer: httpx.Response) -> str:
    """Returns what a refusal says about its submission; empty when it says nothing."""
    try:
        return str(answer.json()["error"]["details"]["fate"])
    except (ValueError, KeyError, TypeError):
        return ""
