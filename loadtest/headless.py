"""Runs a load test without Locust's web page: a line of progress, a report at the end, whatever ends it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

import gevent
from gevent.event import Event
from locust.env import Environment

from loadtest.conductor import Conductor
from loadtest.engine import Engine, ScenarioShape, scenario_shape
from loadtest.errors import LoadtestError
from loadtest.interrupts import Interrupts
from loadtest.session import Session
from loadtest.station import Station
from loadtest.target import Kind
from loadtest.users import ClosedLoad, OpenLoad
from loadtest.verdict import Outcome

_LINE_EVERY: Final = 5.0
"""Seconds between lines of progress where no terminal shows them."""
_SETTLE: Final = 1.0
"""Seconds; the only process reports twice a second."""


class Progress:
    """One line that says how far it is: rewritten on a terminal, now and then a new one elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._said_at = -_LINE_EVERY

    def __call__(self, text: str) -> None:
        """Shows the newest state."""
        if self._terminal:
            sys.stderr.write(f"\r\x1b[2K{text}")
        elif time.monotonic() - self._said_at >= _LINE_EVERY:
            self._said_at = time.monotonic()
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leaves the line."""
        if self._terminal:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


class LoadError(LoadtestError):
    """The load could not begin, or broke off."""


def run(session: Session, progress: Progress, interrupts: Interrupts) -> list[Outcome]:
    """Runs a load test and writes its report; returns the outcomes of its checks.

    Args:
        session: what is done.
        progress: is told how far it is, each second.
        interrupts: end the load, but not the report.

    Raises:
        LoadError: the load could not begin, or broke off.
    """
    environment = Environment(
        user_classes=[OpenLoad, ClosedLoad], host=session.target.api, shape_class=scenario_shape()
    )
    runner = environment.create_local_runner()
    station = Station(session.target, session.scenario, environment.events.request.fire)
    conductor = session.conductor(settle=_SETTLE)
    ended = Event()
    engine = Engine(environment, lambda: (conductor, station), ended.set)
    ScenarioShape.engine = engine
    with interrupts.finishing():
        killers = [gevent.spawn_later(at, _kill, session) for at in session.settings.kill_agent]
        try:
            with interrupts.meaning(lambda: gevent.spawn(runner.stop)):
                runner.start_shape()
                while not ended.wait(1):
                    progress(("interrupted · " if interrupts.heard else "") + _line(conductor, station))
            if engine.problem:
                raise LoadError(engine.problem)
        finally:
            gevent.killall(killers)
            station.close()
            runner.quit()
        progress("writing the report")
        return session.finish(conductor)


def _line(conductor: Conductor, station: Station) -> str:
    counters, latest = conductor.counters(), conductor.observer.latest
    text = f"{conductor.stage} {station.elapsed:.0f} s: {counters['arrived']:,} sent"
    text += "".join(f" ({counters[what]:,} {what})" for what in ("throttled", "refused") if counters[what])
    text += f", {counters['ended']:,} ended, {counters['under_way']:,} under way"
    if latest is not None:
        text += f" · queue {sum(depth.total for depth in latest.queues.values()):,}"
        if latest.replicas:
            ready = sum(item.ready for item in latest.replicas.values())
            starting = sum(item.starting for item in latest.replicas.values())
            text += f" · replicas {ready}" + (f" + {starting} starting" if starting else "")
        if latest.nodes:
            text += f" · nodes {sum(latest.nodes.values())}"
        if latest.problems:
            text += f" · {latest.problems[0][:80]}"
    return text


def _kill(session: Session) -> None:
    """Kills one ready agent of a local stack (SIGKILL), or one ready pod, and notes when."""
    if session.target.kind is Kind.KUBERNETES:
        from loadtest.observe.kubernetes import kill_pod  # noqa: PLC0415 - a second of imports

        if kill_pod(session.target):
            session.kills.append(time.time())
        return
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, StopIteration, ProcessLookupError):
        state = json.loads(Path(session.target.state).read_text(encoding="utf-8"))
        pair = next(
            pair
            for item in state["replicas"].values()
            for pair in item["pairs"]
            if pair["phase"] == "ready" and pair["agent_pid"]
        )
        os.kill(pair["agent_pid"], signal.SIGKILL)
        session.kills.append(time.time())
