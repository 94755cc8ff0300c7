"""The report: one page without any link outward, figures that agree with the tasks, and a verdict that comes first."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from contract.costs import GpuPrice, charged
from loadtest.checks import judge
from loadtest.report.compare import differences, write_comparison
from loadtest.report.figures import cost_of, figures_of
from loadtest.report.plots import clock, seconds
from loadtest.report.write import settings_of, write_report
from loadtest.run import SAMPLES, TASKS, Run, RunError, load_run, save_run
from loadtest.samples import Start
from loadtest.scenario import Checks
from loadtest.tasks import Answer
from tests.unit.loadtest.support import BEGAN, run, sample, task


def some_run(*, kills: list[float] | None = None) -> Run:
    """Returns a run in which one task was throttled and one was lost."""
    tasks = [task(number, due=number / 4, seconds=2 + number / 10) for number in range(40)]
    tasks += [task(99, seconds=None, status=429, answer=Answer.THROTTLED), task(100, seconds=None)]
    tasks[39] = tasks[39].model_copy(update={"id": "<b>bold</b>"})
    samples = [
        sample(at, max(0, 20 - at), 1 if at < 5 else 3, busy=at * 0.5, starting=int(at == 4)) for at in range(60)
    ]
    return run(Checks(no_task_lost=True, p95_end_to_end=100), tasks, samples, kills=kills or [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run's report."""
    path = tmp_path_factory.mktemp("run")
    made = some_run(kills=[BEGAN + 5])
    write_report(path, made, judge(made))
    return path


def test_the_page_needs_nobody_else_and_escapes_what_it_shows(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    outward = [url for url in re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page) if url[0] != "#"]
    assert outward == []
    assert "@import" not in page
    assert "<b>bold</b>" not in page
    assert "&lt;b&gt;bold" in page
    assert page.index("1 of 3 checks fail") < page.index("<svg")
    assert "agent killed" in page
    assert "var(--series-1)" in page
    assert "#040401" not in page
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_how_pods_came_to_serve_is_in_the_report(tmp_path: Path) -> None:
    made = some_run()
    start = Start(scheduled=1, started=2, up=5, ready=7)
    later = [item.model_copy(update={"starts": {"sdruntime/a": start}}) for item in made.samples]
    made = replace(made, samples=later)
    figures = figures_of(made)
    assert [(item.step, item.pods, item.mean) for item in figures.starts][-1] == ("pending → serving", 1, 7)
    write_report(tmp_path, made, judge(made))
    assert "runtime started → answers" in (tmp_path / "report.html").read_text()
    assert "How pods came to serve" in (tmp_path / "report.html").read_text()


def test_the_json_says_what_the_page_says(folder: Path) -> None:
    document = json.loads((folder / "report.json").read_text())
    assert document["passed"] is False
    assert [item["passed"] for item in document["checks"]] == [False, True, True]
    counts = document["figures"]["counts"]
    assert (counts["sent"], counts["accepted"], counts["throttled"], counts["lost"]) == (42, 41, 1, 1)
    assert document["figures"]["gpu_idle"] == pytest.approx(0.5, abs=0.05)


def test_a_run_without_anything_in_it_still_has_a_report(tmp_path: Path) -> None:
    made = run(Checks(no_task_lost=True))
    write_report(tmp_path, made, judge(made))
    assert "nothing to look at" in (tmp_path / "report.html").read_text()


def test_a_run_that_was_saved_is_read_again_and_compared(tmp_path: Path) -> None:
    made = some_run()
    save_run(tmp_path, made.facts, made.tasks)
    (tmp_path / SAMPLES).write_text("".join(item.model_dump_json() + "\n" for item in made.samples))
    again = load_run(tmp_path)
    assert figures_of(again) == figures_of(made)
    write_comparison(tmp_path / "both.html", made, again)
    page = (tmp_path / "both.html").read_text()
    assert "A: test on local" in page
    assert "None in the scenario or in the scaling." in page
    with pytest.raises(RunError, match="holds no finished load test"):
        load_run(tmp_path / "nowhere")


def test_what_a_server_has_said_cannot_make_a_run_unreadable(tmp_path: Path) -> None:
    made = some_run()
    told = [item.model_copy(update={"problem": "one\u2028two\x85three"}) for item in made.tasks]
    save_run(tmp_path, made.facts, told)
    (tmp_path / SAMPLES).write_text("")
    assert load_run(tmp_path).tasks == told
    (tmp_path / TASKS).write_bytes(b"\xff\n")
    with pytest.raises(RunError, match="was not written by this version"):
        load_run(tmp_path)


def test_a_comparison_names_each_setting_that_differs() -> None:
    first, second = some_run(), run(Checks(no_task_lost=True))
    smaller = second.facts.scaling["sdruntime"].model_copy(update={"max_replica_count": 1})
    second = replace(second, facts=second.facts.model_copy(update={"scaling": {"sdruntime": smaller}}))
    assert differences(settings_of(first), settings_of(second)) == [
        ("scenario.checks.p95_end_to_end", "100.0", "–"),
        ("scaling.sdruntime.maxReplicaCount", "4", "1"),
    ]


def test_a_million_images_cost_what_their_gpu_seconds_cost() -> None:
    """The reference: 416.67 hours of a g5.2xlarge at $0.53 are $221 for images of 1.5 s on GPUs that are never idle."""
    cost = cost_of(available=3.0, busy=1.5, images=1)
    assert float(cost.gpu_if_never_idle) == pytest.approx(220.83, abs=0.02)
    assert float(cost.gpu) == pytest.approx(2 * 220.83, abs=0.04)
    assert cost.busy_share == 0.5


def priced(price: GpuPrice) -> Run:
    """Returns the run whose tasks tell what they have cost."""
    made = some_run()
    tasks = [
        item.model_copy(update={"seen": item.seen.model_copy(update={"cost": charged(None, 0.5, price)})})
        if item.seen
        else item
        for item in made.tasks
    ]
    return replace(made, tasks=tasks)


def test_what_tasks_tell_of_their_cost_and_idle_time_are_the_bill_of_the_runs_gpus(tmp_path: Path) -> None:
    made = priced(GpuPrice(Decimal(3600), "mine"))
    figures = figures_of(made)
    assert figures.spent is not None
    assert figures.spent.tasks == figures.spent.tasks_seconds == 20
    assert figures.spent.together == pytest.approx(Decimal(figures.gpu_seconds))
    assert figures.spent.idle == figures.spent.together - 20
    write_report(tmp_path, made, judge(made))
    assert "What the GPUs of this run cost" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["figures"]["spent"]["tasks"] == 20


def test_a_price_that_is_not_known_leaves_the_runs_bill_unknown() -> None:
    spent = figures_of(priced(GpuPrice(None, "nobody knows"))).spent
    assert spent is not None
    assert (spent.tasks, spent.idle, spent.together) == (None, None, None)
    assert figures_of(some_run()).spent is None


def test_durations_are_written_as_people_do() -> None:
    assert [seconds(value) for value in (0.004, 0.5, 45, 600, 9000)] == ["4 ms", "0.5 s", "45 s", "10 min", "2.5 h"]
    assert [clock(value) for value in (0, 75, 3700)] == ["0:00", "1:15", "1 h 01"]
