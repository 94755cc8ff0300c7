"""What nobody knows the fate of is remembered until the same request comes again, within bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import unsettled as module
from api.requests import TaskRequest
from api.submit import _taken, new_ticket
from api.unsettled import Unsettled
from contract.config import parse_config
from contract.identifiers import TaskRef
from contract.inputs import InputRules
from contract.record import Record, Status, submission_of
from contract.task import Metadata, TaskType

CONFIG = parse_config("modelBucketArn: arn:aws:s3:::models\nmodelsRuntime:\n- {name: sdruntime, type: sdwebui}\n")
REQUEST = TaskRequest(None, CONFIG.runtimes[0], TaskType.TEXT_TO_IMAGE, "output", None, {"prompt": "a dog"}, None)


TASKS = st.builds(TaskRef, st.sampled_from("abc"), st.sampled_from(["", "alice"]))


@given(st.lists(TASKS, max_size=12), TASKS)
def test_exactly_the_tickets_of_the_same_task_are_found_again_and_only_once(
    noted: list[TaskRef], wanted: TaskRef
) -> None:
    unsettled = Unsettled()
    tickets = [new_ticket(replace(REQUEST, task_id=task.id), task.tenant) for task in noted]
    for ticket in tickets:
        unsettled.note(REQUEST, ticket)

    assert unsettled.take(REQUEST, wanted) == [ticket for ticket in tickets if ticket.task == wanted]
    assert unsettled.take(REQUEST, wanted) == []
    rest = [oldest[0] for _ in range(len(unsettled)) if (oldest := unsettled.take_oldest())]
    assert rest == [ticket for ticket in tickets if ticket.task != wanted]


def test_a_request_of_other_content_is_another_one() -> None:
    unsettled = Unsettled()
    unsettled.note(REQUEST, new_ticket(replace(REQUEST, task_id="a"), ""))

    assert unsettled.take(replace(REQUEST, content={"prompt": "a cat"}), TaskRef("a")) == []
    assert len(unsettled.take(REQUEST, TaskRef("a"))) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"environment": "a" * 64},
        {"start_by": 60.0},
        {"tags": {"team": "b"}},
        {"inputs": InputRules(fetch=("/1/inputs/image",))},
    ],
)
def test_a_request_that_wants_something_else_besides_is_another_one(other: dict[str, Any]) -> None:
    unsettled = Unsettled()
    unsettled.note(REQUEST, new_ticket(replace(REQUEST, task_id="a"), ""))

    assert unsettled.take(replace(REQUEST, **other), TaskRef("a")) == []


@pytest.mark.parametrize(
    ("status", "is_taken"),
    [
        (Status.QUEUED, False),
        (Status.RUNNING, True),
        (Status.SUCCEEDED, True),
        (Status.CANCELLED, False),
        (Status.EXPIRED, False),
    ],
)
def test_an_earlier_sending_stands_for_a_later_one_only_if_it_did_the_work(status: Status, is_taken: bool) -> None:
    ticket = new_ticket(replace(REQUEST, task_id="a"), "")
    metadata = Metadata(
        id="a", runtime="sdruntime", tasktype=TaskType.TEXT_TO_IMAGE, prefix="output", submission=ticket.submission
    )
    found = submission_of(metadata, submitted_at=ticket.submitted_at).model_copy(update={"status": status})

    assert _taken(Record(id="a", current=found), [ticket]) == (ticket if is_taken else None)


def test_the_newest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    unsettled = Unsettled()
    tickets = [new_ticket(REQUEST, "") for _ in range(3)]
    for ticket in tickets:
        unsettled.note(REQUEST, ticket)

    assert [oldest[0] for _ in range(2) if (oldest := unsettled.take_oldest())] == tickets[1:]
    assert unsettled.take_oldest() is None
