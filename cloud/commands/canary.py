"""`canary`, `promote` and `rollback`: another image on a share of a runtime's replicas, judged by what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cloud.aws import Aws, ToolError
from cloud.canary import state as states
from cloud.canary.release import Release
from cloud.canary.state import CanaryState, Phase
from cloud.canary.verdict import Limits, Outcome
from cloud.canary.watch import watch
from cloud.chart_names import translate
from cloud.chart_values import chart_defaults, merged
from cloud.commands.common import (
    CONFIG,
    FAILED,
    ConfigOption,
    DryRunOption,
    EndpointOption,
    RegionOption,
    StackOption,
    fail,
    loaded,
    plain_errors,
)
from cloud.commands.status import KubeconfigOption
from cloud.deployment.existing import as_deployed
from cloud.image_cache.images import resolve
from cloud.kubernetes_access import kubeconfig as cluster_of
from cloud.names import main_stack
from cloud.outputs import find_stack
from cloud.reporter import Reporter
from contract.config import Config, RuntimeConfig
from contract.topology import topology

RuntimeOption = Annotated[str, typer.Option("--runtime", "-r", help="Name of the runtime.")]


@dataclass(frozen=True)
class _Desk:
    """What the three commands work on."""

    aws: Aws
    config: Config
    runtime: RuntimeConfig
    report: Reporter
    kubeconfig: Path | None

    @contextmanager
    def release(self) -> Iterator[Release]:
        """Yields the runtime's release in its cluster."""
        with cluster_of(self.aws, self.config.stack_name, self.kubeconfig) as path:
            yield Release(self.runtime, path, self.report)

    def trouble(self) -> str:
        """Returns why the canary's pods cannot work; empty: they can."""
        # Each time with a token of its own: one lasts 15 minutes, and a window may be longer.
        with self.release() as release:
            return release.trouble()

    def read(self) -> CanaryState | None:
        """Returns the state that is kept."""
        return states.read(self.aws, self.config.stack_name, self.runtime.name)

    def keep(self, state: CanaryState) -> None:
        """Keeps a state."""
        states.write(self.aws, self.config.stack_name, self.runtime.name, state)


