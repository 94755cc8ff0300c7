"""`python -m local up`: ready, used, hurt, and ended without a trace."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.folders import state_folder
from local.harness.state import State, read_state
from tests.support.processes import Process, http
from tests.support.stack import workflow
from tests.support.waiting import eventually, free_port, free_range

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[3]
PORTS = 10


def start(folder: Path, base: int, *arguments: str, **environment: str) -> Process:
    return Process(
        "up",
        "local",
        folder=folder,
        environment={"DARKROOM_HOME": str(state_folder()), **environment},
        arguments=["up", "--port-base", str(base), "--latency", "0", "--state", str(folder / "up.json"), *arguments],
    )


def small(folder: Path) -> list[str]:
    """Returns the options of a stack that starts sooner: it has one runtime."""
    config = folder / "config.yaml"
    config.write_text("modelBucketArn: arn:aws:s3:::models\nmodelsRuntime: [{name: sdruntime, type: comfyui}]\n")
    return ["--config", str(config)]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [item for item in processes if item.is_running() and item.status() != psutil.STATUS_ZOMBIE]


@dataclass
class Up:
    process: Process
    folder: Path
    state: State

    def client(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: text for name, text in os.environ.items() if not name.startswith("DARKROOM_API")}
        return subprocess.run(
            [sys.executable, "-m", "local", *arguments],
            cwd=ROOT,
            env=environment | {"DARKROOM_API_URL": self.state.api, "COLUMNS": "200"},
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )

    def callbacks(self, task_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = http().get(f"{self.state.sink}/callbacks", params={"id": task_id}).json()
        return found


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    process = start(folder, free_range(PORTS))
    try:
        eventually(lambda: "Ctrl-C ends it all" in process.text() or not process.is_alive(), within=90)
        state = read_state(folder / "up.json")
        assert state is not None, process.tail()
        yield Up(process, folder, state)
    finally:
        process.stop()


def test_everything_listens_on_this_machine_alone(up: Up) -> None:
    addresses = set()
    for item in [psutil.Process(up.process.pid), *psutil.Process(up.process.pid).children(recursive=True)]:
        addresses |= {part.laddr.ip for part in item.net_connections("inet") if part.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_the_line_to_copy_goes_all_the_way(up: Up) -> None:
    [line] = [line.strip() for line in up.process.text().splitlines() if line.strip().startswith("curl ")]
    words = shlex.split(line)
    answer = http().post(words[2], content=words[-1], headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["id_task"] == "test-t2i"
    [callback] = eventually(lambda: up.callbacks("test-t2i"))
    assert callback["result"] is True
    assert callback["image_url"][0].startswith(answer.json()["output_location"])
    images = http().get(f"{up.state.api}/v1/tasks/test-t2i").json()["images"]
    assert http().get(images[0]["url"]).content.startswith(b"\x89PNG")


def test_the_sinks_picture_can_be_an_input(up: Up) -> None:
    request = json.loads(Path("tests/seeds/v1alpha2-image-to-image.json").read_text())
    request["task"]["metadata"]["id"] = "from-the-sink"
    request["task"]["content"]["init_images"] = [f"{up.state.sink}/samples/cat.png"]
    assert http().post(f"{up.state.api}/v1alpha2", json=request).status_code == 200
    [callback] = eventually(lambda: up.callbacks("from-the-sink"))
    assert callback["result"] is True
    deliveries = http().get(f"{up.state.sink}/deliveries", params={"id": "from-the-sink"}).json()
    lines = http().get(f"{up.state.sink}/lines", params={"id": "from-the-sink"}).json()
    assert {"api", "sdruntime-agent"} <= {line["part"] for line in lines}
    assert [item["callback"] for item in deliveries] == [callback]


def test_the_client_submits_watches_and_saves(up: Up, tmp_path: Path) -> None:
    done = up.client("submit", "--prompt", "A cat", "--id", "two-cats", "--count", "2", "-o", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    assert [path.read_bytes()[:4] for path in sorted((tmp_path / "new").iterdir())] == [b"\x89PNG"] * 2
    assert "two-cats succeeded: 2 images" in done.stdout
    assert "two-cats" in up.client("status", "two-cats").stdout
    assert "comfyruntime" in up.client("status").stdout
    again = up.client("get", "two-cats", "-o", str(tmp_path / "again"))
    assert again.stdout.count("saved: ") == 2
    assert up.client("watch", "two-cats", "-o", str(tmp_path)).returncode == 0


def test_the_clients_exit_status_tells_what_became_of_a_task(up: Up, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(
        json.dumps(
            {
                "task": {
                    "metadata": {"id": "bad", "runtime": "comfyruntime", "tasktype": "pipeline", "prefix": "output"},
                    "content": {"prompt": {"1": {"class_type": "NoSuchNode", "inputs": {}}}},
                }
            }
        )
    )
    failed = up.client("submit", str(bad), "-o", str(tmp_path))
    assert (failed.returncode, "bad failed: " in failed.stdout) == (1, True), failed
    for arguments, sentence in [
        (["cancel", "bad"], "already ended"),
        (["get", "nowhere"], "nowhere"),
        (["submit", "--prompt", "x", "--runtime", "nobody"], "nobody"),
        (["submit"], "--prompt"),
    ]:
        refused = up.client(*arguments)
        assert refused.returncode == 2
        assert sentence in refused.stderr
        assert "Traceback" not in refused.stderr


def test_what_dies_is_started_again_and_works(up: Up) -> None:
    os.kill(up.state.processes["comfyruntime-agent"].pid, signal.SIGKILL)
    eventually(lambda: "comfyruntime-agent is ready again" in up.process.text(), within=60)
    assert "comfyruntime-agent has ended (by signal SIGKILL); it is started again" in up.process.text()
    state = read_state(up.folder / "up.json")
    assert state is not None
    assert state.processes["comfyruntime-agent"].pid != up.state.processes["comfyruntime-agent"].pid
    request = json.loads(Path("tests/seeds/v1alpha2-pipeline.json").read_text())
    request["task"]["metadata"]["id"] = "after-the-restart"
    assert http().post(f"{up.state.api}/v1alpha2", json=request).status_code == 200
    eventually(lambda: up.callbacks("after-the-restart"), within=60)


def test_a_localstack_that_dies_is_made_anew(up: Up) -> None:
    os.kill(up.state.processes["localstack"].pid, signal.SIGKILL)
    eventually(lambda: "localstack is ready again" in up.process.text(), within=60)

    def works() -> bool:
        """LocalStack has forgotten everything; agents and sink find their queues again by themselves."""
        return http().get(f"{up.state.sink}/readyz").status_code == 200

    eventually(works, within=60)
    done = up.client("submit", "--prompt", "A phoenix", "--id", "phoenix", "-o", str(up.folder / "images"))
    assert done.returncode == 0, done.stderr + up.process.tail()


def test_ctrl_c_ends_everything(up: Up) -> None:
    processes = psutil.Process(up.process.pid).children(recursive=True)
    assert len(processes) >= 10
    os.kill(up.process.pid, signal.SIGINT)
    status, _ = up.process.wait_ended(within=60)
    assert status == 0
    assert alive(processes) == []
    assert not (up.folder / "up.json").exists()
    assert up.process.text().rstrip().endswith("ended")


def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    base = free_range(PORTS)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 1))
        taken.listen()
        process = start(tmp_path, base)
        status, _ = process.wait_ended(within=60)
    assert status == 2
    assert f"port {base + 1} (for sink) is in use" in process.text()
    assert "--port-base" in process.text()
    assert "Traceback" not in process.text()


def test_a_child_that_cannot_start_is_named_and_the_rest_is_ended(tmp_path: Path) -> None:
    process = start(tmp_path, free_range(PORTS), *small(tmp_path), LOG_LEVEL="chatty")
    status, _ = process.wait_ended(within=60)
    assert status == 1
    assert "ended while the stack was starting (exit status 2)" in process.text()
    assert "LOG_LEVEL" in process.text()
    assert "Traceback" not in process.text()


def test_not_even_sigkill_leaves_orphans(tmp_path: Path) -> None:
    process = start(tmp_path, free_range(PORTS))
    harness = psutil.Process(process.pid)
    processes = eventually(lambda: found if len(found := harness.children(recursive=True)) >= 5 else [], within=60)
    process.kill()
    eventually(lambda: not alive(processes), within=60)


def test_when_nobody_reads_it_any_more_it_ends_in_order(tmp_path: Path) -> None:
    environment = dict(os.environ) | {"DARKROOM_HOME": str(state_folder())}
    command = [sys.executable, "-m", "local", "up", "--port-base", str(free_range(PORTS)), "--state", f"{tmp_path}/up"]
    command += small(tmp_path)
    process = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    processes = eventually(lambda: psutil.Process(process.pid).children(recursive=True))
    process.stdout.close()
    assert process.wait(60) in {0, 130}
    assert alive(processes) == []
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_wrong_config_is_told_in_its_own_words(tmp_path: Path) -> None:
    wrong = tmp_path / "config.yaml"
    wrong.write_text("stackname: x\n")
    process = start(tmp_path, free_range(PORTS), "--config", str(wrong))
    status, _ = process.wait_ended(within=60)
    assert status == 2
    assert "did you mean 'stackName'?" in process.text()


@pytest.mark.parametrize(("names", "twice"), [(["api"], "api"), (["sd", "sd-agent"], "sd-agent")])
def test_a_runtime_that_is_named_like_another_process_is_refused(tmp_path: Path, names: list[str], twice: str) -> None:
    config = tmp_path / "config.yaml"
    entries = "".join(f"- {{name: {name}, type: comfyui}}\n" for name in names)
    config.write_text(f"modelBucketArn: arn:aws:s3:::darkroom-models\nmodelsRuntime:\n{entries}")
    process = start(tmp_path, free_range(PORTS), "--config", str(config))
    status, _ = process.wait_ended(within=60)
    assert status == 2
    assert f"modelsRuntime: {names[-1]!r} makes a second process named {twice!r}" in process.text()


def test_an_endpoint_that_is_no_url_is_refused_before_anything_starts(tmp_path: Path) -> None:
    process = start(tmp_path, free_range(PORTS), "--endpoint", "localhost:4566")
    status, _ = process.wait_ended(within=60)
    assert status == 2
    assert process.text().strip() == "--endpoint must be a URL such as http://127.0.0.1:4566; found 'localhost:4566'"


def test_the_state_of_an_emulator_that_runs_elsewhere_is_not_ours_to_keep(tmp_path: Path) -> None:
    process = start(tmp_path, free_range(PORTS), "--keep", "--endpoint", "http://127.0.0.1:4566")
    status, _ = process.wait_ended(within=60)
    assert status == 2
    assert process.text().startswith("--keep is for the LocalStack that `up` starts")


def test_without_a_stack_the_client_says_what_to_start(tmp_path: Path) -> None:
    environment = dict(os.environ) | {"DARKROOM_API_URL": f"http://127.0.0.1:{free_port()}"}
    command = [sys.executable, "-m", "local", "status"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 3
    assert "uvx nox -s up" in done.stderr


def test_a_starter_that_is_told_to_end_takes_the_stack_with_it(tmp_path: Path) -> None:
    base = free_range(PORTS)
    command = [sys.executable, "-m", "local", "up", "--port-base", str(base), "--state", str(tmp_path / "up.json")]
    # As nox does: it waits for the harness, and dies of SIGTERM without a word to it.
    starter = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run({command!r})"],
        cwd=ROOT,
        env=os.environ | {"DARKROOM_HOME": str(state_folder()), "DARKROOM_FOLLOW_STARTER": "1"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        # The harness, its watchdog, and the first of the stack's processes.
        family = eventually(lambda: _family_of(starter.pid, at_least=4), within=60)
    finally:
        starter.terminate()
        starter.wait(10)
    eventually(lambda: not alive(family), within=60)


def _family_of(pid: int, *, at_least: int) -> list[psutil.Process]:
    found = psutil.Process(pid).children(recursive=True)
    return found if len(found) >= at_least else []


def test_a_server_that_runs_already_takes_the_place_of_a_fake_one(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["--type", "comfyui", "--latency", "0", "--port", str(port)]
    server = Process(
        "own", "fake_runtime", folder=tmp_path, arguments=arguments, ready_url=f"http://127.0.0.1:{port}/system_stats"
    )
    base = free_range(PORTS)
    try:
        server.wait_ready()
        process = start(tmp_path, base, *small(tmp_path), "--runtime", f"sdruntime=http://127.0.0.1:{port}")
        try:
            state = eventually(lambda: read_state(tmp_path / "up.json"), within=90)
            assert state is not None
            assert set(state.processes) == {"api", "sink", "webhooks", "localstack", "sdruntime-agent"}
            metadata = {"id": "own", "runtime": "sdruntime", "tasktype": "pipeline", "prefix": "output"}
            task = {"task": {"metadata": metadata, "content": workflow("a dog")}}
            assert http().post(f"{state.api}/v1/tasks", json=task).status_code == 202
            eventually(lambda: http().get(f"{state.api}/v1/tasks/own").json()["status"] == "succeeded", within=60)
            assert f"http://127.0.0.1:{port}  (sdruntime: a server of yours)" in process.text()
        finally:
            process.terminate()
            process.wait_ended(30)
        assert http().get(f"http://127.0.0.1:{port}/fake/jobs").json()
    finally:
        server.stop()
