"""Load tests against a real stack of processes: accounted for to the last task, on the command line and in Locust."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from loadtest.run import load_run
from loadtest.scenario import LocalStack, Wait
from loadtest.target import Target, connect
from loadtest.targets.find import read_config
from loadtest.targets.local import OwnStack, target_of
from loadtest.tasks import Answer
from local.folders import state_folder
from tests.support.waiting import eventually, free_port

pytestmark = [pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "loadtest" / "stack.yaml"
MIX = [
    {"runtime": "sdruntime", "tasktype": "text-to-image", "steps": 2, "width": 64, "height": 64, "weight": 3},
    {"runtime": "sdruntime", "tasktype": "text-to-image", "steps": 2, "width": 64, "height": 64, "api": "v1"},
    {"runtime": "sdruntime", "tasktype": "image-to-image", "steps": 2, "width": 64, "height": 64, "input": "link"},
    {"runtime": "sdruntime", "tasktype": "image-to-image", "steps": 2, "width": 64, "height": 64, "input": "inline"},
]
SCENARIO = {
    "shape": {"kind": "spike", "base": 1, "high": 9, "begin": 0.5, "width": 2, "duration": 3},
    "mix": MIX,
    "drain": 90,
    "linger": 0,
    "flood": {"tasks": 4, "begin": 0.5},
    "checks": {
        "no_task_lost": True,
        "no_contradiction": True,
        "no_task_failed": True,
        "drained_within": 90,
        "gpu_idle_at_most": 100,
        "generator_lag": 20,
        "fair_shares": True,
    },
}


@dataclass(frozen=True)
class Running:
    """A stack that runs, and a scenario for it."""

    state: Path
    target: Target
    scenario: Path
    home: Path

    def options(self) -> list[str]:
        """Returns the options that name both to the command line."""
        named = ["--shape", str(self.scenario), "--state", str(self.state), "--config", str(CONFIG)]
        return [*named, "--api-keys", self.keys]

    @property
    def keys(self) -> str:
        """The API keys, as the load test takes them."""
        return ",".join(f"{name}={key}" for name, key in self.target.api_keys.items())

    @contextmanager
    def locust(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Starts Locust itself, and ends it with its workers."""
        named = ["--scenario", str(self.scenario), "--state", str(self.state), "--deployment", str(CONFIG)]
        process = subprocess.Popen(
            [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", *named, *arguments],
            cwd=ROOT,
            env={**os.environ, "DARKROOM_HOME": str(self.home), "DARKROOM_API_KEYS": self.keys},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def queues(self) -> list[str]:
        """Returns the queues of load tests that are there."""
        assert self.target.place is not None
        urls = connect(self.target.place).sqs.list_queues(QueueNamePrefix="loadtest-callbacks-lt").get("QueueUrls", [])
        return list(urls)

    def subscriptions(self) -> int:
        """Returns how many listen to the callback topic."""
        assert self.target.place is not None
        topic = self.target.place.callback_topic_arn
        return len(connect(self.target.place).sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"])


def loadtest(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest", *arguments],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A stack of the load test's own making: LocalStack, the API, and two replicas of one runtime."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "small.yaml").write_text(yaml.safe_dump(SCENARIO))
    home = folder / "home"
    # The environment of LocalStack is the one that all tests share.
    os.environ.setdefault("DARKROOM_HOME", str(state_folder()))
    config = read_config(CONFIG)
    # Tasks that take no time may pass through the queue between two looks at it.
    own = OwnStack(LocalStack(config=CONFIG, replicas=2, seconds_per_task=0.4, keys=3), config, folder)
    try:
        state = own.start(lambda _: None)
        target = replace(target_of(state, own.state, config, ""), api_keys=own.keys)
        yield Running(own.state, target, folder / "small.yaml", home)
    finally:
        own.stop()


def test_a_spike_is_accounted_for_judged_and_reported(stack: Running, tmp_path: Path) -> None:
    before = stack.subscriptions()
    done = loadtest(*stack.options(), "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: all 7 checks hold" in done.stdout
    assert "sent, " in done.stderr, "progress"
    run = load_run(tmp_path)
    assert len(run.tasks) > 12
    assert all(task.answer is Answer.ACCEPTED and len(task.heard) == 1 and task.seen for task in run.tasks)
    assert {task.tasktype for task in run.tasks} == {"text-to-image", "image-to-image"}
    assert all(len(spans) == 7 for spans in run.spans), "every phase of every task"
    assert max(sample.ended for sample in run.samples) == len(run.tasks)
    assert sum(task.tenant == "flood" for task in run.tasks) == 4
    assert {task.tenant for task in run.tasks} == {"flood", "quiet-1", "quiet-2"}
    assert "foretold: " in done.stdout, "what a fair queue would do"
    assert any(sample.busy for sample in run.samples)
    assert {sample.replicas["sdruntime"].ready for sample in run.samples if sample.replicas} == {2}
    assert (tmp_path / "report.html").stat().st_size > 20_000
    assert stack.queues() == []
    assert stack.subscriptions() == before, "the test removes what it made"


def test_without_sns_users_learn_the_end_from_the_apis_events(stack: Running, tmp_path: Path) -> None:
    closed = ["arrive=closed", "shape.base=2", "shape.high=3", "shape.duration=2", "wait=events"]
    closed += ["flood=null", "checks.fair_shares=false"]
    closed.append("checks.drained_within=null")  # three users at two replicas may never leave a message waiting
    changes = [part for change in closed for part in ("--set", change)]
    done = loadtest(*stack.options(), *changes, "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    run = load_run(tmp_path)
    assert len(run.tasks) >= 3
    assert all(task.heard and task.seen for task in run.tasks)
    at_once = max(
        sum(other.sent_at <= task.sent_at < (other.ended_at or 0) for other in run.tasks) for task in run.tasks
    )
    assert at_once <= 3, "a user waits for its task before it sends the next"


def test_locust_runs_it_headless_over_two_workers(stack: Running) -> None:
    with stack.locust("--headless", "--processes", "2") as process:
        output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    [folder] = (stack.home / "loadtest").iterdir()
    run = load_run(folder)
    assert all(task.heard for task in run.tasks)
    workers = {task.id.split("-")[2] for task in run.tasks}
    assert workers == {"0", "1"}
    numbers = [int(task.id.split("-")[3]) for task in run.tasks]
    assert sorted(numbers) == list(range(len(numbers))), "each arrival is sent by exactly one worker"
    assert "end to end" in output, "Locust's own table has the phases"
    assert json.loads((folder / "report.json").read_text())["figures"]["counts"]["lost"] == 0
    assert stack.queues() == []


def test_locusts_page_starts_loads_shows_how_they_scale_and_leaves_nothing_behind(stack: Running) -> None:
    before, subscriptions = set(stack.home.glob("loadtest/*/report.html")), stack.subscriptions()
    port = free_port()
    with (
        stack.locust("--web-host", "127.0.0.1", "--web-port", str(port)) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as page,
    ):

        def answers() -> bool:
            try:
                return page.get("/").status_code == 200
            except httpx.HTTPError:
                return False

        def scaling() -> list[dict[str, Any]]:
            statistics = page.get("/stats/requests").json()
            return [row for table in statistics.get("extended_stats", []) for row in table["data"]]

        eventually(answers, within=60, every=0.2)
        assert "Scaling" in page.get("/").text
        assert page.post("/swarm", data={"target": "local"}).json()["success"]
        [row] = eventually(lambda: [item for item in scaling() if item["ready"] == 2], within=30, every=0.2)
        assert row["name"] == "sdruntime"
        assert isinstance(row["waiting"], int)
        assert page.post("/stop").status_code == 200
        eventually(lambda: set(stack.home.glob("loadtest/*/report.html")) - before, within=30)
        assert stack.queues() == []
        assert page.post("/swarm", data={"target": "local"}).json()["success"]
        eventually(stack.queues, within=30, every=0.2)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=100)
    assert "Traceback" not in output
    assert stack.queues() == []
    assert stack.subscriptions() == subscriptions


def test_the_generator_is_never_the_bottleneck() -> None:
    """By processor time, so that a busy machine does not spoil it: 400 to 900 a second and core are usual.

    Others in the same core's second thread make that time longer too, so the best of three counts.
    """
    for _ in range(3):
        done = loadtest("generator", "--seconds", "3", "--rate", "350")
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    assert "submissions per second on one core" in done.stdout


def test_ctrl_c_still_writes_the_report_of_what_was_learnt_in_whatever_way_and_of_an_agent_that_was_killed(
    stack: Running, tmp_path: Path
) -> None:
    """Both ways at once: most of it is waiting."""
    running = {wait: endless(stack, wait, tmp_path / wait) for wait in (Wait.CALLBACK, Wait.POLL)}
    try:
        for wait, process in running.items():
            eventually(partial(some_ended, tmp_path / wait), within=120)
            process.send_signal(signal.SIGINT)
        outputs = {wait: process.communicate(timeout=100)[0] for wait, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    for wait, output in outputs.items():
        assert running[wait].returncode == 1, output
        assert "interrupted before its end" in output
        assert "Traceback" not in output
        run = load_run(tmp_path / wait)
        assert any(task.heard and task.seen for task in run.tasks), wait
        assert all(task.seen for task in run.tasks if task.heard and task.answer is Answer.ACCEPTED), wait
        assert "interrupted before its end" in (tmp_path / wait / "report.html").read_text()
        assert len(run.facts.kills) == (wait is Wait.POLL)
    assert stack.queues() == []


def some_ended(folder: Path) -> bool:
    samples = folder / "samples.jsonl"
    return samples.is_file() and '"ended"' in samples.read_text()


def endless(stack: Running, wait: Wait, folder: Path) -> subprocess.Popen[str]:
    """Starts a load that does not end by itself; the one that polls kills an agent in between."""
    options = [*stack.options(), "--set", "shape.duration=100", "--set", f"wait={wait}", "--out", str(folder)]
    options += ["--kill-agent", "0.5"] if wait is Wait.POLL else []
    return subprocess.Popen(
        [sys.executable, "-m", "loadtest", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
