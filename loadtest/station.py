"""What each process of a load test does: sends tasks, hears of their ends, and reads their records."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import gevent
import orjson
from botocore.exceptions import BotoCoreError, ClientError
from gevent.event import Event
from gevent.pool import Group
from gevent.queue import JoinableQueue
from pydantic import ValidationError

from contract.identifiers import TaskRef
from contract.objects import record_key
from contract.record import Record
from loadtest.arrivals import arrivals, flooded, length, share_of
from loadtest.clock import Clock
from loadtest.errors import LoadtestError
from loadtest.inbox import Inbox, digest
from loadtest.leftovers import own_prefix, sweep
from loadtest.mix import Work, body, check_mix, choose, default_mix
from loadtest.phases import Clocks, Phase, phases
from loadtest.polling import poll, polling_rate
from loadtest.scenario import Scenario, Wait
from loadtest.target import Aws, Target, connect
from loadtest.tasks import Book, Heard, Seen, Task
from loadtest.watch import WatchError, ask, follow, tenant_of

_READERS: Final = 2
_GENTLE: Final = 0.05
"""Seconds between a reader's records while the load is on: what is measured comes first."""
_LAST_LOOKS: Final = 10.0
"""Seconds in which a load that is interrupted still reads the records of the tasks that have ended."""
_BACKLOG: Final = 20_000
"""Records that may wait to be read; more are left out, so that a long test does not fill the memory."""

_log = logging.getLogger(__name__)


class Fire(Protocol):
    """Locust's request event."""

    def __call__(self, **details: Any) -> None:
        """Tells every listener."""


class Session(Protocol):
    """The part of Locust's HTTP session that is used."""

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Sends a request; with `catch_response`, the answer is a context manager."""


@dataclass
class Report:
    """What a process has to tell since it last did."""

    tasks: list[Task] = field(default_factory=list)
    arrived: int = 0
    accepted: int = 0
    ended: int = 0
    throttled: int = 0
    refused: int = 0
    under_way: int = 0
    unread: int = 0
    """Records that are still to be read."""
    loading: bool = False
    """Whether its own load goes on, which begins when the process is ready; elsewhere that may be earlier."""
    last: bool = False
    """Whether the process has stopped, and nothing more will come."""

    def as_json(self) -> dict[str, Any]:
        """Returns it as Locust's messages can carry it."""
        return {**vars(self), "tasks": [task.model_dump(mode="json") for task in self.tasks]}

    @classmethod
    def of_json(cls, document: dict[str, Any]) -> Report:
        """Returns what `as_json` wrote."""
        return cls(**{**document, "tasks": [Task.model_validate(item) for item in document["tasks"]]})


class StationError(LoadtestError):
    """A process that cannot get ready; one line."""


