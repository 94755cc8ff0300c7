"""Ordering faults: the words, the markers in prompts, and which one strikes when."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_runtime.faults import START_FAULTS, Fault, FaultBook, FaultError, FaultName, markers

striking = st.sampled_from([name for name in FaultName if name not in START_FAULTS])


def test_a_fault_is_ordered_with_its_options() -> None:
    fault = Fault.parse("error:status=503,body=text,message=no luck,count=3")
    assert (fault.name, fault.status, fault.body, fault.message, fault.count) == ("error", 503, "text", "no luck", 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("explode", "'hang'"),
        ("hang:seconds", "should be key=value"),
        ("hang:seconds=soon", "seconds: "),
        ("hang:colour=red", "options: name, count"),
        ("hang:count=-1", "count: "),
        ("", "name: "),
    ],
)
def test_a_wrong_order_says_what_would_be_right(text: str, told: str) -> None:
    with pytest.raises(FaultError) as raised:
        Fault.parse(text)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.text())
def test_any_text_is_a_fault_or_a_clear_refusal(text: str) -> None:
    with suppress(FaultError):
        assert Fault.parse(text).name in FaultName


@given(st.text(), striking, st.text())
def test_a_marker_is_found_wherever_it_stands_in_a_prompt(before: str, name: FaultName, after: str) -> None:
    assert name in {fault.name for fault in markers(f"{before}[[fault:{name}]]{after}")}


@given(st.text())
def test_no_prompt_breaks_the_search_for_markers(text: str) -> None:
    for prompt in (text, f"[[fault:{text}]]"):
        with suppress(FaultError):
            markers(prompt)


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("out-of-mem", "did you mean 'out-of-memory'?"),
        ("OutOfMemory", "'zero-images'"),
        ("error:statsu=500", "did you mean 'status'?"),
        ("drop-websocket", "is a fault of ComfyUI; this runtime plays sdwebui"),
        ("slow-start", "must be ordered at the start"),
    ],
)
def test_a_marker_that_could_never_strike_is_refused_with_what_was_meant(marker: str, told: str) -> None:
    with pytest.raises(FaultError, match=r"in the prompt: ") as raised:
        FaultBook(runtime_type="sdwebui").take(f"a dog [[fault:{marker}]]")
    assert told in str(raised.value)
    assert f"[[fault:{marker}]]" in str(raised.value)


def test_a_marker_strikes_its_own_task_only() -> None:
    book = FaultBook()
    assert set(book.take("a dog [[fault:hang:seconds=2]]")) == {"hang"}
    assert book.take("a dog") == {}


@given(st.integers(1, 5), st.integers(0, 8))
def test_a_fault_strikes_as_often_as_ordered(count: int, tasks: int) -> None:
    book = FaultBook([Fault(name=FaultName.HANG, count=count)])
    struck = sum(1 for _ in range(tasks) if book.take(""))
    assert struck == min(count, tasks)
    assert book.describe()[0]["struck"] == struck


def test_a_fault_may_strike_for_ever() -> None:
    book = FaultBook([Fault.parse("error:count=forever")])
    assert all(book.take("") for _ in range(20))


def test_a_fault_waits_for_its_time() -> None:
    now = 100.0
    book = FaultBook([Fault.parse("error:after=5")], clock=lambda: now)
    assert not book.take("")
    now = 105.0
    assert book.take("")


def test_a_fault_may_be_for_certain_prompts() -> None:
    book = FaultBook([Fault.parse("error:match=cat")])
    assert not book.take("a dog")
    assert book.take("a cat")


def test_several_faults_strike_one_task_but_one_of_a_name_at_a_time() -> None:
    book = FaultBook([Fault.parse(text) for text in ("hang:seconds=1", "hang:seconds=2", "interrupt-ignored")])
    first, second = book.take(""), book.take("")
    assert {name: fault.seconds for name, fault in first.items()} == {"hang": 1, "interrupt-ignored": None}
    assert [fault.seconds for fault in second.values()] == [2]


def test_faults_of_answers_and_of_jobs_strike_in_their_places() -> None:
    book = FaultBook([Fault.parse(text) for text in ("garbage", "error", "slow-response:at=view")])
    assert set(book.take("", "submit")) == {"garbage"}
    assert set(book.take("", "run")) == {"error"}
    assert set(book.take("", "view")) == {"slow-response"}


def test_start_faults_strike_no_task() -> None:
    assert FaultBook([Fault.parse("dead-start:count=forever")]).take("a dog") == {}


def test_faults_are_cleared_one_by_one_or_all() -> None:
    book = FaultBook([Fault.parse("error"), Fault.parse("hang"), Fault.parse("garbage")])
    assert book.clear(2) == 1
    assert [entry["name"] for entry in book.describe()] == ["error", "garbage"]
    assert book.clear() == 2
    assert book.describe() == []
