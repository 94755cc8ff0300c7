"""Plays the clients of a trial: sends, sends again, cancels and reads tasks, and notes what was answered."""

from __future__ import annotations

import json
import random
import threading
from typing import Any, Final

import httpx

from contract.task import RuntimeType
from tests.chaos.history import History, Kind
from tests.chaos.plan import Plan, PlannedTask, TaskKind
from tests.chaos.pods import RUNTIME
from tests.chaos.proxy import NotingProxy
from tests.support.deployment import Deployment
from tests.support.stack import workflow

TRIES: Final = 6
"""How often a client sends a task that is not accepted; a second passes in between."""
_LARGE: Final = "a very long prompt " * 15_000
_TIMEOUT: Final = 60.0


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
        self._comfyui = plan.runtime_type is RuntimeType.COMFYUI
        self._orders = {
            TaskKind.POISONED: "[[fault:error:status=500,body=text]]",
            TaskKind.ENDLESS: "[[fault:hang]]",
            TaskKind.LONG: f"[[fault:hang:seconds={1.5 * plan.visibility}]]",
            TaskKind.LARGE: _LARGE,
        }
        self._leaving = leaving
        self._known: list[str] = []

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def send(self, planned: PlannedTask, number: int = 1) -> None:
        """Sends a task until it is accepted, or `TRIES` times."""
        if planned.kind is TaskKind.UNREADABLE:
            body = f"no task: {planned.task_id}"
            self._put(body)
            self._history.add(Kind.FOREIGN, unreadable=body)
            return
        if planned.kind is TaskKind.FOREIGN:
            request = f"{planned.task_id}/{number}"
            self._put(json.dumps(self._task(planned, request)))
            self._history.add(Kind.FOREIGN, request=request, task=planned.task_id)
            return
        once = planned.kind is TaskKind.IDEMPOTENT
        for attempt in range(TRIES):
            # Without a key each sending is a request of its own.
            request = f"{planned.task_id}/{number}" + ("" if once or not attempt else f".{attempt}")
            facts = self._post(planned, request, key=request if once else "")
            accepted = facts["outcome"] == "accepted"
            last = accepted or attempt == TRIES - 1 or self._leaving.is_set()
            if last or not once:
                self._history.add(Kind.REQUEST, request=request, task=planned.task_id, **facts)
            if accepted:
                self._known.append(planned.task_id)
            if last or self._leaving.wait(1):
                return

    def send_twice(self, planned: PlannedTask) -> None:
        """Delivers the message of a task once more."""
        request = f"{planned.task_id}/1"
        body = self._proxy.messages.get(request)
        if body is not None:
            self._put(body)
            self._history.add(Kind.DUPLICATE, request=request)

    def cancel(self, task_id: str) -> None:
        """Asks for a task's end."""
        try:
            status = self._http.delete(f"/v1/tasks/{task_id}").status_code
        except httpx.HTTPError:
            status = 0
        self._history.add(Kind.CANCEL, task=task_id, status=status)

    def look(self) -> None:
        """Reads some task."""
        if not self._known:
            return
        task_id = random.choice(self._known[-60:])
        try:
            answer = self._http.get(f"/v1/tasks/{task_id}")
        except httpx.HTTPError:
            return
        if answer.status_code == 200:
            seen = answer.json()
            self._history.add(Kind.SEEN, task=task_id, submission=seen["submission"], status=seen["status"])

    def _post(self, planned: PlannedTask, request: str, *, key: str) -> dict[str, Any]:
        route, headers = ("/v1/tasks", {"idempotency-key": key}) if key else ("/v1alpha2", {})
        try:
            answer = self._http.post(route, json={"task": self._task(planned, request)}, headers=headers)
        except httpx.HTTPError as error:
            return {"outcome": "unknown", "status": 0, "reason": repr(error)}
        if answer.is_success:
            return {"outcome": "accepted", "status": answer.status_code}
        return {"outcome": "refused", "status": answer.status_code, "reason": answer.text[:200]}

    def _put(self, body: str) -> None:
        self._deployment.clients.sqs.send_message(QueueUrl=self._deployment.queue_url(RUNTIME), MessageBody=body)

    def _task(self, planned: PlannedTask, request: str) -> dict[str, Any]:
        text = f"<<{request}>> {self._orders.get(planned.kind, '')}".strip()
        comfyui = self._comfyui
        content: dict[str, Any] = workflow(text) if comfyui else {"prompt": text, "steps": 4, "width": 64, "height": 64}
        if planned.kind is TaskKind.INVALID:
            if comfyui:
                content["4"]["inputs"]["sampler_name"] = "No Such Sampler"
            else:
                # Since 1.9 SD Web UI runs its first sampler in the place of an unknown one.
                content["script_name"] = "No Such Script"
        return {
            "metadata": {
                "id": planned.task_id,
                "runtime": RUNTIME,
                "tasktype": "pipeline" if comfyui else "text-to-image",
                "prefix": "output",
                "context": {"request": request},
            },
            "content": content,
        }
