"""Judges a run: each check that its scenario declares holds or does not, and says why in one sentence.

A check that had nothing to look at does not hold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from loadtest.fair_shares import fair_shares
from loadtest.phases import Phase
from loadtest.run import Run, percentile
from loadtest.samples import usage_between
from loadtest.scaling_checks import scaling_outcomes
from loadtest.tasks import Answer, Task
from loadtest.verdict import Outcome


def judge(run: Run) -> list[Outcome]:
    """Returns the outcome of every check that the run's scenario declares; at least one."""
    outcomes = list(_outcomes(run))
    asked, killed = run.facts.kills_asked, len(run.facts.kills)
    if killed < asked:
        says = f"{killed} of {asked}: none was ready at the time, or the test had ended"
        outcomes.insert(0, Outcome("agents killed on purpose", False, says))
    if run.facts.interrupted:
        outcomes.insert(0, Outcome("complete", False, "the test was interrupted before its end"))
    return outcomes or [Outcome("checks", False, "the scenario declares no check: nothing was judged")]


def _outcomes(run: Run) -> Iterator[Outcome]:
    checks = run.facts.scenario.checks
    switched: list[tuple[bool, Callable[[Run], Outcome]]] = [
        (checks.no_task_lost, _no_task_lost),
        (checks.no_contradiction, _no_contradiction),
        (checks.no_task_failed, _no_task_failed),
        (checks.no_task_refused, _no_task_refused),
        (checks.only_throttled, _only_throttled),
    ]
    limited: list[tuple[float | None, Callable[[Run, float], Outcome]]] = [
        (checks.p95_end_to_end, _p95),
        (checks.drained_within, _drained),
        (checks.gpu_idle_at_most, _gpu_idle),
        (checks.generator_lag, _generator_lag),
    ]
    yield from (check(run) for wanted, check in switched if wanted)
    yield from (check(run, limit) for limit, check in limited if limit is not None)
    if checks.fair_shares:
        yield fair_shares(run)
    if checks.scaling is not None:
        yield from scaling_outcomes(run, checks.scaling)


def _no_task_lost(run: Run) -> Outcome:
    accepted = [task for task in run.tasks if task.answer is Answer.ACCEPTED]
    lost = [task for task in accepted if task.lost]
    name = "no task lost"
    if not accepted:
        return Outcome(name, False, "no task was accepted: nothing to look at")
    if not lost:
        return Outcome(name, True, f"all {len(accepted):,} accepted tasks ended with a callback")
    ended = sum(task.seen is not None and task.seen.status.terminal for task in lost)
    how = f"; the records of {ended:,} of them say that they ended" if ended else ""
    return Outcome(
        name, False, f"{len(lost):,} of {len(accepted):,} accepted tasks have no callback{how}: {_some(lost)}"
    )


def _no_contradiction(run: Run) -> Outcome:
    heard = [task for task in run.tasks if task.heard]
    wrong = [task for task in heard if task.contradicted]
    twice = sum(len(task.heard) > 1 for task in heard)
    name = "no contradicting callback"
    if not heard:
        return Outcome(name, False, "no callback arrived: nothing to look at")
    if wrong:
        return Outcome(name, False, f"{len(wrong):,} tasks have callbacks that say different things: {_some(wrong)}")
    return Outcome(name, True, f"{len(heard):,} tasks with callbacks, {twice:,} with more than one, all of them equal")


def _no_task_failed(run: Run) -> Outcome:
    # A submission that was refused in the middle may have a callback, too: its sender was told so, twice.
    heard = [task for task in run.tasks if task.heard and task.answer is not Answer.REFUSED]
    failed = [task for task in heard if not task.heard[0].result]
    name = "no task failed"
    if not heard:
        return Outcome(name, False, "no callback arrived: nothing to look at")
    if failed:
        why = next((f" ({task.seen.error})" for task in failed if task.seen and task.seen.error), "")
        return Outcome(name, False, f"{len(failed):,} of {len(heard):,} tasks failed: {_some(failed)}{why}")
    return Outcome(name, True, f"all {len(heard):,} tasks that ended succeeded")


