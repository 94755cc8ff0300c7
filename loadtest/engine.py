"""Ties a load test to Locust: its shape, its users, its events, in one process or in a master and its workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
from locust import LoadTestShape, User
from locust.exception import RPCSendError
from locust.runners import MasterRunner, WorkerRunner

from loadtest.clock import Clock
from loadtest.conductor import Conductor, Stage
from loadtest.errors import LoadtestError
from loadtest.scenario import Arrive
from loadtest.station import Report, Station
from loadtest.users import ClosedLoad, OpenLoad

_SHARE: Final = "darkroom-share"
"""The master tells each worker which part of the load is its own."""
_REPORT: Final = "darkroom-report"
"""A worker tells the master what has happened: Locust's own reports come only every three seconds."""
_READ: Final = "darkroom-read"
"""The master asks for the records of the tasks that have not ended."""
_STOP: Final = "darkroom-stop"
"""The master asks for all that is left to tell; Locust itself tells its workers only later that the test is over."""
_SPAWN_RATE: Final = 100.0
"""Users that start in a second; Locust warns above it."""
_GATHER: Final = 0.5
"""Seconds between two reports of a process."""
_USAGE: Final = 2
"""The exit status of a test that could not begin."""
_LAST_WORDS: Final = 12.0
"""Seconds that a master waits at most for what its workers have left to tell."""
_LISTEN: Final = 0.05

_log = logging.getLogger(__name__)


type Parts = tuple[Conductor | None, Station | None]
"""Who leads (absent in a worker), and who sends (absent in a master)."""