def canary(  # noqa: PLR0917 - typer reads options from parameters
    runtime: RuntimeOption,
    image: Annotated[
        str, typer.Option("--image", help="The runtime's, to be tried; none: watch the one that runs.")
    ] = "",
    agent_image: Annotated[str, typer.Option("--agent-image", help="The agent's, to be tried.")] = "",
    percent: Annotated[int, typer.Option("--percent", min=1, max=50, help="Share of the replicas.")] = 20,
    window: Annotated[float, typer.Option("--window", min=1, help="Seconds to watch.")] = 900,
    min_tasks: Annotated[int, typer.Option("--min-tasks", min=1, help="Of each side, to be judged by.")] = 20,
    failed_points: Annotated[
        float, typer.Option("--failed-points", min=0, max=100, help="Percentage points more that may fail.")
    ] = 5,
    p95_factor: Annotated[float, typer.Option("--p95-factor", min=1, help="Times that p95 may be longer.")] = 1.25,
    config: ConfigOption = CONFIG,
    stack: StackOption = None,
    kubeconfig: KubeconfigOption = None,
    dry_run: DryRunOption = False,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Try another image on a share of a runtime's replicas; it is rolled back by itself when it does worse."""
    limits = Limits(failed_points, p95_factor, min_tasks)
    with plain_errors():
        desk = _desk(runtime, config, stack, kubeconfig, Aws(region, endpoint_url))
        wanted = _images(desk.aws, image, agent_image)
        state = _begin(desk, wanted, percent)
        if dry_run:
            desk.report.say(
                f"would let {state.percent} % of {runtime} run {', '.join(state.images.values())}, watch its callbacks "
                f"and pods for {window:g} s, and roll it back if it fails {failed_points:g} points more often, or its "
                f"p95 is more than {p95_factor:g} times as long"
            )
            return
        if wanted:
            _check_no_deployment(desk)
            # Before it runs: whatever happens meanwhile, `rollback` knows of it.
            desk.keep(state)
            what = f"{state.percent} % of {runtime} to {', '.join(state.images.values())}"
            with desk.release() as release, desk.report.step(what):
                release.set_canary(state.images, state.percent)
        _watch(desk, state, limits, window)


def _begin(desk: _Desk, wanted: dict[str, str], percent: int) -> CanaryState:
    """Returns the state to begin with, or the one to go on from.

    Raises:
        ToolError: another canary runs, or none.
    """
    found = desk.read()
    if not wanted:
        if found is None or not found.running:
            raise ToolError(f"{desk.runtime.name} has no canary to watch: name one with --image or --agent-image")
        return found
    if found is not None and found.running and found.images != wanted:
        raise ToolError(
            f"{desk.runtime.name} has a canary already, {', '.join(found.images.values())}: promote or rollback first"
        )
    extra = translate(desk.runtime.extra_values).values
    own = extra.get("runtime")
    if isinstance(own, Mapping) and "canary" in own:
        raise ToolError(
            f"{desk.runtime.name} has a canary in the config, extraValues.runtime.canary: take it out and deploy first"
        )
    values = merged(chart_defaults(), extra)["runtime"]
    scaled = values["scaling"]["enabled"]
    if (values["scaling"]["maxReplicaCount"] if scaled else values["replicas"]) == 1:
        key = "scaling.maxReplicaCount" if scaled else "replicas"
        raise ToolError(
            f"{desk.runtime.name} has one pod at most, and a canary's come out of that number: set "
            f"extraValues.runtime.{key} to 2 or more and deploy first"
        )
    promoted = found.promoted if found else {}
    return CanaryState(phase=Phase.RUNNING, images=wanted, percent=percent, since=datetime.now(UTC), promoted=promoted)


def _check_no_deployment(desk: _Desk) -> None:
    """Refuses what a deployment under way would undo: it has asked before what canaries there are.

    Raises:
        ToolError: there is one.
    """
    stack = find_stack(desk.aws, main_stack(desk.config))
    if stack is not None and stack["StackStatus"].endswith("_IN_PROGRESS"):
        raise ToolError(f"{desk.config.stack_name} is being deployed ({stack['StackStatus']}): wait until that is done")


def _watch(desk: _Desk, state: CanaryState, limits: Limits, window: float) -> None:
    """Watches to the end, and acts on the verdict."""
    place = topology(desk.config, region=desk.aws.region, account=desk.aws.account)
    name = desk.runtime.name
    goes_on = f"the canary goes on: `canary --runtime {name}` watches it again, `rollback` takes it back"
    try:
        with desk.report.step(f"watching {name} for {window:g} s"):
            verdict = watch(desk.aws, place, name, desk.trouble, limits=limits, window=window, report=desk.report)
    except KeyboardInterrupt:
        fail(goes_on, 130)
    except ToolError as error:
        raise ToolError(f"{error}; {goes_on}") from error
    if verdict.outcome is Outcome.FAIL:
        with desk.release() as release, desk.report.step("rolling back"):
            release.remove_canary()
        desk.keep(state.moved(Phase.ROLLED_BACK, verdict.reason))
        fail(f"rolled back: {verdict.reason}", FAILED)
    if verdict.outcome is Outcome.UNDECIDED:
        fail(f"undecided, and it goes on: {verdict.reason}; `canary --runtime {name}` watches it again", FAILED)
    desk.keep(state.moved(Phase.PASSED, verdict.reason))
    desk.report.say(f"passed: {verdict.reason}\n`promote --runtime {name}` gives it to all replicas")


def promote(  # noqa: PLR0917 - typer reads options from parameters
    runtime: RuntimeOption,
    force: Annotated[bool, typer.Option("--force", help="Although it has not passed.")] = False,
    config: ConfigOption = CONFIG,
    stack: StackOption = None,
    kubeconfig: KubeconfigOption = None,
    dry_run: DryRunOption = False,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Give the canary's image to all replicas; `deploy` keeps it from then on."""
    with plain_errors():
        desk = _desk(runtime, config, stack, kubeconfig, Aws(region, endpoint_url))
        state = desk.read()
        if state is None or not state.running:
            raise ToolError(f"{runtime} has no canary to promote")
        if state.phase is not Phase.PASSED and not force:
            raise ToolError(
                f"the canary of {runtime} has not passed; `canary --runtime {runtime}` judges it, or --force"
            )
        if dry_run:
            desk.report.say(f"would give all of {runtime} {', '.join(state.images.values())}, and end the canary")
            return
        _check_no_deployment(desk)
        with desk.release() as release:
            before = {key: value for key, value in release.stable_images().items() if key in state.images}
            with desk.report.step(f"all of {runtime} to {', '.join(state.images.values())}"):
                release.set_images(state.images)
        promoted = state.promoted | state.images
        desk.keep(
            state.moved(Phase.PROMOTED, "promoted", promoted=promoted, before=before, promoted_before=state.promoted)
        )


def rollback(  # noqa: PLR0917 - typer reads options from parameters
    runtime: RuntimeOption,
    config: ConfigOption = CONFIG,
    stack: StackOption = None,
    kubeconfig: KubeconfigOption = None,
    dry_run: DryRunOption = False,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Take the canary away; after a promotion, give all replicas back what they ran before."""
    with plain_errors():
        desk = _desk(runtime, config, stack, kubeconfig, Aws(region, endpoint_url))
        state = desk.read()
        if state is None or state.phase is Phase.ROLLED_BACK:
            raise ToolError(f"{runtime} has nothing to roll back")
        back = state.before if state.phase is Phase.PROMOTED else {}
        what = f"all of {runtime} back to {', '.join(back.values())}" if back else f"the canary of {runtime} away"
        if dry_run:
            desk.report.say(f"would take {what}")
            return
        with desk.release() as release, desk.report.step(what):
            if back:
                release.set_images(back)
            else:
                release.remove_canary()
        promoted = state.promoted_before if back else state.promoted
        desk.keep(state.moved(Phase.ROLLED_BACK, "by hand", promoted=promoted, before={}, promoted_before={}))


def _desk(runtime: str, config: Path, stack: str | None, kubeconfig: Path | None, aws: Aws) -> _Desk:
    settings = loaded(config, stack)
    found = settings.runtime(runtime)
    if found is None:
        known = ", ".join(item.name for item in settings.runtimes)
        raise ToolError(f"there is no runtime {runtime!r} in the config; there are {known}")
    if found.chart_repository:
        raise ToolError(f"{runtime} is released from a chart of its own, {found.chart_repository}, which has no canary")
    return _Desk(aws, as_deployed(aws, settings), found, Reporter(), kubeconfig)


def _images(aws: Aws, image: str, agent_image: str) -> dict[str, str]:
    """Returns the images to be tried by container; by digest if a registry tells, so that they do not change."""
    wanted = {"inferenceApi": image, "queueAgent": agent_image}
    return {key: resolve(aws, [reference])[reference].reference for key, reference in wanted.items() if reference}
