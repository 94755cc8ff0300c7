"""A running stack is found by its state file, and only while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local import state_file
from local.client.running import running_api
from local.harness.state import (
    Process,
    State,
    StateError,
    check_writable,
    default_path,
    path_beside,
    read_state,
)


def state(pid: int) -> State:
    return State(
        pid=pid,
        api="http://127.0.0.1:9000",
        sink="http://127.0.0.1:9001",
        localstack="http://127.0.0.1:9002",
        region="us-east-1",
        task_topic_arn="arn:aws:sns:us-east-1:000000000000:darkroom-tasks",
        callback_topic_arn="arn:aws:sns:us-east-1:000000000000:darkroom-callbacks",
        output_bucket="bucket",
        queues={"sdruntime": "http://127.0.0.1:9002/queue"},
        processes={"api": Process(pid=7, url="http://127.0.0.1:9000")},
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "up.json"
    assert read_state(path) is None
    state_file.write(path, state(1))
    assert read_state(path) == state(1)
    path.write_text("{")
    assert read_state(path) is None


@pytest.mark.parametrize("name", ["file/up.json", "folder", "file/deeper/up.json", "/"])
def test_a_file_that_cannot_be_written_is_named_before_anything_starts(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match=rf"--state {tmp_path / name}: cannot be written \(.+\): name another file"):
        check_writable(tmp_path / name)


def test_what_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "up.json"
    check_writable(path)
    assert list(path.parent.iterdir()) == []
    state_file.write(path, state(1))
    check_writable(path)
    assert read_state(path) == state(1)


def test_a_harness_forgets_its_own_state_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    state_file.write(path, state(1))
    state_file.forget(path, 2)
    assert path.exists()
    state_file.forget(path, 1)
    state_file.forget(path, 1)
    assert not path.exists()


def test_the_client_finds_the_stack_that_runs_and_not_one_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    assert running_api() is None
    state_file.write(default_path(), state(os.getpid()))
    assert running_api() == "http://127.0.0.1:9000"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    state_file.write(default_path(), state(gone.pid))
    assert running_api() is None


def test_a_second_stack_leaves_the_state_of_the_first_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    assert path_beside(9100) == default_path(), "there is no other"
    state_file.write(default_path(), state(os.getpid()))
    assert path_beside(9100) == tmp_path / "up-9100.json"
    assert path_beside(9000) == default_path(), "two cannot have one port"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    state_file.write(default_path(), state(gone.pid))
    assert path_beside(9100) == default_path(), "the other was killed"


def test_the_process_of_another_user_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.kill", refuse)
    assert state_file.lives(7)
