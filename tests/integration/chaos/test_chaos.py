"""A short trial: each kind of fault at least once, and nothing is lost. `nox -s chaos` runs the long ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from contract.task import RuntimeType
from local.emulators.process import Emulator
from tests.chaos.checker import check
from tests.chaos.history import Kind, read
from tests.chaos.plan import FaultKind, make_plan
from tests.chaos.report import repeat_command, summary
from tests.chaos.trial import Trial
from tests.support.processes import ROOT
from tests.support.waiting import eventually

LIMIT = 70.0
"""Seconds, for a machine with much else to do; 25 are usual."""


pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(("seed", "types"), [(954, [RuntimeType.SDWEBUI, RuntimeType.HTTP])])
def test_nothing_is_lost(localstack_process: Emulator, tmp_path: Path, seed: int, types: list[RuntimeType]) -> None:
    plan = make_plan(seed, tasks=40, window=7, visibility=3, seconds_per_task=0.1, types=types)
    trial = Trial(plan, tmp_path, limit=LIMIT, say=print, localstack=localstack_process)
    verdict = check(trial.run())
    assert verdict.violations == [], f"{summary(verdict)}\n{repeat_command(plan, seconds=LIMIT)}"
    # On a quiet machine more than 30; one with much else to do answers fewer before the window is over.
    assert verdict.figures["requests accepted"] >= 10
    written = read(trial.history.path)
    assert {event.facts["fault"] for event in written if event.kind is Kind.FAULT} == set(FaultKind)
    assert check(written) == verdict


def test_ctrl_c_ends_the_faults_and_judges_all_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--seed", "2", "--tasks", "30", "--window", "60"]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            # A shell's background job, as this may be part of, ignores it, and so would whatever it starts.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads use it
        )

    def said(words: str) -> bool:
        return words in (tmp_path / "output").read_text()

    try:
        eventually(lambda: said("tasks sent"), within=120)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(150) == 0, (tmp_path / "output").read_text()
        assert said("no more faults")
        assert said("chaos: clean")
        assert said("--seed 2 ")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # what it has started too
            process.wait()
