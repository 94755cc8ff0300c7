"""Whatever was accepted ends once, and is called back for, however calls fail, processes die and ids are used again.

A state machine plays clients, two API processes, agents, and a network that may lose each call or its answer, in every
order that Hypothesis thinks of. In the end everything works again, and what was promised must be kept.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import agent.completion
import agent.preparation
import api.idempotency
import api.submit
import api.sweeps.deadlines
from agent.holdings import Delivery
from agent.outcomes import Outcome
from api.errors import ApiError
from api.requests import TaskRequest
from api.submit import Accepted, Fate
from api.tasks import Cancelled
from contract import record as record_module
from contract.objects import ENDED, PAYLOADS, RECORDS, list_key
from contract.record import Record, Status, Submission, is_not_accepted
from contract.task_log import SUBMITTED, UNSUCCESSFUL, Entry, parse_segment
from tests.unit.promise.actors import OUTCOMES, SUCCESS, AgentProcess, ApiProcess, Clock, now, request
from tests.unit.promise.cloud import WRITTEN, Call, Cloud, Process, operation
from tests.unit.promise.cloud import Fate as CallFate
from tests.unit.promise.stepping import SteppingLoop

TASK = "task"
ALL_THE_WAY = 200
STEPS = st.sampled_from([0, 1, 2, ALL_THE_WAY, ALL_THE_WAY])
_RANK = {Status.QUEUED: 0, Status.RUNNING: 1, Status.CANCELLING: 2}


@dataclass
class Operation:
    """What a client asks of an API, or an agent does about a message."""

    number: int
    process: Process
    task: asyncio.Task[Any]
    sent: Sent | None = None


@dataclass
class Sent:
    """A request that a client may send again, until it was accepted."""

    wanted: TaskRequest
    key: str | None
    accepted: set[str] = field(default_factory=set)
    """The submissions that its sender was told of."""


class Promise(RuleBasedStateMachine):
    """One task id, which is used again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.logging = structlog.get_config()
        structlog.configure(processors=[_drop])
        self.patch.setattr(record_module, "KEPT_EARLIER", 1)  # so that few submissions crowd one out
        self.patch.setattr(api.submit, "INLINE_LIMIT", 1000)
        for module in (agent.completion, agent.preparation, api.submit, api.sweeps.deadlines):
            self.patch.setattr(module, "datetime", Clock)
        self._note_tickets()
        self.loop = SteppingLoop()
        self.cloud = Cloud()
        self.cloud.wrote = self._wrote
        self.operations: list[Operation] = []
        self.sent: list[Sent] = []
        self.apis: list[ApiProcess] = []
        self.agents: list[AgentProcess] = []
        self.number = 0
        self.time = WRITTEN
        self.violations: list[str] = []
        self.last: dict[str, Submission] = {}
        """Each submission as it was last written."""
        self.promised: dict[str, str] = {}
        """Submissions that must end and be called back for, and who was told so."""
        self.tickets: dict[int, str] = {}
        """The submission that an operation made last."""
        self.refused: set[str] = set()
        """Submissions of which a client was told that they will not run."""

    # What is watched ------------------------------------------------------------------------------------------------

    def _note_tickets(self) -> None:
        new_ticket = api.submit.new_ticket

        def noted(*arguments: Any) -> Any:
            ticket = new_ticket(*arguments)
            self.tickets[operation.get()] = ticket.submission
            return ticket

        for module in (api.submit, api.idempotency):
            self.patch.setattr(module, "new_ticket", noted)

    def _wrote(self, key: str, data: bytes) -> None:
        if key.startswith(RECORDS):
            record = Record.model_validate_json(data)
            for submission in record.submissions().values():
                self._saw(submission)
        elif key.startswith(ENDED):
            self._saw(Submission.model_validate_json(data))

    def _saw(self, now: Submission) -> None:
        name, before = now.submission, self.last.get(now.submission)
        self.last[name] = now
        if now.attempts and name in self.refused:
            self.violations.append(f"{name} runs although its client was told that it will not")
        if now.start_by is not None and now.attempts > (before.attempts if before else 0):
            assert now.started_at is not None
            if now.started_at >= now.start_by:
                self.violations.append(f"{name} was to begin by {now.start_by}, and did so at {now.started_at}")
        if before is None:
            return
        if before.status.terminal:
            if now.model_copy(update={"callback_sent": before.callback_sent}) != before:
                self.violations.append(f"{name} had ended as {before.status}, and became {now.status}")
        elif not now.status.terminal and _RANK[now.status] < _RANK[before.status]:
            self.violations.append(f"{name} went back from {before.status} to {now.status}")
        elif now.attempts < before.attempts or now.excused < before.excused:
            self.violations.append(f"the attempts of {name} went back")

    # What happens ---------------------------------------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        for _ in range(2):
            self._start_api()
            self._start_agent()

    def _start_api(self) -> None:
        process = ApiProcess(f"api-{len(self.apis)}")
        self.loop.create_task(process.run(self.cloud))
        self.apis.append(process)
        self.loop.run_until_idle()

    def _start_agent(self) -> None:
        process = AgentProcess(f"agent-{len(self.agents)}")
        process.run(self.cloud)
        self.agents.append(process)

    def _alive(self, processes: list[Any]) -> list[Any]:
        return [process for process in processes if not process.dead]

    def _begin(self, process: Process, coroutine: Coroutine[Any, Any, None], sent: Sent | None = None) -> Operation:
        self.number += 1
        context = copy_context()
        context.run(operation.set, self.number)
        context.run(now.set, lambda: self.time + process.ahead)
        begun = Operation(self.number, process, self.loop.create_task(coroutine, context=context), sent)
        process.tasks.append(begun.task)
        self.operations.append(begun)
        self._go_on()
        return begun

    def _go_on(self) -> None:
        """Runs until somebody waits for the network, or nobody does anything."""
        self.loop.run_until_idle()
        for _ in range(20):
            self._note_ends()
            if not self.operations or any(not call.abandoned for call in self.cloud.network.calls):
                break
            self.loop.pass_time(1)

    def _note_ends(self) -> None:
        for item in self.operations:
            if item.task.done() and not item.task.cancelled() and (error := item.task.exception()):
                self.violations.append(f"a fault: {error!r}")
        self.operations = [item for item in self.operations if not item.task.done()]

    def _finish(self, begun: Operation, steps: int = ALL_THE_WAY) -> None:
        """Lets an operation go on, with so many of the calls that it waits for."""
        calls = self.cloud.network.calls
        for _ in range(min(steps, 20) if self.cloud.network.out_of_reach else steps):
            if begun.task.done():
                return
            live = [call for call in calls if not call.abandoned and call.process is begun.process]
            mine = [call for call in live if call.operation == begun.number] or live
            if mine:
                self.cloud.network.let(mine[0], CallFate.DONE)
            else:
                self.loop.pass_time(1)
            self._go_on()

    def _send(self, sent: Sent, which: int, steps: int) -> None:
        process = self._alive(self.apis)[which]
        begun = self._begin(process, self._submit(process, sent), sent)
        self._finish(begun, steps)

    async def _submit(self, process: ApiProcess, sent: Sent) -> None:
        number = operation.get()
        try:
            accepted: Accepted = await process.submit(sent.wanted, sent.key)
        except ApiError as error:
            details = error.details if isinstance(error.details, dict) else {}
            if details.get("fate") == Fate.NOT_ACCEPTED and sent.key is None:
                self._refuse(self.tickets[number])
        else:
            sent.accepted.add(accepted.ticket.submission)
            self.promised.setdefault(accepted.ticket.submission, "its submission was accepted")

    def _refuse(self, submission: str) -> None:
        self.refused.add(submission)
        if submission in self.last and self.last[submission].attempts:
            self.violations.append(f"{submission} has run, and its client is told that it will not")

    async def _cancel(self, process: ApiProcess) -> None:
        try:
            cancelled: Cancelled = await process.cancel(TASK)
        except ApiError:
            return
        current = cancelled.record.current
        self.promised.setdefault(current.submission, "its cancel was accepted")
        if cancelled.at_once and not any(name == current.submission for name, _ in self.cloud.callbacks):
            # It may be late only if somebody is sure to send it.
            self.promised[current.submission] = "its cancel was accepted, and no callback was out yet"

    @rule(
        key=st.sampled_from([None, None, "k"]),
        large=st.booleans(),
        start_by=st.sampled_from([None, None, 60.0]),
        which=st.integers(0, 1),
        steps=STEPS,
        cancelled=st.booleans(),
    )
    def a_client_submits(
        self, key: str | None, large: bool, start_by: float | None, which: int, steps: int, cancelled: bool
    ) -> None:
        known = next((item for item in self.sent if key is not None and item.key == key), None)
        if known is None:
            known = Sent(request(TASK, len(self.sent), large=large, start_by=start_by), key)
            self.sent.append(known)
        self._send(known, which, steps)
        if cancelled:
            self.a_client_cancels(which, ALL_THE_WAY)

    @precondition(lambda self: any(not item.accepted for item in self.sent))
    @rule(data=st.data(), which=st.integers(0, 1), steps=STEPS)
    def a_client_that_was_not_told_of_success_sends_again(self, data: st.DataObject, which: int, steps: int) -> None:
        sent = data.draw(st.sampled_from([item for item in self.sent if not item.accepted]))
        self._send(sent, which, steps)

    @rule(which=st.integers(0, 1), steps=STEPS)
    def a_client_cancels(self, which: int, steps: int) -> None:
        process = self._alive(self.apis)[which]
        begun = self._begin(process, self._cancel(process))
        self._finish(begun, steps)

    def _visible(self) -> list[str]:
        return [name for name, message in self.cloud.messages.items() if message.visible]

    def _deliver(self, agent: AgentProcess, name: str, comes_to: Outcome) -> Operation:
        message = self.cloud.messages[name]
        message.visible, message.receives = False, message.receives + 1
        delivery = Delivery(name, name, message.body, receive_count=message.receives)
        return self._begin(agent, agent.handle(delivery, comes_to))

    @precondition(lambda self: self._visible())
    @rule(data=st.data(), comes_to=st.sampled_from([SUCCESS, *OUTCOMES]), steps=STEPS)
    def an_agent_receives_a_message(self, data: st.DataObject, comes_to: Outcome, steps: int) -> None:
        name = data.draw(st.sampled_from(self._visible()))
        begun = self._deliver(data.draw(st.sampled_from(self._alive(self.agents))), name, comes_to)
        self._finish(begun, steps)

    @precondition(lambda self: self.cloud.network.calls)
    @rule(data=st.data(), fate=st.sampled_from([CallFate.DONE, *CallFate]))
    def a_call_ends(self, data: st.DataObject, fate: CallFate) -> None:
        call: Call = data.draw(st.sampled_from(self.cloud.network.calls))
        self.cloud.network.let(call, fate)
        self._go_on()

    @precondition(lambda self: self.operations)
    @rule(data=st.data())
    def an_operation_goes_through(self, data: st.DataObject) -> None:
        self._finish(data.draw(st.sampled_from(self.operations)))

    @rule(data=st.data())
    def a_process_is_killed(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from([*self._alive(self.apis), *self._alive(self.agents)]))
        process.kill()
        if isinstance(process, ApiProcess):
            self._start_api()
        else:
            self._start_agent()
        self._go_on()

    @rule(calls=st.sampled_from([{"publish", "publish_batch"}, {"get_object", "put_object"}, set[str]()]))
    def a_service_goes_away_or_comes_back(self, calls: set[str]) -> None:
        self.cloud.network.out_of_reach = calls

    @precondition(lambda self: self.cloud.messages)
    @rule(data=st.data())
    def a_message_is_delivered_twice(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.cloud.messages)))
        self.cloud.put_message(self.cloud.messages[name].body)

    @precondition(lambda self: len(self._visible()) < len(self.cloud.messages))
    @rule(data=st.data())
    def a_visibility_timeout_ends(self, data: st.DataObject) -> None:
        hidden = [name for name, message in self.cloud.messages.items() if not message.visible]
        self._lapse(data.draw(st.sampled_from(hidden)))

    def _lapse(self, name: str) -> None:
        self.cloud.messages[name].visible = True
        for process in self.agents:
            for held in process.holdings:
                held.lost = held.lost or held.delivery.message_id == name

    @rule(seconds=st.sampled_from([1, 59, 60, 100]))
    def the_time_comes_by_which_tasks_are_to_begin(self, seconds: int) -> None:
        self.time += timedelta(seconds=seconds)

    @rule(data=st.data(), ahead=st.sampled_from([-50, 0, 50]))
    def a_clock_is_set(self, data: st.DataObject, ahead: int) -> None:
        process = data.draw(st.sampled_from([*self._alive(self.apis), *self._alive(self.agents)]))
        process.ahead = timedelta(seconds=ahead)

    @rule(which=st.integers(0, 1), steps=STEPS)
    def an_api_looks_for_what_was_to_begin_by_now(self, which: int, steps: int) -> None:
        process = self._alive(self.apis)[which]
        self._finish(self._begin(process, process.look_for_deadlines(self.cloud)), steps)

    @rule()
    def time_passes(self) -> None:
        """Longer than a client of AWS waits for an answer."""
        self.loop.pass_time(25)
        self._go_on()

    @invariant()
    def nothing_that_was_written_breaks_the_promise(self) -> None:
        assert not self.violations

    # How it ends ----------------------------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        for begun in list(self.operations):
            self._finish(begun)
        network = self.cloud.network
        network.calm, network.out_of_reach = True, set()
        while network.calls:
            network.let(network.calls[0], CallFate.REFUSED if network.calls[0].abandoned else CallFate.DONE)
            self.loop.run_until_idle()
        self.loop.pass_time(120)
        self.time += timedelta(hours=1)
        looking = self._alive(self.apis)[0]
        self._begin(looking, looking.look_for_deadlines(self.cloud))
        self.loop.pass_time(120)
        self._judge_deadlines()
        for _ in range(60):
            if not self.cloud.messages:
                break
            self._start_agent()
            for name in list(self.cloud.messages):
                if name not in self.cloud.messages:
                    continue  # an agent that had it came to its end while another one's was waited for
                self._lapse(name)
                self._deliver(self.agents[-1], name, SUCCESS)
                self.loop.pass_time(30)
        sweeper = self._alive(self.apis)[0]
        self._begin(sweeper, sweeper.sweep(self.cloud))
        self.loop.pass_time(120)
        for _ in range(40):
            # What was refused many times waits longer and longer between two tries.
            if not self.operations:
                break
            self.loop.pass_time(60)
        self._note_ends()
        assert not self.operations

    def teardown(self) -> None:
        try:
            self._calm_down()
            self._judge()
        finally:
            for process in (*self.apis, *self.agents):
                process.kill()
            self.loop.run_until_idle()
            self.loop.close()
            self.patch.undo()
            structlog.configure(**self.logging)

    def _judge_deadlines(self) -> None:
        for name in self.promised:
            submission = self.last[name]
            waits = submission.holder is None and not submission.status.terminal
            assert not (waits and submission.start_by), f"{name} waits beyond {submission.start_by}"

    def _judge(self) -> None:
        assert not self.violations
        assert not self.cloud.messages, "messages that nobody brings to an end"
        heard: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for submission, body in self.cloud.callbacks:
            heard[submission].append(body)
        for name, why in self.promised.items():
            ended = self.last[name]
            assert ended.status.terminal, f"{name} has not ended: it is {ended.status}; {why}"
            assert heard[name], f"{name} ended as {ended.status}, and nobody was called back; {why}"
        for name, ended in self.last.items():
            if ended.status.terminal and not is_not_accepted(ended):
                assert heard[name], f"{name} ended as {ended.status}, and nobody was called back"
        for name, bodies in heard.items():
            ended = self.last[name]
            assert ended.status.terminal
            for body in bodies:
                assert body == bodies[0]
                assert body["result"] is (ended.status is Status.SUCCEEDED)
        for sent in self.sent:
            ran = [item for item in self.last.values() if item.context == sent.wanted.context and item.attempts]
            assert len(ran) <= 1 or sent.key is None, "one Idempotency-Key, several runs"
        listed = {log: {entry.submission for entry in self._entries(log)} for log in (SUBMITTED, UNSUCCESSFUL)}
        may_lack = self.cloud.network.lists_failed
        for name, ended in self.last.items():
            if ended.status.terminal and ended.status is not Status.SUCCEEDED and not is_not_accepted(ended):
                assert may_lack or name in listed[UNSUCCESSFUL], f"{name} ended as {ended.status}, and no list has it"
        for sent in self.sent:
            assert may_lack or not sent.accepted - listed[SUBMITTED], "a task was accepted, and no list has it"
        needed = {ended.submission for ended in self.last.values() if ended.dead_lettered}
        left = {key.rpartition("/")[2].removesuffix(".json") for key in self.cloud.objects if key.startswith(PAYLOADS)}
        assert not (left & self.cloud.published) - needed, "payloads that nobody needs any more"

    def _entries(self, log: str) -> list[Entry]:
        folder = list_key("", log).removesuffix("head.json")
        documents = [data for key, (data, _) in self.cloud.objects.items() if key.startswith(folder)]
        return [entry for document in documents for entry in parse_segment(document).entries()]


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


Promise.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestPromise = Promise.TestCase
