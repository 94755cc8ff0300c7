"""Phases from clocks that disagree: never negative, and right up to what the order of events can tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.record import Status
from loadtest.phases import Bounds, Phase, learnt, phases
from loadtest.tasks import Answer, Heard, Seen, Task
from tests.unit.loadtest.support import BEGAN

seconds = st.floats(0.001, 30)
skews = st.floats(-3600, 3600)


@st.composite
def truths(draw: st.DrawFn) -> dict[str, float]:
    """The moments of one task in the order in which they truly were, from its begin on."""
    sent = draw(st.floats(0, 100))
    submitted = sent + draw(seconds)
    answered = submitted + draw(seconds)
    started = submitted + draw(seconds)
    finished = started + draw(seconds)
    return {
        "sent": sent,
        "submitted": submitted,
        "answered": answered,
        "started": started,
        "finished": finished,
        "heard": finished + draw(seconds),
    }


def as_seen(truth: dict[str, float], *, api: float, agent: float) -> Task:
    """Returns the task as a test sees it whose API and agent clocks are ahead by so many seconds."""
    at = {name: BEGAN + moment for name, moment in truth.items()}
    return Task(
        id="t",
        runtime="r",
        tasktype="pipeline",
        due_at=at["sent"],
        sent_at=at["sent"],
        answered_at=at["answered"],
        status=200,
        answer=Answer.ACCEPTED,
        heard=[Heard(at=at["heard"], result=True, digest="x")],
        seen=Seen(
            status=Status.SUCCEEDED,
            submitted_at=at["submitted"] + api,
            started_at=at["started"] + agent,
            finished_at=at["finished"] + agent,
            agent="a",
            attempts=1,
            generation=truth["finished"] - truth["started"],
        ),
    )


@given(st.lists(truths(), min_size=1, max_size=8), skews, skews)
def test_no_phase_is_negative_however_wrong_the_clocks_are(
    every: list[dict[str, float]], api: float, agent: float
) -> None:
    tasks = [as_seen(truth, api=api, agent=agent) for truth in every]
    clocks = learnt(tasks)
    for task in tasks:
        found = phases(task, clocks)
        assert set(found) == set(Phase) - {Phase.INPUTS, Phase.UPLOAD}
        assert all(span.seconds >= 0 for span in found.values())


@given(st.lists(truths(), min_size=1, max_size=8), skews, skews)
def test_a_wrong_clock_is_off_by_no_more_than_events_leave_open(
    every: list[dict[str, float]], api: float, agent: float
) -> None:
    """The true offset lies within the bounds, so that the correction misses it by their width at most."""
    clocks = learnt([as_seen(truth, api=api, agent=agent) for truth in every])
    for bounds, truth in [(clocks.api, api), (clocks.agents["a"], agent)]:
        assert bounds.lower - 1e-3 <= truth <= bounds.upper + 1e-3
        assert abs(bounds.offset - truth) <= bounds.upper - bounds.lower + 1e-3


@given(st.lists(truths(), min_size=1, max_size=8))
def test_clocks_that_agree_are_left_alone(every: list[dict[str, float]]) -> None:
    tasks = [as_seen(truth, api=0, agent=0) for truth in every]
    clocks = learnt(tasks)
    assert clocks.api.offset == pytest.approx(0, abs=1e-3)
    assert clocks.agent("a") == pytest.approx(0, abs=1e-3)
    for truth, task in zip(every, tasks, strict=True):
        found = phases(task, clocks)
        assert found[Phase.QUEUE].seconds == pytest.approx(truth["started"] - truth["submitted"], abs=1e-2)
        assert found[Phase.CALLBACK].seconds == pytest.approx(truth["heard"] - truth["finished"], abs=1e-2)
        assert found[Phase.END_TO_END].seconds == pytest.approx(truth["heard"] - truth["sent"], abs=1e-2)


def test_the_queue_wait_of_a_task_is_right_when_the_agents_clock_is_an_hour_ahead() -> None:
    truth = {"sent": 0, "submitted": 0.01, "answered": 0.02, "started": 0.03, "finished": 1.03, "heard": 1.04}
    late = {**truth, "started": 5.03, "finished": 6.03, "heard": 6.04}
    tasks = [as_seen(item, api=0, agent=3600) for item in (truth, late)]
    found = [phases(task, learnt(tasks))[Phase.QUEUE].seconds for task in tasks]
    assert found == pytest.approx([0.02, 5.02], abs=0.05)


def test_bounds_that_cross_give_their_middle() -> None:
    bounds = Bounds()
    bounds.not_less_than(3)
    bounds.not_more_than(1)
    assert bounds.offset == 2


def test_a_task_without_record_or_callback_has_the_phases_that_are_known() -> None:
    task = as_seen(
        {"sent": 0, "submitted": 1, "answered": 2, "started": 3, "finished": 4, "heard": 5}, api=0, agent=0
    ).model_copy(update={"seen": None, "heard": []})
    assert set(phases(task, learnt([task]))) == {Phase.ACCEPT}
