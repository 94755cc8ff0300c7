"""`locust -f loadtest/locustfile.py`: the load test on Locust's own web page, or headless, alone or with workers."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import Any, Final

import gevent
from locust import events
from locust.runners import MasterRunner, WorkerRunner

from loadtest.conductor import Conductor
from loadtest.engine import Engine, Parts, ScenarioShape
from loadtest.interrupts import LocustInterrupt
from loadtest.scenario import load_scenario, scenario_names
from loadtest.session import Session, make_session
from loadtest.settings import Settings
from loadtest.station import Station
from loadtest.target import Kind
from loadtest.targets.find import check_target, find_target
from loadtest.users import ClosedLoad, OpenLoad
from loadtest.web import add_tab

__all__ = ["ClosedLoad", "OpenLoad", "ScenarioShape"]

_SETTLE: Final = 2.0
"""Seconds; workers report twice a second."""

_log = logging.getLogger(__name__)


def _add_options(parser: Any) -> None:
    """Adds our options; all but the keys are on the web page, too."""
    parser.add_argument("--shape", default="spike", choices=scenario_names(), help="Which scenario; see --scenario")
    parser.add_argument("--scenario", default="", help="A YAML file instead of --shape")
    parser.add_argument("--set", default="", help="path.to.key=value over the scenario; several with commas")
    parser.add_argument("--target", default="local", choices=[kind.value for kind in Kind], help="Where the stack runs")
    parser.add_argument("--deployment", default="", help="The deployment's config.yaml")
    parser.add_argument("--state", default="", help="The state file of `nox -s up`")
    parser.add_argument("--api-url", default="", help="The API's address")
    parser.add_argument(
        "--api-key", default="", env_var="DARKROOM_API_KEY", include_in_web_ui=False, help="The API key"
    )
    parser.add_argument(
        "--api-keys", default="", env_var="DARKROOM_API_KEYS", include_in_web_ui=False, help="Of several tenants"
    )
    parser.add_argument("--endpoint", default="", env_var="AWS_ENDPOINT_URL", help="An emulator instead of AWS")
    parser.add_argument("--region", default="", help="The AWS region")
    parser.add_argument("--kube-context", default="", help="Of kubeconfig")
    parser.add_argument("--sample-image", default="", help="A picture that the agents may fetch")


def _init(environment: Any, **_: Any) -> None:
    """Ties load tests to this environment; each start, on the page too, makes a new one of the options as they are."""
    load = LocustLoad(environment)
    ScenarioShape.engine = Engine(environment, load.make, load.end)
    gevent.signal_handler(signal.SIGINT, LocustInterrupt())
    if environment.web_ui is not None:
        add_tab(environment.web_ui, lambda: load.conductor)


class LocustLoad:
    """Makes the load tests of one Locust process, and reports on each."""

    def __init__(self, environment: Any) -> None:
        self.conductor: Conductor | None = None
        self._environment = environment
        self._session: Session | None = None

    def make(self) -> Parts:
        """Returns the parts of a new test.

        Raises:
            LoadtestError: the options, or the stack that they name, cannot be used.
        """
        self.conductor = self._session = None
        options = self._environment.parsed_options
        settings = Settings(
            shape=options.scenario or options.shape,
            changes=tuple(item for item in options.set.split(",") if item),
            target=Kind(options.target),
            config=Path(options.deployment) if options.deployment else None,
            state=Path(options.state) if options.state else None,
            api_url=options.api_url,
            api_key=options.api_key,
            api_keys=options.api_keys,
            endpoint=options.endpoint,
            region=options.region,
            context=options.kube_context,
            sample_image=options.sample_image,
        )
        scenario, target = load_scenario(settings.shape, settings.changes), find_target(settings)
        check_target(target)
        self._environment.host = target.api
        runner = self._environment.runner
        fire = self._environment.events.request.fire
        station = None if isinstance(runner, MasterRunner) else Station(target, scenario, fire)
        if not isinstance(runner, WorkerRunner):
            self._session = make_session(settings, scenario, target, None)
            self.conductor = self._session.conductor(settle=_SETTLE)
        return self.conductor, station

    def end(self) -> None:
        """Writes the report, says the verdict, and sets the exit status."""
        if self.conductor is None or self._session is None or not self.conductor.began_at:
            return
        outcomes = self._session.finish(self.conductor)
        for outcome in outcomes:
            _log.info("%s  %s: %s", "holds" if outcome.passed else "FAILS", outcome.name, outcome.says)
        _log.info("report: %s", self._session.folder / "report.html")
        self._environment.process_exit_code = 0 if all(outcome.passed for outcome in outcomes) else 1


# Locust reads this file to know what to listen to.
events.init_command_line_parser.add_listener(_add_options)  # type: ignore[no-untyped-call]
events.init.add_listener(_init)  # type: ignore[no-untyped-call]