def _no_task_refused(run: Run) -> Outcome:
    refused = [task for task in run.tasks if task.answer is not Answer.ACCEPTED]
    name = "no task refused"
    if not run.tasks:
        return Outcome(name, False, "nothing was sent: nothing to look at")
    if refused:
        says = f"{len(refused):,} of {len(run.tasks):,} requests were not accepted: {_why(refused)}"
        return Outcome(name, False, says)
    return Outcome(name, True, f"all {len(run.tasks):,} requests were accepted")


def _only_throttled(run: Run) -> Outcome:
    throttled = sum(task.answer is Answer.THROTTLED for task in run.tasks)
    others = [task for task in run.tasks if task.answer in {Answer.REFUSED, Answer.UNKNOWN}]
    name = "throttling answers 429 and nothing else"
    if others:
        return Outcome(name, False, f"{len(others):,} requests failed in another way: {_why(others)}")
    if not throttled:
        return Outcome(name, False, "no request was throttled: nothing to look at; raise the load above the rate limit")
    return Outcome(name, True, f"{throttled:,} of {len(run.tasks):,} requests were told 429, all others accepted")


def _p95(run: Run, limit: float) -> Outcome:
    ended = run.seconds(Phase.END_TO_END)
    lost = sum(task.lost for task in run.tasks)
    # A task that never ended took longer than any that did.
    found = percentile([*ended, *[math.inf] * lost], 95)
    name = f"p95 end to end ≤ {limit:g} s"
    if found is None or not ended:
        return Outcome(name, False, "no task ended: nothing to look at")
    if math.isinf(found):
        return Outcome(name, False, f"only {len(ended):,} of {len(ended) + lost:,} tasks ended")
    return Outcome(name, found <= limit, f"95 % of the tasks ended within {found:.1f} s")


def _drained(run: Run, limit: float) -> Outcome:
    name = f"queue drained within {limit:g} s of the load's end"
    depths = [sum(depth.total for depth in sample.queues.values()) for sample in run.samples if sample.queues]
    if not depths:
        return Outcome(name, False, "no queue was seen: nothing to look at")
    if not any(depths):
        return Outcome(name, False, "no message was ever seen in a queue: nothing to look at")
    if run.drained_at is None and not depths[-1]:
        return Outcome(name, False, "no queue was seen after the load's end: nothing to look at")
    if run.drained_at is None:
        return Outcome(name, False, f"{depths[-1]:,} messages were still there when the test ended")
    seconds = run.drained_at - run.load_end
    return Outcome(
        name, seconds <= limit, f"empty {seconds:.0f} s after the load's end; at most {max(depths):,} messages"
    )


def _gpu_idle(run: Run, limit: float) -> Outcome:
    name = f"GPU idle ≤ {limit:g} %"
    use = usage_between(run.samples, run.facts.began_at, run.drained_at or run.facts.ended_at)
    if use.idle_share is None:
        return Outcome(name, False, "no GPU's busy seconds were seen: nothing to look at")
    idle = use.idle_share * 100
    return Outcome(name, idle <= limit, f"{idle:.0f} % of {use.available:,.0f} GPU seconds, until the queue was empty")


def _generator_lag(run: Run, limit: float) -> Outcome:
    found = percentile((task.sent_at - task.due_at for task in run.tasks), 99)
    name = f"the load itself was late by ≤ {limit:g} s"
    if found is None:
        return Outcome(name, False, "nothing was sent: nothing to look at")
    return Outcome(name, found <= limit, f"99 % of the tasks were sent within {found * 1000:.0f} ms of their time")


def _why(refused: Sequence[Task]) -> str:
    found = Counter(task.problem or str(task.status or "no answer") for task in refused)
    return "; ".join(problem for problem, _ in found.most_common(3))


def _some(tasks: Sequence[Task]) -> str:
    names = ", ".join(task.id for task in tasks[:3])
    return names + (f" and {len(tasks) - 3:,} more" if len(tasks) > 3 else "")
