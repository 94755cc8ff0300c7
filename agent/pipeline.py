"""The agent's pipeline: receive, prepare, run, complete, each stage beside the others, so that the GPU never waits.

While one task runs, the next ones are received and prepared, and the last ones' results are uploaded and announced.

Shutdown goes in this order: no more messages are received; what was not started goes back at once; the running task
may finish within the grace period and is otherwise interrupted, excused and handed back; what is being completed is
completed. The heartbeat beats until the last message is gone.

An idle agent drops its open long poll and leaves at once. Should SQS hand a message to that poll, the message is not
lost: it is received again when its visibility timeout ends. A busy agent has the time to do better: it leaves the poll
open, for a poll whose caller has gone may still swallow a message (the very one that is handed back), and gives back at
once whatever comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Final

import structlog
from botocore.exceptions import ClientError

from agent.aws import backoff, describe
from agent.completion import Completion
from agent.environment import EnvironmentKeeper
from agent.errors import RuntimeUnavailableError
from agent.heartbeat import Heartbeat
from agent.holdings import Delivery, Held, Holdings, Interruption, Stage
from agent.meter import Meter
from agent.operations.lifecycle import Lifecycle, State
from agent.operations.metrics import Metrics
from agent.operations.recycling import Recycling
from agent.operations.telemetry import Tracer
from agent.operations.warm_up import WarmUp
from agent.outcomes import Abandoned, Answered, Answering, Expired, HandedBack, Outcome, Raised
from agent.pace import Pace
from agent.preparation import Preparation
from agent.release import Release
from agent.results import Results
from agent.run_outcome import arrived, internal_error
from agent.running import HEAD_START, Running
from agent.runtime_follower import RuntimeFollower
from agent.runtimes.base import Runtime
from agent.task_queue import TaskQueue
from agent.turns import Turn, Turns
from agent.watch import RecordWatch
from contract.outages import OUTAGES, is_outage
from contract.store import RecordStore
from contract.webhooks import Event

log = structlog.get_logger()

MAX_COMPLETING: Final = 200
"""Ended tasks whose callback or deletion is still under way, when SNS or SQS is out of reach but S3 is not."""

COMPLETION_GRACE: Final = 8.0
"""Seconds for uploads, callback and deletion after the grace period of the run."""

POLL_GRACE: Final = 0.3
"""Seconds in which SQS gives a message that was handed back to a poll that waits for one."""

STUCK: Final = "it does not end an interrupted run"

_LOOK_INTERVAL: Final = 1.0
"""Seconds between two looks at a run's progress, which says when the next task is due."""

_RECEIVE_FAILURES: Final = 5
"""Failed receives in a row after which the agent calls itself failed (and goes on trying)."""


