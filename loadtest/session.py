"""One load test from settings to a folder with its report, whoever runs it: the command line or Locust itself."""

from __future__ import annotations

import json
import os
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

from contract.config import Config
from contract.scaling.settings import Scaling, ScalingError, scaling_by_runtime
from loadtest.arrivals import length
from loadtest.checks import judge
from loadtest.conductor import Conductor, Stage
from loadtest.errors import LoadtestError
from loadtest.mix import check_mix, choose, default_mix
from loadtest.report.write import write_report
from loadtest.run import SAMPLES, Facts, Run, save_run
from loadtest.scenario import Scenario, Wait
from loadtest.settings import Settings
from loadtest.shapes import Replay, read_arrivals
from loadtest.target import Target, TargetError
from loadtest.targets.find import sources_of
from loadtest.targets.local import state_folder
from loadtest.verdict import Outcome


class FolderError(LoadtestError):
    """The folder of a run cannot be made."""


@dataclass(frozen=True)
class Session:
    """What is put under load, with what, and where the results go."""

    settings: Settings
    scenario: Scenario
    target: Target
    folder: Path
    scaling: dict[str, Scaling]
    kills: list[float]
    """When agents were killed on purpose; the command line notes it here."""

    def conductor(self, *, settle: float) -> Conductor:
        """Returns who leads the test; `settle` is how old, in seconds, the processes' reports may be."""
        return Conductor(
            self.scenario,
            length=length(self.scenario.shape),
            scaling=self.scaling,
            sources=sources_of(self.target),
            path=self.folder / SAMPLES,
            settle=settle,
        )

    def finish(self, conductor: Conductor) -> list[Outcome]:
        """Writes everything down, judges it, and writes the report; returns the outcomes."""
        samples = conductor.observer.samples
        facts = Facts(
            name=Path(self.settings.shape).stem,
            target=self.target.kind,
            api=self.target.api,
            scenario=self.scenario,
            scaling=self.scaling,
            began_at=conductor.began_at,
            length=conductor.length,
            ended_at=samples[-1].at if samples else conductor.began_at,
            interrupted=conductor.stage is not Stage.DONE,
            kills=self.kills,
            kills_asked=len(self.settings.kill_agent),
        )
        tasks = sorted(conductor.tasks.values(), key=lambda task: task.due_at)
        save_run(self.folder, facts, tasks)
        run = Run(facts, tasks, samples)
        outcomes = judge(run)
        write_report(self.folder, run, outcomes)
        return outcomes


def check_load(scenario: Scenario, config: Config, sample_image: str) -> None:
    """Checks that a deployment can serve every task of a scenario.

    Args:
        scenario: the load.
        config: of the deployment.
        sample_image: the address of a picture that the agents may fetch; empty when there is none.

    Raises:
        loadtest.mix.MixError: it cannot.
        loadtest.shapes.ReplayError: the file of a replay cannot be used.
    """
    mix = scenario.mix or default_mix(config)
    check_mix(mix, config, sample_image)
    if isinstance(scenario.shape, Replay):
        every = read_arrivals(scenario.shape.file)
        for runtime, tasktype in {(arrival.runtime, arrival.tasktype) for arrival in every}:
            choose(mix, random.Random(), runtime=runtime, tasktype=tasktype)


def make_session(settings: Settings, scenario: Scenario, target: Target, out: Path | None) -> Session:
    """Returns a session, and makes its folder; see `make_folder` for `out`.

    Raises:
        FolderError: the folder cannot be made.
        TargetError: the target's scaling settings cannot be used, or it cannot be waited for in the wanted way.
        loadtest.mix.MixError: the target cannot serve the scenario's mix.
        loadtest.shapes.ReplayError: the file of a replay cannot be used.
    """
    check_load(scenario, target.config, target.sample_image)
    if scenario.flood is not None and len(target.api_keys) < 2:
        raise TargetError(
            "the flood of one key needs other keys that it could harm: DARKROOM_API_KEYS=flood=KEY,quiet=KEY,…; "
            "the first one floods"
        )
    if scenario.wait is Wait.CALLBACK and target.place is None:
        raise TargetError("callbacks need AWS: name --endpoint or credentials, or wait otherwise: --set wait=events")
    try:
        scaling = scaling_by_runtime(target.config)
    except ScalingError as error:
        raise TargetError(str(error)) from error
    if target.state:
        scaling = _as_run_here(scaling, Path(target.state))
    return Session(settings, scenario, target, make_folder(out, settings.shape), scaling, [])


def make_folder(out: Path | None, shape: str) -> Path:
    """Makes the folder of a new run: the one that was named, or `.darkroom/loadtest/TIME-SHAPE`.

    Raises:
        FolderError: it cannot be made.
    """
    try:
        if out is None:
            return _new_folder(shape)
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{error.filename}: cannot be made, name another --out: {error.strerror}") from error
    if not os.access(out, os.W_OK):
        raise FolderError(f"{out}: cannot be written to, name another --out")
    return out


def _new_folder(shape: str) -> Path:
    name = re.sub(r"[^-\w]+", "-", Path(shape).stem)
    folder = state_folder() / "loadtest" / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    number = 1
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            folder = folder.with_name(f"{folder.name.removesuffix(f'-{number - 1}')}-{number}")
        else:
            return folder


def _as_run_here(scaling: dict[str, Scaling], state: Path) -> dict[str, Scaling]:
    """Returns the settings with the limits that hold on this machine, which may run fewer replicas than the cloud."""
    try:
        replicas = json.loads(state.read_text(encoding="utf-8"))["replicas"]
        return {
            name: item.model_copy(
                update={
                    "min_replica_count": replicas[name]["min_replica_count"],
                    "max_replica_count": replicas[name]["max_replica_count"],
                }
            )
            if name in replicas
            else item
            for name, item in scaling.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TargetError(f"{state}: is no state file of this version of `nox -s up`: {error!r}") from error
