"""How our processes end."""

from __future__ import annotations

import subprocess
import sys


def test_a_process_that_leaves_has_said_all_and_ends_with_its_status() -> None:
    program = (
        "import logging.handlers, sys; from contract.processes import leave\n"
        "last = logging.StreamHandler(sys.stdout)\n"
        "late = logging.handlers.MemoryHandler(100, target=last)\n"
        "logging.getLogger().addHandler(late)\n"
        "print('printed', end=' '); sys.stderr.write('complained'); logging.warning('logged')\n"
        "leave(75)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 75
    assert sorted(done.stdout.split()) == ["logged", "printed"]
    assert done.stderr == "complained"
