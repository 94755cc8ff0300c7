"""Measures the load generator itself, so that it is never the bottleneck that it measures."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gevent.event import Event
from locust.env import Environment

from contract.config import parse_config
from loadtest.conductor import Conductor, Stage
from loadtest.engine import Engine, ScenarioShape, scenario_shape
from loadtest.errors import LoadtestError
from loadtest.run import percentile
from loadtest.scenario import Scenario
from loadtest.shapes import Steady
from loadtest.station import Station
from loadtest.stub import RUNTIME
from loadtest.target import Kind, Place, Target
from loadtest.targets.local import PROJECT
from loadtest.users import ClosedLoad, OpenLoad

REQUIRED: Final = 300.0
"""Submissions per second on one core."""

_CONFIG: Final = f"""
stackName: stub
modelBucketArn: arn:aws:s3:::stub-models
modelsRuntime: [{{name: {RUNTIME}, type: sdwebui, dynamicModel: true}}]
"""


@dataclass(frozen=True)
class GeneratorFigures:
    """What the generator did, everything included: requests, callbacks, records, events, samples."""

    sent: int
    ended: int
    seconds: float
    cpu_seconds: float
    lag: float
    """Seconds by which 99 % of the tasks were late at most."""

    @property
    def sustained(self) -> float:
        """Submissions for each second of one core."""
        return self.sent / self.cpu_seconds

    def sentence(self) -> str:
        """Returns all of it in a line."""
        return (
            f"{self.sent:,} tasks in {self.seconds:.1f} s ({self.sent / self.seconds:.0f} per second), "
            f"{self.ended:,} callbacks, late by at most {self.lag * 1000:.0f} ms (p99); "
            f"{self.cpu_seconds:.1f} s of processor time: {self.sustained:.0f} submissions per second on one core "
            f"({REQUIRED:.0f} are required)"
        )


def measure(*, rate: float, seconds: float) -> GeneratorFigures:
    """Lets tasks arrive at a stub for so many seconds, at a rate, and returns what the generator did.

    Raises:
        LoadtestError: the load could not begin, or broke off.
    """
    scenario = Scenario(shape=Steady(kind="steady", rate=rate, duration=seconds), drain=10, linger=0)
    with _stub() as address, tempfile.TemporaryDirectory() as folder:
        place = Place(address, "us-east-1", "arn:aws:sns:us-east-1:000000000000:stub-callbacks", "stub", {})
        target = Target(Kind.LOCAL, address, parse_config(_CONFIG), place)
        environment = Environment(user_classes=[OpenLoad, ClosedLoad], host=address, shape_class=scenario_shape())
        runner = environment.create_local_runner()
        station = Station(target, scenario, environment.events.request.fire)
        path = Path(folder) / "samples.jsonl"
        conductor = Conductor(scenario, length=seconds, scaling={}, sources=[], path=path, settle=1.0)
        ended = Event()
        engine = ScenarioShape.engine = Engine(environment, lambda: (conductor, station), ended.set)
        try:
            runner.start_shape()
            while not station.began_at:
                if ended.wait(0.01):
                    raise LoadtestError(engine.problem)
            began, cpu = station.clock.now(), time.process_time()
            while conductor.stage is Stage.LOAD and not ended.wait(0.05):
                pass
            used = time.process_time() - cpu
            elapsed = station.clock.now() - began
            ended.wait()
            if engine.problem:
                raise LoadtestError(engine.problem)
        finally:
            station.close()
            runner.quit()
    tasks = list(conductor.tasks.values())
    late = percentile((task.sent_at - task.due_at for task in tasks), 99) or 0.0
    return GeneratorFigures(len(tasks), sum(bool(task.heard) for task in tasks), elapsed, used, late)


@contextmanager
def _stub() -> Iterator[str]:
    """Runs the stub as a process of its own, and yields its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtest.stub"], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None:  # never: it is a pipe
            raise RuntimeError("the stub has no output")
        port = process.stdout.readline().strip()
        if not port:
            raise LoadtestError("the stub did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=10)