class Station:
    """One process of a load test.

    Args:
        target: the stack under load.
        scenario: the load.
        fire: tells Locust of each phase.
    """

    def __init__(self, target: Target, scenario: Scenario, fire: Fire) -> None:
        self.target = target
        self.scenario = scenario
        self.clock = Clock()
        self.book = Book()
        self.clocks = Clocks()
        self.mix = scenario.mix or default_mix(target.config)
        self.length = length(scenario.shape)
        self.worker, self.workers = 0, 1
        self.began_at = 0.0
        self._prefix = ""
        self._fire = fire
        self._chance = random.Random(scenario.seed)
        self._aws: Aws | None = None
        self._inbox: Inbox | None = None
        self._tenants: dict[str, str] = {}
        """Of each API key, by the key's name, as the API calls it."""
        self._unread: JoinableQueue[Task] = JoinableQueue()
        self._stopping = False
        self._ends: dict[str, Event] = {}
        self._greenlets = Group()
        self._headers = {
            name: {"Content-Type": "application/json", **target.headers(name)} for name in ("", *target.api_keys)
        }
        self._numbers = iter(range(10**12))
        self._schedule: Iterator[tuple[float, int, Work, str]] | None = None

    def open(self) -> None:
        """Gets ready to send, and starts the clock.

        Raises:
            loadtest.mix.MixError: the target cannot serve the mix.
            StationError: AWS is out of reach or refuses.
        """
        check_mix(self.mix, self.target.config, self.target.sample_image)
        now, seconds = self.clock.now(), self.length + self.scenario.drain
        self._prefix = own_prefix(began=now, seconds=seconds, worker=self.worker)
        place = self.target.place
        if place is not None:
            self._aws = connect(place)
        if self.scenario.wait is Wait.CALLBACK and self._aws is not None and place is not None:
            if self.worker == 0:
                sweep(self._aws, place, now)
            self._inbox = Inbox(self._aws, place, self._prefix, self._hear, self.clock)
            try:
                self._inbox.open()
            except (BotoCoreError, ClientError) as error:
                says = f"its callbacks cannot be listened for: {error}; wait otherwise: --set wait=events"
                raise StationError(says) from error
        if self.scenario.wait is Wait.POLL:
            rate = polling_rate(self.target.config.api_gateway.throttle.rate_limit, self.workers)
            self._greenlets.spawn(poll, self.book.under_way, self._poll_one, rate)
        for _ in range(_READERS):
            self._greenlets.spawn(self._read)
        self.began_at = self.clock.now()

    def stop(self) -> Report:
        """Reads what is still to be read, within limits, and returns the last report."""
        if not self._stopping:
            self._stopping = True
            self._unread.join(_LAST_LOOKS)
        return replace(self.report(), last=True)

    def close(self) -> None:
        """Ends what runs and removes what was made; safe to be called twice."""
        self._greenlets.kill(timeout=5)
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None

    @property
    def elapsed(self) -> float:
        """Seconds since the load began; 0 before."""
        return self.clock.now() - self.began_at if self.began_at else 0.0

    def schedule(self) -> Iterator[tuple[float, int, Work, str]]:
        """Yields this worker's arrivals: when (since the epoch), the number in the whole load, what, and whose.

        Each one once, whoever asks: a user that has failed begins anew, and must not send again what was sent.
        None of a station that is not open.
        """
        if not self.began_at:
            return iter(())
        if self._schedule is None:
            self._schedule = self._arrivals()
        return self._schedule

    def _arrivals(self) -> Iterator[tuple[float, int, Work, str]]:
        chance = random.Random(self.scenario.seed + self.worker)
        every = arrivals(self.scenario.shape, self.scenario.seed)
        if self.scenario.flood is not None:
            every = flooded(every, self.scenario.flood, list(self.target.api_keys), self.scenario.seed)
        for number, arrival in share_of(self.worker, self.workers, every):
            work = choose(self.mix, chance, runtime=arrival.runtime, tasktype=arrival.tasktype)
            yield self.began_at + arrival.at, number, work, arrival.tenant

    def send_one(self, session: Session) -> tuple[Task, float]:
        """Sends a task of the mix now, for a user of a closed load; see `send`."""
        return self.send(session, choose(self.mix, self._chance), next(self._numbers), self.clock.now())

    def send(self, session: Session, work: Work, number: int, due_at: float, tenant: str = "") -> tuple[Task, float]:
        """Sends a task; returns it, and the seconds that the API asks to wait when it throttles (otherwise 0).

        Args:
            session: to send it with.
            work: what is asked.
            number: of the arrival.
            due_at: when the load wanted it sent, in seconds since the epoch.
            tenant: the name of the API key that sends it; empty: the only one.
        """
        task_id = f"{self._prefix}{number}"
        payload = orjson.dumps(body(work, task_id, number=number, sample_image=self.target.sample_image))
        task = self.book.send(work, task_id, due_at=due_at, now=self.clock.now(), tenant=tenant)
        wait = 0.0
        with session.request(
            "POST",
            work.path,
            name=f"{Phase.ACCEPT}: {work.label}",
            data=payload,
            headers=self._headers.get(tenant, self._headers[""]),
            catch_response=True,
        ) as answer:
            status = answer.status_code or 0
            problem = ""
            if status in {200, 202}:
                answer.success()
            else:
                problem = _problem(answer, status)
                answer.failure(problem)
                wait = float(answer.headers.get("retry-after", 1)) if status == 429 else 0.0
        self.book.answered(task, status=status, now=self.clock.now(), problem=problem)
        if self.scenario.wait is Wait.EVENTS and status in {200, 202}:
            self._greenlets.spawn(self._follow, task)
        return task, wait

    def wait_for(self, task: Task, seconds: float) -> bool:
        """Returns once a task has ended, or so many seconds have passed; tells which."""
        if not task.heard:
            event = self._ends.setdefault(task.id, Event())
            event.wait(seconds)
            self._ends.pop(task.id, None)
        return bool(task.heard)

    def report(self) -> Report:
        """Returns what has happened since this was last asked."""
        book = self.book
        return Report(
            tasks=book.changes(),
            arrived=book.arrived,
            accepted=book.accepted,
            ended=book.ended,
            throttled=book.throttled,
            refused=book.refused,
            under_way=len(book.under_way()),
            unread=self._unread.unfinished_tasks,
            loading=self.elapsed < self.length,
        )

    def read_the_unended(self) -> None:
        """Asks for the records of the tasks whose end nobody has told, so that the report can say how they stand."""
        for task in self.book.under_way():
            self._unread.put(task)

    def _hear(self, task_id: str, heard: Heard) -> None:
        task = self.book.hear(task_id, heard)
        if task is None:
            return
        seconds = task.end_to_end or 0.0
        self._tell(Phase.END_TO_END, seconds, None if heard.result else _FailedTaskError(f"{task.tasktype} failed"))
        if task_id in self._ends:
            self._ends[task_id].set()
        if task.seen is None and self._unread.qsize() < _BACKLOG:
            self._unread.put(task)

    def _tell(self, phase: Phase, seconds: float, problem: Exception | None = None) -> None:
        self._fire(
            request_type="PHASE",
            name=str(phase),
            response_time=seconds * 1000,
            response_length=0,
            exception=problem,
            context={},
        )

    def _read(self) -> None:
        """Reads records for ever: gently while the load is on, as fast as they come after that."""
        while True:
            task = self._unread.get()
            seen = self._look(task)
            if seen is not None:
                self._see(task, seen)
            self._unread.task_done()
            if self.elapsed < self.length and not self._stopping:
                gevent.sleep(_GENTLE)

    def _look(self, task: Task) -> Seen | None:
        try:
            if self._aws is None or self.target.place is None:
                return ask(self.target, task.id, task.tenant)
            answer = self._aws.s3.get_object(Bucket=self.target.place.bucket, Key=record_key(self._ref(task)))
            return Seen.of(Record.model_validate_json(answer["Body"].read()).current)
        except (BotoCoreError, ClientError, ValidationError, WatchError) as error:
            _log.warning("the record of %s cannot be read: %s", task.id, error)
            return None

    def _ref(self, task: Task) -> TaskRef:
        if not self.target.headers():
            return TaskRef(task.id)
        if task.tenant not in self._tenants:
            self._tenants[task.tenant] = tenant_of(self.target, task.id, task.tenant)
        return TaskRef(task.id, self._tenants[task.tenant])

    def _see(self, task: Task, seen: Seen) -> None:
        self.book.see(task, seen)
        self.clocks.learn(task)
        for phase, span in phases(task, self.clocks).items():
            if phase not in {Phase.ACCEPT, Phase.END_TO_END}:
                self._tell(phase, span.seconds)

    def _poll_one(self, task: Task) -> None:
        try:
            seen = ask(self.target, task.id, task.tenant)
        except WatchError as error:
            _log.debug("%s", error)
            return
        if seen.status.terminal:
            self._told(task, seen)

    def _follow(self, task: Task) -> None:
        while not task.heard:
            try:
                self._told(task, follow(self.target, task.id, task.tenant))
            except WatchError as error:
                _log.debug("%s", error)
                gevent.sleep(1)

    def _told(self, task: Task, seen: Seen) -> None:
        """Notes an end that the API told."""
        self._see(task, seen)
        told = {"status": str(seen.status), "images": seen.images, "error": seen.error}
        self._hear(task.id, Heard(at=self.clock.now(), result=seen.status == "succeeded", digest=digest(told)))


class _FailedTaskError(Exception):
    """A task whose callback says that it failed; Locust counts it as a failure."""


def _problem(answer: Any, status: int) -> str:
    """Returns in one line why a task was not accepted."""
    if not status:
        return f"no answer: {getattr(answer, 'error', None) or 'connection lost'}"
    try:
        message = orjson.loads(answer.content)["error"]["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = ""
    return f"{status} {message}".strip()[:300]
