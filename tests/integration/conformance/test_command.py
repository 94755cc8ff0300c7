"""However the conformance command ends, the server that it started ends with it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.support.processes import Process, answers
from tests.support.waiting import eventually, free_port

DOES_NOT_END = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(120)
"""


def conformance(folder: Path, port: int, *start: str) -> Process:
    """The command, with a server that it starts."""
    url = f"http://127.0.0.1:{port}"
    arguments = ["--type", "http", "--url", url, "--start", shlex.join([sys.executable, *start])]
    return Process("conformance", "tests.conformance", folder=folder, arguments=arguments)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_that_was_started(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    command = conformance(tmp_path, port, "-m", "local.example_runtime", "--port", str(port))
    try:
        eventually(lambda: "conformant" in command.text(), within=60)
        os.kill(command.pid, number)
        assert command.wait_ended(60)[0] == 128 + number
    finally:
        command.stop()
    assert f"stopped by {number.name}" in command.text()
    assert not answers(f"http://127.0.0.1:{port}/health")


def test_another_signal_kills_a_server_that_does_not_end(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    command = conformance(tmp_path, free_port(), "-c", DOES_NOT_END, str(told))
    try:
        server = int(eventually(lambda: told.exists() and told.read_text(), within=60))
        os.kill(command.pid, signal.SIGTERM)
        eventually(lambda: "ending the server" in command.text(), within=60)
        os.kill(server, 0)
        os.kill(command.pid, signal.SIGTERM)
        assert command.wait_ended(60)[0] == 128 + signal.SIGTERM
    finally:
        command.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
