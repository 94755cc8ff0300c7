"""The engine between a load test and Locust: what breaks in between ends the test instead of hanging it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

# In a process of its own: Locust patches the standard library.
BROKEN = """
import locust
from loadtest.conductor import Conductor
from loadtest.errors import LoadtestError
from loadtest.generator import measure

def level(self, elapsed, workers):
    if self.counters()["ended"]:
        raise ZeroDivisionError("no shape")
    return 1

Conductor.level = level
try:
    measure(rate=5, seconds=60)
except LoadtestError as error:
    print("said:", error)
"""


def test_a_shape_that_fails_ends_the_test_with_the_reason() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], cwd=ROOT, capture_output=True, check=False, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    said = "said: the load broke off by a fault of the load test itself: ZeroDivisionError('no shape')"
    assert said in done.stdout.splitlines()


FAILING_USER = """
import locust
import loadtest.station
from loadtest.errors import LoadtestError
from loadtest.generator import measure

choose, asked = loadtest.station.choose, []

def fail_the_third(*words, **options):
    asked.append(words)
    if len(asked) == 3:
        raise ZeroDivisionError("no work")
    return choose(*words, **options)

loadtest.station.choose = fail_the_third
try:
    measure(rate=5, seconds=60)
except LoadtestError as error:
    print("said:", error)
print("asked", len(asked))
"""


def test_a_user_that_fails_ends_the_test_and_sends_nothing_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING_USER], cwd=ROOT, capture_output=True, check=False, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    said = "said: the load broke off by a fault of the load test itself: ZeroDivisionError('no work')"
    assert done.stdout.splitlines() == [said, "asked 3"]


UNREADY_STATION = """
import locust
from loadtest.errors import LoadtestError
from loadtest.generator import measure
from loadtest.station import Station

def refuse(self):
    raise LoadtestError("not today")

Station.open = refuse
Station.send = lambda *words: print("sent")
try:
    measure(rate=5, seconds=60)
except LoadtestError as error:
    print("said:", error)
"""


def test_a_process_that_cannot_get_ready_ends_the_test_and_sends_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNREADY_STATION], cwd=ROOT, capture_output=True, check=False, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["said: the load cannot begin: not today"]
