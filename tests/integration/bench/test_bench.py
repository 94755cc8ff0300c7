"""The bench runs, and its figures are sane."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from local.folders import PROJECT


def test_a_quick_bench_measures_both_agents_and_writes_their_figures(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"

    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--scenario", "a", "--json", file],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "tasks/s" in done.stdout
    ours, floor = json.loads(file.read_text())["agents"]
    assert (ours["agent"], floor["agent"]) == ("darkroom", "serial")
    for row in (ours, floor):
        figures = row["figures"]
        assert figures["tasks"] == 40
        assert figures["failed"] == 0
        assert 1 < figures["rate"] < 1000
        assert 0 <= figures["idle"] <= 1
        assert 0 < figures["cpu"] < 1
        assert 20e6 < figures["rss"] < 500e6
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"]
    assert {goal["figure"] for goal in ours["goals"]} == {"rate", "cpu", "rss"}


def test_a_scenario_that_does_not_exist_is_named_and_so_are_those_that_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--scenario", "a,z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "'z'" in done.stdout
    assert "gb" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
