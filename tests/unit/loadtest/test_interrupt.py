"""Ctrl-C breaks no greenlet of ours and costs no report, on Locust's page and without; the second ends all at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Final

import pytest

_PROGRAM: Final = """
import gevent, os, signal
from loadtest.interrupts import LocustInterrupt

gevent.signal_handler(signal.SIGINT, LocustInterrupt())

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


_HEADLESS: Final = """
import gevent, os, signal, time
from loadtest.interrupts import Interrupts

def press():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0)  # Python hears it here, in whichever greenlet this is

"""


@pytest.mark.parametrize(
    ("program", "says", "status"),
    [
        (
            "with Interrupts() as it, it.meaning(lambda: print('ending')): press(); print('written')",
            "ending written",
            0,
        ),
        ("with Interrupts() as it, it.finishing(): press(); print('written')", "written", 0),
        ("with Interrupts() as it, it.finishing(): press(); press(); print('written')", "", 130),
    ],
    ids=["in the load", "in the report", "twice"],
)
def test_ctrl_c_leaves_the_report_to_be_written_unless_it_comes_twice(program: str, says: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HEADLESS + program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (" ".join(done.stdout.split()), done.stderr, done.returncode) == (says, "", status)


def test_ctrl_c_before_the_load_ends_the_main_greenlet_whichever_runs() -> None:
    program = _HEADLESS + (
        "with Interrupts():\n"
        "    other = gevent.spawn(press)\n"
        "    try:\n"
        "        gevent.sleep(10)\n"
        "    except KeyboardInterrupt:\n"
        "        other.join()\n"
        "        print('interrupted', other.successful())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("interrupted True\n", "")


def test_ctrl_c_while_packages_are_read_leaves_no_trace() -> None:
    process = subprocess.Popen(
        [sys.executable, "-v", "-m", "loadtest", "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("import 'gevent.monkey"):
            break
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in said