class Engine:
    """The load tests of one Locust environment, one after the other.

    Args:
        environment: Locust's.
        make: makes the parts of a new test.
        on_end: called when a test is over and all is reported; not in a worker.
    """

    def __init__(self, environment: Any, make: Callable[[], Parts], on_end: Callable[[], None]) -> None:
        self._environment = environment
        self._make = make
        self._on_end = on_end
        self._conductor: Conductor | None = None
        self._station: Station | None = None
        self._gathering: gevent.Greenlet[..., Any] | None = None
        self._share = {"worker": 0, "workers": 1}
        self._refused = False
        """Whether the test that has just been started could not begin: its shape must end."""
        self.problem = ""
        """Why the test could not begin, or broke off; empty when it did neither."""
        runner, events = environment.runner, environment.events
        events.test_start.add_listener(self._begin)
        events.test_stop.add_listener(self._finish)
        events.user_error.add_listener(self._user_broke)
        if isinstance(runner, MasterRunner):
            runner.register_message(_REPORT, self._from_worker)
        if isinstance(runner, WorkerRunner):
            runner.register_message(_SHARE, self._take_share)
            runner.register_message(_READ, self._read_unended)
            runner.register_message(_STOP, self._tell_last, concurrent=True)

    @property
    def under_way(self) -> bool:
        """Whether this process leads a test that has not ended."""
        return self._conductor is not None

    def ends_at_once(self) -> bool:
        """Whether the test that was just started could not begin; says so once."""
        refused, self._refused = self._refused, False
        return refused

    def renew(self) -> None:
        """Makes the parts of a new test."""
        self.problem = ""
        try:
            self._conductor, self._station = self._make()
        except LoadtestError as error:
            self._refuse(error)
        self._environment.station = self._station

    def _refuse(self, error: Exception) -> None:
        if self._station is not None:
            self._station.close()
        self.problem = f"the load cannot begin: {error}"
        self._environment.process_exit_code = _USAGE
        self._conductor = self._station = None
        _log.error("%s", self.problem)

    def broke(self, shape: gevent.Greenlet[..., Any]) -> None:
        """Ends the test of a shape that has failed: Locust would wait for ever for what it says next."""
        self._break_off(shape.exception)

    def _user_broke(self, exception: Exception, **_: Any) -> None:
        """Ends the test of a user that has failed: Locust would let it begin again, and again."""
        self._break_off(exception)

    def _break_off(self, error: BaseException | None) -> None:
        if self.problem:
            return
        self.problem = f"the load broke off by a fault of the load test itself: {error!r}"
        self._environment.process_exit_code = _USAGE
        _log.error("%s", self.problem)
        options, runner = self._environment.parsed_options, self._environment.runner
        gevent.spawn(runner.quit if options is not None and options.headless else runner.stop)

    def tick(self, elapsed: float) -> tuple[int, float, list[type[User]] | None] | None:
        """Returns what Locust's shape must: users, how fast to start them, and which; None at the end."""
        if self._conductor is None:
            return None
        if self._conductor.advance(elapsed, self._complete) is Stage.DONE:
            return None
        runner = self._environment.runner
        users = self._conductor.level(elapsed, max(1, getattr(runner, "worker_count", 1)))
        kind: type[User] = OpenLoad if self._conductor.scenario.arrive is Arrive.OPEN else ClosedLoad
        return users, _SPAWN_RATE, [kind]

    def _begin(self, **_: Any) -> None:
        runner = self._environment.runner
        if isinstance(runner, WorkerRunner):
            self.renew()
        if isinstance(runner, MasterRunner):
            clients = list(runner.clients.all)
            for number, client in enumerate(clients):
                share = {"worker": number, "workers": len(clients)}
                runner.send_message(_SHARE, share, client_id=client.id)
        if self._station is not None:
            self._station.worker, self._station.workers = self._share["worker"], self._share["workers"]
            try:
                self._station.open()
            except Exception as error:
                self._refused = True
                self._refuse(error)
                if not isinstance(error, LoadtestError):
                    raise  # Locust only logs what a listener raises, and would go on without a station
        if self._conductor is not None:
            self._conductor.begin(Clock().now(), max(1, getattr(runner, "worker_count", 1)))
            # Getting ready took time, which the load must not lack at its end.
            self._environment.shape_class.reset_time()
        if self._station is not None:
            self._gathering = gevent.spawn(self._gather, self._station)

    def _finish(self, **_: Any) -> None:
        runner = self._environment.runner
        if self._gathering is not None:
            self._gathering.kill()
            self._gathering = None
        self._tell_last()
        if self._station is not None:
            self._station.close()
        if isinstance(runner, WorkerRunner):
            return
        if isinstance(runner, MasterRunner) and self._conductor is not None:
            runner.send_message(_STOP)
            with gevent.Timeout(_LAST_WORDS, exception=False):
                while not self._conductor.heard_out:
                    gevent.sleep(_LISTEN)
        try:
            if self._conductor is not None:
                self._conductor.observer.stop()
        finally:
            self._on_end()
            self._conductor = None

    def _gather(self, station: Station) -> None:
        while True:
            self._tell(station, station.report())
            gevent.sleep(_GATHER)

    def _tell(self, station: Station, report: Report) -> None:
        """Tells whoever leads what has happened in this process."""
        if self._conductor is not None:
            self._conductor.take("here", report)
            return
        try:
            self._environment.runner.send_message(_REPORT, report.as_json())
        except RPCSendError as error:
            _log.warning("the master cannot be told, trying again: %s", error)
            station.book.untold(report.tasks)

    def _tell_last(self, **_: Any) -> None:
        if self._station is not None:
            self._tell(self._station, self._station.stop())

    def _complete(self) -> None:
        """Asks every process for the records of the tasks whose end nobody has told."""
        if self._station is not None:
            self._station.read_the_unended()
            self._tell(self._station, self._station.report())
        else:
            self._environment.runner.send_message(_READ)

    def _from_worker(self, msg: Any, **_: Any) -> None:
        if self._conductor is not None:
            self._conductor.take(msg.node_id, Report.of_json(msg.data))

    def _take_share(self, msg: Any, **_: Any) -> None:
        self._share = msg.data

    def _read_unended(self, **_: Any) -> None:
        if self._station is not None:
            self._station.read_the_unended()


class ScenarioShape(LoadTestShape):
    """Follows the scenario of an engine that may not be there yet when Locust makes the shape."""

    engine: Engine | None = None

    def tick(self) -> tuple[int, float, list[type[User]] | None] | None:
        """Returns what Locust must do next."""
        if self.engine is None:
            return None
        if self.engine.ends_at_once():
            return None
        if not self.engine.under_way:
            gevent.getcurrent().link_exception(self.engine.broke)
            self.engine.renew()
            self.reset_time()  # type: ignore[no-untyped-call]
        return self.engine.tick(time.perf_counter() - self.start_time)


def scenario_shape() -> ScenarioShape:
    """Returns a new shape, as an environment wants it."""
    return ScenarioShape()  # type: ignore[no-untyped-call]
