"""Reports show figures, goals and how agents compare."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from contract.task import RuntimeType
from tests.bench.as_in_image import NOT_IN_THE_IMAGE
from tests.bench.contenders import ContenderError, Names, other, ours, with_slots
from tests.bench.exchanges import Handling
from tests.bench.http_load import content_length
from tests.bench.measure import Gpu, figures, read_runs
from tests.bench.programs import BenchError
from tests.bench.report import ApiRow, Row, api_table, document, ratio, scenario_table, verdict
from tests.bench.scenarios import SCENARIOS, Goal
from tests.bench.statistics import Run, Sample

ROOT = Path(__file__).parents[3]


def _text(table: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_figures_follow_from_what_runtime_and_queue_tell() -> None:
    runs = {"bench-b-000000": Run(10, 10.5), "bench-b-000001": Run(10.6, 11.1)}
    handlings = [Handling("bench-b-000000", 9.9, 10.7), Handling("bench-b-000001", 10.1, 12.0)]
    samples = [Sample(9, 1.0, 50), Sample(10, 1.0, 80), Sample(12, 1.4, 60)]

    found = figures(handlings, [Gpu(1.0, runs, failed=0)], [samples], tasks=2)

    assert found["rate"] == pytest.approx(1.0)
    assert found["idle"] == pytest.approx(1 - 1.0 / 1.1)
    assert found["gap"] == pytest.approx(0.1)
    assert found["cpu"] == pytest.approx(0.2)
    assert found["rss"] == 80
    assert found["p50"] == pytest.approx(0.3)
    assert found["p99"] == pytest.approx(1.4)


def test_without_any_run_there_are_no_figures() -> None:
    with pytest.raises(BenchError, match="no task was run"):
        figures([], [], [], tasks=1)


def test_an_agent_whose_words_are_not_understood_is_measured_by_its_runs() -> None:
    found = figures([], [Gpu(1.0, {"bench-a-000000": Run(0, 1)}, failed=0)], [], tasks=5)

    assert found["rate"] == 1.0
    assert found["p50"] is None


def test_only_ended_runs_of_our_tasks_count_and_failures_are_told() -> None:
    jobs = [
        {"prompt": "a text\nbench-gb-000007", "started": 1.0, "finished": 2.0, "outcome": "succeeded"},
        {"prompt": "bench-gb-000008", "started": 2.0, "finished": 3.0, "outcome": "failed"},
        {"prompt": "bench-gb-000009", "started": 3.0, "finished": None, "outcome": "running"},
        {"prompt": "warm-up", "started": 0.0, "finished": 0.5, "outcome": "succeeded"},
    ]

    runs, failed = read_runs(jobs)

    assert runs == {"bench-gb-000007": Run(1, 2), "bench-gb-000008": Run(2, 3)}
    assert failed == 1


def test_the_goals_are_ours_with_whatever_slots_and_nobody_elses() -> None:
    slots = with_slots(ours(), 2)
    assert slots.environment(queue="", runtime="", topic="", bucket="")["SLOTS"] == "2"

    rows = [Row(SCENARIOS["b"], name, ({"idle": 0.0},)) for name in (ours().name, slots.name, "theirs")]

    assert _text(scenario_table(rows)).count("✓ GPU idle") == 2
    assert [bool(row["goals"]) for row in document(rows, [], {})["agents"]] == [True, True, False]
    with pytest.raises(ContenderError, match="is taken"):
        other(slots.name, "agent", Names(), [])


def test_goals_are_met_or_not_and_what_was_not_measured_is_neither() -> None:
    goal = Goal("idle", 0.01)

    assert verdict(goal, {"idle": 0.009}) == ("GPU idle ≤ 1.0 %: 0.9 %", True)
    assert verdict(goal, {"idle": 0.02})[1] is False
    assert verdict(goal, {})[1] is None
    assert verdict(Goal("rate", 45, at_least=True), {"rate": 50.0})[1] is True


def test_every_goal_of_every_scenario_can_be_shown() -> None:
    for scenario in SCENARIOS.values():
        for goal in scenario.goals:
            assert verdict(goal, {goal.figure: goal.bound})[1] is True


def test_other_agents_are_shown_as_multiples_of_ours() -> None:
    scenario = SCENARIOS["a"]
    rows = [
        Row(scenario, "darkroom", ({"rate": 40.0, "cpu": 0.01}, {"rate": 60.0, "cpu": 0.01})),
        Row(scenario, "serial", ({"rate": 25.0, "cpu": 0.02},)),
        Row(scenario, "broken", error="broken has ended"),
    ]

    text = _text(scenario_table(rows))

    assert "×0.5" in text
    assert "×2.0" in text
    assert "✓ tasks/s ≥ 45.0: 50.0" in text
    assert "broken has ended" in text
    assert ratio(None, 1) is None
    assert ratio(0, 1) is None


def test_the_document_is_json_with_every_figure() -> None:
    rows = [Row(SCENARIOS["b"], "darkroom", ({"idle": 0.005},)), Row(SCENARIOS["b"], "serial", ({"idle": 0.06},))]
    api = [ApiRow("API", 16, {"rate": 100.0})]

    found = json.loads(json.dumps(document(rows, api, {"processors": 2})))

    assert found["agents"][0]["goals"] == [{"figure": "idle", "bound": 0.01, "at_least": False, "met": True}]
    assert found["agents"][1]["goals"] == []
    assert found["api"] == [{"target": "API", "connections": 16, "figures": {"rate": 100.0}}]
    assert "100.0" in _text(api_table(api, 1500))


def test_another_agent_gets_everything_under_its_own_names() -> None:
    names = Names(queue="QUEUE", runtime="RUNTIME")

    agent = other("peer", "sh -c 'exec agent'", names, ["TIMEOUT=5", "EMPTY="])

    assert agent.command == ("sh", "-c", "exec agent")
    assert agent.environment(queue="q", runtime="r", topic="t", bucket="b") == {
        "QUEUE": "q",
        "RUNTIME": "r",
        "SNS_TOPIC_ARN": "t",
        "S3_BUCKET": "b",
        "TIMEOUT": "5",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("name", "command", "extra", "named"),
    [
        ("peer", "", [], "--agent-command"),
        ("peer", "sh 'open", [], "--agent-command"),
        ("darkroom", "sh", [], "--agent-name"),
        ("peer", "sh", ["NOVALUE"], "--env"),
    ],
)
def test_what_cannot_be_used_of_another_agent_is_named(name: str, command: str, extra: list[str], named: str) -> None:
    with pytest.raises(ContenderError, match=named):
        other(name, command, Names(), extra)


def test_our_agent_is_measured_without_what_its_image_lacks() -> None:
    pinned = (ROOT / "agent/requirements.txt").read_text()

    assert not [name for name in NOT_IN_THE_IMAGE if f"\n{name}==" in pinned]
    assert ours().has_records


def test_quick_scenarios_are_short_and_ask_for_what_their_runtime_takes() -> None:
    for scenario in SCENARIOS.values():
        quick = replace(scenario.quick())
        assert quick.tasks * quick.seconds_per_task < 5
        content = scenario.content("bench-x-000000", "http://127.0.0.1:1/a.png")
        assert ("prompt" in content) == (scenario.runtime is RuntimeType.SDWEBUI)
        assert "bench-x-000000" in json.dumps(content)


def test_the_length_of_an_answer_is_read_from_its_head() -> None:
    assert content_length(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 17\r\nX: y") == 17
    assert content_length(b"HTTP/1.1 204 No Content") == 0