class Pipeline:
    """One queue, one runtime, one GPU."""

    def __init__(
        self,
        *,
        queue: TaskQueue,
        store: RecordStore,
        runtime: Runtime,
        holdings: Holdings,
        preparation: Preparation,
        completion: Completion,
        metrics: Metrics,
        tracer: Tracer,
        visibility_timeout: float,
        prefetch: int,
        slots: int,
        task_timeout: float,
        grace_period: float,
        warm_up: WarmUp,
        recycling: Recycling,
        lifecycle: Lifecycle,
        release: Release | None = None,
        meter: Meter | None = None,
        environment: EnvironmentKeeper | None = None,
    ) -> None:
        self._queue = queue
        self._runtime = runtime
        self._holdings = holdings
        self._preparation = preparation
        self._completion = completion
        self._metrics = metrics
        self._tracer = tracer
        self._visibility_timeout = visibility_timeout
        self._prefetch = prefetch
        self._slots = slots
        self._grace_period = grace_period
        self._warm_up = warm_up
        self._recycling = recycling
        self._lifecycle = lifecycle
        self._release = release
        self._environment = environment
        self.heartbeat = Heartbeat(queue, holdings, metrics, visibility_timeout=visibility_timeout)
        self._watch = RecordWatch(
            store,
            holdings,
            withdraw=self._withdraw,
            reported=lambda held: completion.tell(held, Event.PROGRESS),
            meter=meter,
        )

        self._group = asyncio.TaskGroup()
        self._prepared: asyncio.Queue[Held] = asyncio.Queue()
        self._turns = Turns()
        self._running = Running(
            runtime,
            completion=completion,
            metrics=metrics,
            tracer=tracer,
            task_timeout=task_timeout,
            is_draining=lambda: self._draining,
            took_long=self._hold_less,
            stuck=lambda: self._follower.lose(STUCK, gone=False),
        )
        self._follower = RuntimeFollower(
            runtime,
            turns=self._turns,
            warm_up=warm_up,
            recycling=recycling,
            changed=self._runtime_changed,
            came=environment.meet if environment is not None else lambda: None,
            end=self._end,
        )
        self._pace = Pace(prefetch=prefetch, slots=slots)
        self._changed = asyncio.Event()
        self._results = Results()
        self._completing = asyncio.Semaphore(MAX_COMPLETING)
        self._emptied = asyncio.Event()
        self._started = False
        self._draining = False
        self._poll_open = False
        self._receive_failures = 0
        self._receive_error = ""
        self._stop_asked: asyncio.Event | None = None

    @property
    def state(self) -> State:
        """What the agent is doing."""
        return self._lifecycle.state

    def _note(self) -> None:
        """Notes the state after something has changed it, and whom the time from now on belongs to."""
        self._lifecycle.enter(self._judge_state())
        self._metrics.spend(on_run=True if self._turns else False if self._follower.up.is_set() else None)

    def _judge_state(self) -> State:
        if self._draining:
            return State.DRAINING
        if not self._started:
            return State.STARTING
        if self._receive_failures >= _RECEIVE_FAILURES:
            return State.FAILED
        if self._follower.warming:
            return State.WARMING
        if not self._follower.up.is_set():
            return State.WAITING_FOR_RUNTIME
        return State.BUSY if self._turns else State.READY

    @property
    def reason(self) -> str:
        """Why the agent is not ready; empty when there is nothing to say."""
        if self._receive_failures:
            return self._receive_error
        if self.state is State.WAITING_FOR_RUNTIME:
            return self._follower.reason
        return self._warm_up.error

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then drains and returns."""
        async with self._group:
            loops = {
                name: self._group.create_task(_restarted(name, loop), name=name)
                for name, loop in {
                    "receive": self._receive,
                    **{f"run {slot}": self._run for slot in range(1, self._slots + 1)},
                    "runtime": self._follower.run,
                    "watch": self._watch.run,
                    "heartbeat": self.heartbeat.run,
                }.items()
            }
            self._started, self._stop_asked = True, stop
            self._note()
            await stop.wait()
            await self._drain(loops)

    # Receive ---------------------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while not self._draining:
            await self._follower.up.wait()
            wanted = await self._wait_for_room()
            asked_at = time.monotonic()
            self._poll_open = True
            try:
                deliveries = await self._queue.receive(wanted)
            except OUTAGES as error:
                await self._receive_failed(error)
                continue
            finally:
                self._poll_open = False
            if self._receive_failures:
                log.info("receiving_again", failures=self._receive_failures)
                self._receive_failures = 0
                self._note()
            if deliveries:
                self._metrics.phases.labels("receive").observe(time.monotonic() - asked_at)
            for delivery in deliveries:
                self._accept(delivery)

    async def _receive_failed(self, error: BaseException) -> None:
        self._receive_failures += 1
        self._receive_error = describe(error)
        self._note()
        self._metrics.receive_errors.inc()
        say = log.warning if is_outage(error) else log.error
        say("receive_failed", failures=self._receive_failures, error=self._receive_error)
        await asyncio.sleep(backoff(self._receive_failures))

    async def _wait_for_room(self) -> int:
        while True:
            head = self._turns.head
            count, again_in = self._pace.wanted(
                waiting=self._holdings.count(Stage.PREPARING, Stage.PREPARED),
                running=len(self._turns),
                elapsed=head.elapsed if head else 0.0,
                progress=head.held.progress if head else 0.0,
            )
            if count and self._follower.up.is_set():
                return count
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(again_in, _LOOK_INTERVAL) if again_in else None):
                    await self._changed.wait()

    def _accept(self, delivery: Delivery) -> None:
        held = self._holdings.add(delivery)
        if held is None:
            log.info("redelivered", message_id=delivery.message_id, receives=delivery.receive_count)
        elif self._draining or not self._follower.up.is_set():
            self._spawn_completion(held, HandedBack())
        else:
            held.preparing = self._group.create_task(self._prepare(held))

    # Prepare ---------------------------------------------------------------------------------------------------------

    async def _prepare(self, held: Held) -> None:
        structlog.contextvars.clear_contextvars()
        outcome: Outcome | None
        try:
            outcome = self._preparation.read(held)
            self._tracer.note("receive", held.trace, since=held.delivery.sent_at)
            if outcome is None:
                with self._tracer.span("prepare", held.trace), self._timed("prepare"):
                    outcome = await self._preparation.prepare(held)
        except Exception:
            log.exception("preparing_failed")
            outcome = Raised(internal_error()) if held.stored else HandedBack(5)
        if held.stage is not Stage.PREPARING:
            return
        if outcome is not None:
            self._spawn_completion(held, outcome)
        else:
            held.stage = Stage.PREPARED
            self._pace.note_preparation(time.monotonic() - held.received_at)
            self._prepared.put_nowait(held)

    def _withdraw(self, held: Held, outcome: Outcome) -> None:
        """Takes a task that does not run yet out of the pipeline."""
        if held.stage in {Stage.PREPARING, Stage.PREPARED}:
            if held.preparing is not None:
                held.preparing.cancel()
            self._spawn_completion(held, outcome)

    # Run -------------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Fills one slot: sends the next prepared task, and again when its run has ended."""
        while True:
            held = await self._prepared.get()
            await self._follower.up.wait()
            await self._results.acquire()
            if held.stage is not Stage.PREPARED or self._draining:
                self._results.release()
                continue
            if held.is_stale(self._visibility_timeout):
                # This process was frozen, or SQS out of reach, for too long: others may run it by now.
                self._results.release()
                self._spawn_completion(held, Abandoned())
                continue
            if held.submission.is_too_late(datetime.now(UTC)):
                # The start is written beside the run, and would be refused when the runtime has begun.
                self._results.release()
                self._spawn_completion(held, Expired())
                continue
            if self._environment is not None and not self._environment.suits(held.metadata.environment):
                # It has changed since the task was prepared. The next one to receive it judges anew.
                self._results.release()
                self._spawn_completion(held, HandedBack(1))
                continue
            turn, held.stage = self._turns.take(held), Stage.RUNNING
            self._changed.set()
            self._note()
            with structlog.contextvars.bound_contextvars(**held.named):
                outcome = await self._running.run(held, turn)
            if isinstance(outcome, Answered | Answering):
                self._pace.note_run(outcome.seconds)
            held.prepared = None
            self._after_run(turn, outcome)
            if not isinstance(outcome, Answered | Answering):
                self._results.release()
            self._spawn_completion(held, outcome, after_run=True)
            del outcome  # the completion alone has the answer now, and lets go of it as soon as it is stored
            self._changed.set()

    def _after_run(self, turn: Turn, outcome: Outcome | Answering) -> None:
        """Judges the runtime by a run that has ended, and gives its turn to the next one."""
        self._recycling.note_run()
        if isinstance(outcome, Raised) and isinstance(outcome.error, RuntimeUnavailableError):
            self._turns.void()
            self._follower.lose(outcome.error.message)
        elif self._runtime.left_running:
            # What was sent to it now would wait behind that run, and its time would run out.
            self._follower.lose(STUCK, gone=False)
            for other in self._turns:
                if other is not turn:
                    other.held.interrupt(Interruption.WITHDRAWN)
        elif self._recycling.judge():
            self._follower.lose(self._recycling.reason)
        self._turns.leave(turn, arriving=isinstance(outcome, Answering))
        self._note()

    def _hold_less(self) -> None:
        """Hands back what was held because runs were short of late, since one is not: others may run it sooner."""
        self._pace.note_long_run()
        waiting = [held for held in self._holdings if held.stage in {Stage.PREPARING, Stage.PREPARED}]
        for held in waiting[max(1, self._prefetch) :]:
            self._withdraw(held, HandedBack())

    def _runtime_changed(self) -> None:
        """Goes on with the runtime as it is now; while it is not there, other agents get what is not started."""
        self._note()
        if not self._follower.up.is_set():
            for held in self._holdings:
                self._withdraw(held, HandedBack())
        self._changed.set()

    def _end(self) -> None:
        """Ends this agent as a signal does."""
        if self._stop_asked is not None:
            self._stop_asked.set()

    # Complete --------------------------------------------------------------------------------------------------------

    def _spawn_completion(self, held: Held, outcome: Outcome | Answering, *, after_run: bool = False) -> None:
        held.stage = Stage.FINISHING
        self._group.create_task(self._complete(held, outcome, after_run=after_run))
        self._changed.set()

    async def _complete(self, held: Held, outcome: Outcome | Answering, *, after_run: bool) -> None:
        """Completes a message; an answer takes one of `_results` until it is stored, and is not kept any longer."""
        structlog.contextvars.clear_contextvars()
        if held.task is not None:
            structlog.contextvars.bind_contextvars(**held.named)
        holds_result = isinstance(outcome, Answered | Answering)
        try:
            if after_run:
                await asyncio.sleep(HEAD_START)
            if isinstance(outcome, Answering):
                try:
                    outcome = await arrived(outcome)
                finally:
                    self._turns.arrived()
                if (
                    isinstance(outcome, Raised)
                    and isinstance(outcome.error, RuntimeUnavailableError)
                    and not self._turns  # a run that is under way tells by itself whether the server is there
                ):
                    self._follower.lose(outcome.error.message)
            if isinstance(outcome, Answered):
                self._results.note(outcome.seconds, outcome.answer.size)
            async with self._completing:
                with self._tracer.span("finish", held.trace), self._timed("finish"):
                    outcome = await self._released(held, outcome)
                    label = await self._completion.conclude(held, outcome)
                    del outcome
                    if holds_result:
                        holds_result = False
                        self._results.release()
                    label = label or await self._completion.settle(held)
            self._metrics.tasks.labels(label).inc()
        except ClientError as error:
            # The message comes back when its visibility timeout ends, and the record says how far it got.
            log.error("completion_refused", error=describe(error))  # noqa: TRY400 - no trace: AWS's own words say it all
            self._metrics.tasks.labels("error").inc()
        except Exception:
            # As above.
            log.exception("completion_failed")
            self._metrics.tasks.labels("error").inc()
        finally:
            if holds_result:
                self._results.release()
            self._holdings.discard(held)
            self._changed.set()
            if not len(self._holdings):
                self._emptied.set()

    async def _released(self, held: Held, outcome: Outcome) -> Outcome:
        """Returns an outcome as it may be stored."""
        if self._release is None or not isinstance(outcome, Answered):
            return outcome
        return await self._release.pass_through(held, outcome)

    # Shutdown --------------------------------------------------------------------------------------------------------

    async def _drain(self, loops: dict[str, asyncio.Task[None]]) -> None:
        self._draining = True
        self._note()
        log.info("draining", held=len(self._holdings), running=len(self._turns))
        loops["runtime"].cancel()
        if not self._poll_open or not len(self._holdings):
            loops["receive"].cancel()
        for held in self._holdings:
            self._withdraw(held, HandedBack())
        if self._turns or self._turns.arriving:
            try:
                async with asyncio.timeout(self._grace_period):
                    await self._wait_until_empty()
            except TimeoutError:
                for turn in self._turns:
                    turn.held.interrupt(Interruption.DRAIN)
        try:
            async with asyncio.timeout(COMPLETION_GRACE):
                await self._wait_until_empty()
                if self._poll_open:
                    # What was handed back last may have gone to our own poll.
                    await asyncio.wait({loops["receive"]}, timeout=POLL_GRACE)
                    await self._wait_until_empty()
        except TimeoutError:
            # Each one's message comes back by itself; its record tells the next agent how far it got.
            log.warning("drain_incomplete", held=len(self._holdings))
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        for loop in loops.values():
            loop.cancel()
        log.info("drained")

    async def _wait_until_empty(self) -> None:
        while len(self._holdings):
            self._emptied.clear()
            await self._emptied.wait()

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._metrics.phases.labels(phase).observe(time.monotonic() - began)


async def _restarted(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Runs one of the pipeline's loops until it returns; a fault in it is logged, and costs a second, not the agent."""
    while True:
        try:
            return await loop()
        except Exception:
            log.exception("loop_failed", loop=name)
        await asyncio.sleep(1)
