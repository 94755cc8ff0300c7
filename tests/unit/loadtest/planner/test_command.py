"""`python -m loadtest.planner`: tables, JSON and pictures, and refusals of one line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from loadtest.planner.__main__ import plan
from local.harness.replicas import Phase
from local.harness.state import Replicas

APP = typer.Typer()
APP.command()(plan)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(APP, list(arguments))


@pytest.fixture
def spike(tmp_path: Path) -> Path:
    path = tmp_path / "spike.csv"
    path.write_text("time\n" + "".join(f"{second / 4}\n" for second in range(240)))
    return path


def test_a_plan_is_told_written_and_drawn(spike: Path, tmp_path: Path) -> None:
    done = call("--arrivals", str(spike), "--json", str(tmp_path / "p.json"), "--plot", str(tmp_path / "p.svg"))
    assert done.exit_code == 0, done.output
    assert "240 tasks" in done.output
    assert "GPU utilisation" in done.output
    document = json.loads((tmp_path / "p.json").read_text())
    assert document["tasks"] == 240
    assert document["month"]["prices"]["as_of"] == "2026-03-31"
    assert 0 < document["wait_seconds"]["p50"] <= document["wait_seconds"]["p95"]
    assert len(document["series"]) > 100
    assert (tmp_path / "p.svg").read_text().lstrip().startswith("<?xml")


def test_a_file_with_tenants_is_planned_with_a_fair_queue_and_without(tmp_path: Path) -> None:
    path = tmp_path / "tenants.csv"
    rows = [*((0.0, "loud") for _ in range(300)), *((float(second), f"quiet-{second % 11}") for second in range(60))]
    path.write_text("time,tenant\n" + "".join(f"{at},{tenant}\n" for at, tenant in rows))
    done = call("--arrivals", str(path), "--set", "minReplicaCount=1", "--json", str(tmp_path / "p.json"))
    assert done.exit_code == 0, done.output
    assert "in a fair queue" in done.output
    found = json.loads((tmp_path / "p.json").read_text())["fairness"]
    assert found["loudest"] == "loud"
    assert found["fair"]["quiet"]["p95"] < found["not_fair"]["quiet"]["p95"]


def test_a_flood_without_others_is_refused() -> None:
    done = call("--flood", "10")
    assert done.exit_code == 2
    assert "--tenants" in done.output


def test_the_same_command_draws_the_same_picture(spike: Path, tmp_path: Path) -> None:
    pictures = []
    for name in ("one.svg", "two.svg"):
        assert call("--arrivals", str(spike), "--plot", str(tmp_path / name)).exit_code == 0
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]


def test_a_sweep_compares_and_marks_the_front(spike: Path, tmp_path: Path) -> None:
    chosen = ["--arrivals", str(spike), "--sweep", "maxReplicaCount=1,2,20"]
    done = call(*chosen, "--json", str(tmp_path / "s.json"), "--plot", str(tmp_path / "s.png"))
    assert done.exit_code == 0, done.output
    assert "maxReplicaCount" in done.output
    assert "*" in done.output
    document = json.loads((tmp_path / "s.json").read_text())
    assert [item["value"] for item in document["plans"]] == [1, 2, 20]
    p95 = [item["wait_seconds"]["p95"] for item in document["plans"]]
    assert p95 == sorted(p95, reverse=True)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_the_references_bill_is_shown_with_its_oddities(spike: Path) -> None:
    done = call("--arrivals", str(spike), "--reference")
    assert done.exit_code == 0
    for text in ("226.18", "210.24", "436.42", "$436.72"):
        assert text in done.output


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[object], str]:
    """Writes a config with these slots, and returns its path."""

    def write(slots: object) -> str:
        agent = {"runtime": {"queueAgent": {"slots": slots, "prefetch": 3}}}
        runtime = {"name": "r", "type": "sdwebui", "extraValues": agent}
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"modelBucketArn": "arn:aws:s3:::models", "modelsRuntime": [runtime]}))
        return str(path)

    return write


@pytest.mark.parametrize(("arguments", "slots"), [([], 2), (["--slots", "1"], 1)])
def test_what_an_agent_holds_is_read_from_the_config_and_slots_may_be_changed(
    spike: Path, tmp_path: Path, configured: Callable[[object], str], arguments: list[str], slots: int
) -> None:
    place = ["--arrivals", str(spike), "--config", configured(2), "--json", str(tmp_path / "plan.json")]
    done = call(*place, "--gap-seconds", "0.25", *arguments)
    assert done.exit_code == 0, done.output
    assert f"SLOTS {slots}, PREFETCH 3" in " ".join(done.output.split())
    work = json.loads((tmp_path / "plan.json").read_text())["run"]["work"]
    assert (work["slots"], work["prefetch"], work["gap"]) == (slots, 3, 0.25)


def test_slots_that_are_no_number_are_refused(spike: Path, configured: Callable[[object], str]) -> None:
    refused = call("--arrivals", str(spike), "--config", configured("two"))
    assert refused.exit_code == 2
    assert "extraValues.runtime.queueAgent.slots of r: 'two' is no number of tasks" in refused.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--arrivals", "nowhere.csv"], "nowhere.csv: cannot be read"),
        (["--runtime", "nobody"], "--runtime nobody: config.yaml has sdruntime, dynamicruntime, comfyruntime"),
        (["--sweep", "queueLength"], "is not a sweep, such as queueLength=1:20"),
        (["--set", "nothing=1"], "there is no setting 'nothing'"),
        (["--prices", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--instance", "p9.huge"], "add instances.p9.huge.spot to it"),
        (["--plot", "plan.pdf"], "the name must end in .png or .svg"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_anything_is_simulated(
    arguments: list[str], sentence: str
) -> None:
    refused = call(*arguments)
    assert refused.exit_code == 2
    assert sentence in refused.output
    assert refused.output.count("\n") == 1


def documented() -> list[list[str]]:
    lines = Path("docs/planner.md").read_text().splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("uvx nox -s plan")]
    assert commands, "the page names none"
    return [words[words.index("--") + 1 :] if "--" in words else [] for words in commands]


@pytest.mark.parametrize("arguments", documented(), ids=" ".join)
def test_the_documented_commands_work(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer images, where the load is the daily curve: a million take their time."""
    monkeypatch.setenv("CONFIG_FILE", str(Path("config.yaml").resolve()))
    monkeypatch.chdir(tmp_path)
    Path("day.csv").write_text("time\n" + "".join(f"2026-03-01T{hour:02}:30:00\n" for hour in range(24)))
    done = call(*arguments, *([] if "--arrivals" in arguments else ["--images-per-day", "1000"]))
    assert done.exit_code == 0, done.output
    for option in ("--plot", "--json"):
        if option in arguments:
            assert Path(arguments[arguments.index(option) + 1]).stat().st_size > 1000


def test_the_documented_state_file_is_what_up_writes() -> None:
    [block] = re.findall(r"```json\n(.*?)```", Path("docs/planner.md").read_text(), re.DOTALL)
    replicas = json.loads(block)["replicas"]["sdruntime"]
    assert Replicas.model_validate(replicas).model_dump(mode="json") == replicas
    text = Path("docs/planner.md").read_text()
    assert all(f"`{phase}`" in text for phase in Phase)
