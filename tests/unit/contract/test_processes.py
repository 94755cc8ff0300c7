"""How our processes end, and what they log."""

from __future__ import annotations

import logging
import subprocess
import sys

from aiohttp.http_exceptions import BadStatusLine

from contract.processes import OursAlone


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


def test_a_client_that_speaks_no_http_is_no_fault_of_ours() -> None:
    def line(error: Exception | None) -> logging.LogRecord:
        fault = (type(error), error, None) if error else None
        return logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, "text", (), fault)

    assert not OursAlone().filter(line(BadStatusLine("aaaa")))
    assert OursAlone().filter(line(ValueError("ours")))
    assert OursAlone().filter(line(None))
