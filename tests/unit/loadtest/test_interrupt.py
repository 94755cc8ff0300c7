"""Ctrl-C while Locust's page is served reaches Locust, and no greenlet of ours."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Final

_PROGRAM: Final = """
import gevent, os, signal
from loadtest.locustfile import _Interrupt

gevent.signal_handler(signal.SIGINT, _Interrupt())

def listen():
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(1_000_000))  # Python would raise KeyboardInterrupt here
    gevent.sleep(0.1)
    print("listened")

listener = gevent.spawn(listen)
try:
    gevent.sleep(10)
except KeyboardInterrupt:
    print("interrupted")
listener.join()
"""


def test_ctrl_c_ends_locust_but_not_the_greenlet_that_runs_meanwhile() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == (["interrupted", "listened"], "")


def test_the_second_ctrl_c_ends_it_at_once() -> None:
    program = _PROGRAM.replace("gevent.sleep(0.1)", "gevent.sleep(0.1); os.kill(os.getpid(), 2); gevent.sleep(10)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 128 + signal.SIGINT
    assert "listened" not in done.stdout
