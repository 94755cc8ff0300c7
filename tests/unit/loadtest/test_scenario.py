"""Scenarios: those that come with the project can be used, and what is wrong is said with its key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contract.config import load_config
from contract.scaling.settings import scaling_by_runtime
from loadtest.arrivals import arrivals, length
from loadtest.mix import check_mix, default_mix
from loadtest.planner.arrivals import Recorded
from loadtest.planner.model import Nodes, Run, Work
from loadtest.planner.simulation import simulate
from loadtest.scenario import Arrive, Checks, ScalingCheck, ScenarioError, load_scenario, scenario_names

ROOT = Path(__file__).parents[3]


def test_every_shape_that_is_promised_is_there() -> None:
    assert {"steady", "ramp", "spike", "step", "day", "soak", "replay"} <= set(scenario_names())


@pytest.mark.parametrize("name", scenario_names())
def test_each_scenario_can_be_used_and_judges_something(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    scenario = load_scenario(name)
    assert length(scenario.shape) > 0
    assert scenario.checks != Checks()
    config = load_config(scenario.local.config)
    scaling_by_runtime(config)
    check_mix(scenario.mix or default_mix(config), config, "")


def test_the_spike_brings_two_thousand_tasks_and_the_gpus_are_what_they_wait_for() -> None:
    """Its limits leave room for replicas that take half a minute to start, by the planner, at whatever moment the HPA
    looks."""
    scenario = load_scenario("spike")
    scaling = scaling_by_runtime(load_config(ROOT / scenario.local.config))["sdruntime"]
    moments = [arrival.at for arrival in arrivals(scenario.shape, scenario.seed)]
    assert len(moments) >= 2000
    assert scenario.local.seconds_per_task is not None
    assert scenario.checks.p95_end_to_end is not None
    assert scenario.checks.drained_within is not None
    gpus = scenario.shape.model_dump()["high"] * scenario.local.seconds_per_task
    assert 2.5 < gpus < scaling.max_replica_count - 0.5
    nodes = Nodes(
        batch_idle=0, node_seconds=0, image_seconds=0, start_seconds=30, model_seconds=0, spread=0, consolidate_after=0
    )
    for lead in (60.0, 68.0):  # the first replica is ready, and the HPA looks every 15 s
        plan = simulate(
            Recorded(tuple(lead + at for at in moments)),
            scaling,
            Run(Work(seconds=scenario.local.seconds_per_task), nodes),
        )
        assert 5 < plan.latencies.at(95) < scenario.checks.p95_end_to_end / 1.4
        waiting = [sample.at for sample in plan.samples if sample.waiting]
        assert waiting[-1] < lead + length(scenario.shape) + scenario.checks.drained_within / 2


def test_a_scenario_may_be_changed_from_the_command_line() -> None:
    scenario = load_scenario(
        "steady", ["shape.rate=7", "arrive=closed", "checks.scaling.reached_within=9", "local.latency=2"]
    )
    assert scenario.shape.model_dump()["rate"] == 7
    assert scenario.arrive is Arrive.CLOSED
    assert scenario.checks.scaling is not None
    assert scenario.checks.scaling.reached_within == 9
    assert scenario.local.latency == 2


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("nothing", [], "take one of"),
        ("steady", ["shape.rate"], "path.to.key=value"),
        ("steady", ["shape.rate=[1"], "not YAML"),
        ("steady", ["shape.rate.x=1"], "'rate' holds no keys"),
        ("steady", ["shape.rate=-1"], "shape.steady.rate"),
        ("steady", ["shape.speed=1"], "shape.steady.speed"),
        ("steady", ["checks.no_task_list=true"], "checks.no_task_list"),
        ("steady", ["shape.rte=1"], "did you mean rate? allowed here: duration, kind, rate"),
        ("steady", ["checks.scaling.need=1"], "did you mean needed? allowed here: runtime, scale_out_within"),
        ("steady", ["mix=[{wieght: 1}]"], "mix.0.wieght: unknown key; did you mean weight?"),
        ("steady", ["xyz=1"], "xyz: unknown key; allowed here: shape, flood, arrive"),
        ("replay", ["arrive=closed"], "replay.yaml: arrive: a replay's arrivals are its own; it must be open"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(name: str, changes: list[str], says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(name, changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("- a\n")
    with pytest.raises(ScenarioError, match="must be a mapping"):
        load_scenario(str(path))


def test_the_page_about_load_tests_names_every_check_and_every_scenario() -> None:
    page = (ROOT / "docs" / "loadtest.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(?:scaling\.)?(\w+)(?:: .)?` \|", page, re.MULTILINE))
    assert rows == ({*Checks.model_fields, *ScalingCheck.model_fields} - {"scaling", "runtime", "needed"})
    for name in scenario_names():
        assert f"`{name}`" in page or f"--shape {name}" in page
