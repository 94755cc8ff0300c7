"""API and agent processes: their real decisions, over a cloud in memory, without HTTP routes and a GPU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
from typing import Any, Final, Self

from botocore.exceptions import EndpointConnectionError

from agent.callbacks import Callbacks
from agent.completion import Completion
from agent.errors import PermanentError, RuntimeUnavailableError, TransientError
from agent.holdings import Delivery, Held, Holdings, Stage
from agent.inputs.payloads import Payloads
from agent.operations.metrics import Metrics
from agent.outcomes import Answered, HandedBack, Outcome, Raised
from agent.outputs import Outputs
from agent.preparation import Preparation
from agent.runtimes.base import Answer, Output, Prepared
from agent.task_queue import TaskQueue
from api.auth import ANONYMOUS
from api.aws import AWS_ERRORS, Aws
from api.requests import TaskRequest
from api.services import Services, make_front, make_services
from api.settings import Settings
from api.submit import Accepted
from api.sweeps.deadlines import Deadlines
from api.sweeps.expiry import Expiry
from api.sweeps.verdicts import Rules
from api.tasks import Cancelled
from contract.config import parse_config
from contract.identifiers import TaskRef
from contract.store import RecordStore
from contract.task import RuntimeType, TaskType
from contract.task_lists import TaskLists
from tests.unit.promise.cloud import BUCKET, CALLBACKS, TASKS, WRITTEN, Cloud, Process

CONFIG: Final = parse_config(
    "modelBucketArn: arn:aws:s3:::models\nmodelsRuntime:\n- {name: sdruntime, type: sdwebui}\n"
)
VISIBILITY_TIMEOUT: Final = 60

_SETTINGS = Settings(task_topic_arn=TASKS, callback_topic_arn=CALLBACKS, s3_bucket=BUCKET)
_FRONT = make_front(_SETTINGS, CONFIG)
_METRICS = Metrics("sdruntime")
_HOLDERS = count(1)

SUCCESS: Final = Answered(Answer(outputs=[Output(b"\x89PNG\r\n\x1a\n")], raw=b"{}"), 1.0)
OUTCOMES: Final[list[Outcome]] = [
    SUCCESS,
    Raised(PermanentError("invalid", "text")),
    Raised(TransientError("error", "text")),
    Raised(RuntimeUnavailableError("gone", "text")),
    HandedBack(),
]
"""What a run may come to; the last one is an agent that drains."""


def request(task_id: str, context: int, *, large: bool, start_by: float | None = None) -> TaskRequest:
    """Returns a request; a large one travels by reference."""
    content = {"prompt": "x" * (2000 if large else 1)}
    return TaskRequest(
        task_id, CONFIG.runtimes[0], TaskType.TEXT_TO_IMAGE, "output", context, content, None, start_by=start_by
    )


now: ContextVar[Callable[[], datetime]] = ContextVar("now", default=lambda: WRITTEN)
"""What the clock of the process says that is at work."""


class Clock(datetime):
    """Stands for `datetime` where processes ask for the time."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Returns the process's time."""
        return cls.fromtimestamp(now.get()().timestamp(), UTC)


class ApiProcess(Process):
    """One process of the API."""

    services: Services

    async def run(self, cloud: Cloud) -> None:
        """Makes its parts, and starts what it does by itself."""
        client = cloud.client(self)
        self.services = make_services(_FRONT, Aws(s3=client, sns=client, sqs=client, signer=client))
        for loop in (self.services.acceptance.settle, self.services.callbacks.run):
            self.tasks.append(asyncio.create_task(loop()))

    async def submit(self, wanted: TaskRequest, key: str | None) -> Accepted:
        """Accepts a task as `POST /v1/tasks` does."""
        if key is None:
            return await self.services.acceptance.accept_once(wanted, "", trace="")
        document = {"context": wanted.context, "content": wanted.content}
        return await self.services.idempotency.accept(ANONYMOUS, key, wanted, document, trace="")

    async def cancel(self, task_id: str) -> Cancelled:
        """Cancels a task as `DELETE /v1/tasks/{id}` does."""
        return await self.services.tasks.cancel(TaskRef(task_id))

    async def look_for_deadlines(self, cloud: Cloud) -> None:
        """Ends what was to begin by now."""
        client: Any = cloud.client(self)
        deadlines = Deadlines(
            s3=client,
            bucket=BUCKET,
            store=RecordStore(client, BUCKET),
            callbacks=self.services.callbacks,
            metrics=_FRONT.metrics,
            interval=0,
        )
        with suppress(*AWS_ERRORS):
            await deadlines.sweep()

    async def sweep(self, cloud: Cloud) -> None:
        """Looks once through all records, long after everything has happened."""
        client: Any = cloud.client(self)
        store = RecordStore(client, BUCKET)
        expiry = Expiry(
            s3=client,
            bucket=BUCKET,
            store=store,
            callbacks=self.services.callbacks,
            metrics=_FRONT.metrics,
            rules=Rules(),
            interval=timedelta(hours=6),
        )
        await expiry.sweep()


class _Runtime:
    """Makes everything ready at once."""

    async def prepare(self, task_type: TaskType, content: dict[str, Any], **_: Any) -> Prepared:
        return Prepared(task_type, content)


class AgentProcess(Process):
    """One agent; its pipeline's stages, one after the other for each message."""

    def run(self, cloud: Cloud) -> None:
        """Makes its parts."""
        client: Any = cloud.client(self)
        self._cloud = cloud
        self.holdings = Holdings()
        store, payloads, runtime = RecordStore(client, BUCKET), Payloads(client, BUCKET), _Runtime()
        lists = TaskLists(client, BUCKET)
        finishing = self.holdings.finishing
        self._preparation = Preparation(
            holdings=self.holdings,
            store=store,
            lists=lists,
            payloads=payloads,
            runtime=runtime,  # type: ignore[arg-type]
            runtime_type=RuntimeType.SDWEBUI,
            visibility_timeout=VISIBILITY_TIMEOUT,
        )
        self._completion = Completion(
            queue=TaskQueue(
                client, "queue", dead_letter_url="dead", visibility_timeout=VISIBILITY_TIMEOUT, finishing=finishing
            ),
            store=store,
            outputs=Outputs(client, BUCKET),
            payloads=payloads,
            callbacks=Callbacks(client, CALLBACKS, bucket=BUCKET, finishing=finishing),
            lists=lists,
            metrics=_METRICS,
            runtime_name="sdruntime",
            visibility_timeout=VISIBILITY_TIMEOUT,
            new_holder=lambda: f"{self.name}/{next(_HOLDERS)}",
        )

    async def handle(self, delivery: Delivery, comes_to: Outcome) -> None:
        """Brings one message as far as it goes; a run of it comes to the given outcome."""
        held = self.holdings.add(delivery)
        if held is None:
            return
        try:
            outcome = self._preparation.read(held) or await self._preparation.prepare(held)
            if outcome is None:
                held.stage = Stage.RUNNING
                await self._completion.start(held)
                outcome = await self._outcome(held, comes_to)
            held.stage = Stage.FINISHING
            if await self._completion.conclude(held, outcome) is None:
                await self._completion.settle(held)
        finally:
            self.holdings.discard(held)

    async def _outcome(self, held: Held, comes_to: Outcome) -> Outcome:
        if held.refused is not None:
            return comes_to
        try:
            await self._cloud.network.call(self, "run", lambda: None)
        except EndpointConnectionError:
            return Raised(TransientError("error", "text"))
        return comes_to
