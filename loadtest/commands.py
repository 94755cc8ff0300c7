"""The commands of `python -m loadtest`."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from loadtest.errors import LoadtestError
from loadtest.generator import REQUIRED, measure
from loadtest.headless import Progress, run
from loadtest.interrupts import STATUS, Interrupts
from loadtest.report.compare import write_comparison
from loadtest.run import load_run
from loadtest.scenario import Scenario, load_scenario, scenario_names
from loadtest.session import check_load, make_folder, make_session
from loadtest.settings import Settings
from loadtest.target import Kind, Target
from loadtest.targets.find import check_target, find_target, read_config, state_path
from loadtest.targets.local import SINK_PICTURE, OwnStack, read_state, target_of
from loadtest.verdict import Outcome

FAILED: Final = 1
"""A check does not hold."""
USAGE: Final = 2

app = typer.Typer(
    help="Put load on a stack, judge how it scales, write a report. The exit status is 0 only if every check holds.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def main(  # noqa: PLR0917 - typer reads options from parameters
    context: typer.Context,
    shape: Annotated[
        str, typer.Option(help=f"{', '.join(scenario_names())}; or a YAML file with a shape and its checks.")
    ] = "spike",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="path.to.key=value over the scenario, such as shape.high=80.")
    ] = None,
    target: Annotated[
        Kind, typer.Option(help="Where the stack runs; a local one is started if none does.")
    ] = Kind.LOCAL,
    config: Annotated[Path | None, typer.Option(help="The deployment's config.yaml.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="The state file of `nox -s up`; otherwise .darkroom/up.json.")
    ] = None,
    api_url: Annotated[str, typer.Option(help="The API's address; found by the target if absent.")] = "",
    api_key: Annotated[str, typer.Option(envvar="DARKROOM_API_KEY", help="The API key.")] = "",
    api_keys: Annotated[
        str,
        typer.Option(envvar="DARKROOM_API_KEYS", help="Of several tenants: name=key,name=key; the first one floods."),
    ] = "",
    endpoint: Annotated[str, typer.Option(envvar="AWS_ENDPOINT_URL", help="An emulator instead of AWS.")] = "",
    region: Annotated[str, typer.Option(help="The AWS region.")] = "",
    kube_context: Annotated[str, typer.Option("--context", help="Of kubeconfig; otherwise the current one.")] = "",
    sample_image: Annotated[str, typer.Option(help="A picture that the agents may fetch, for links.")] = "",
    kill_agent: Annotated[
        list[float] | None,
        typer.Option(help="Kill an agent (local) or a pod (kubernetes) so many seconds after the begin."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the results go; otherwise .darkroom/loadtest/….")] = None,
) -> None:
    """Put load on a stack."""
    if context.invoked_subcommand is not None:
        return
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("loadtest.engine").setLevel(logging.CRITICAL)  # what it has to say is said at the end
    if kill_agent and target not in {Kind.LOCAL, Kind.KUBERNETES}:
        _fail("--kill-agent: only the agents of a local stack, and pods of Kubernetes, can be killed from here")
    settings = Settings(
        shape=shape,
        changes=tuple(change or ()),
        target=target,
        config=config,
        state=state,
        api_url=api_url,
        api_key=api_key,
        api_keys=api_keys,
        endpoint=endpoint,
        region=region,
        context=kube_context,
        sample_image=sample_image,
        kill_agent=tuple(kill_agent or ()),
    )
    try:
        with Interrupts() as interrupts:
            scenario = load_scenario(settings.shape, settings.changes)
            folder, outcomes = _run(settings, scenario, out, interrupts)
    except LoadtestError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted before the load began", STATUS)
    _show(outcomes, folder)
    raise typer.Exit(0 if all(outcome.passed for outcome in outcomes) else FAILED)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="The folder of a run.")],
    second: Annotated[Path, typer.Argument(help="The folder of another.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("comparison.html"),
) -> None:
    """Compare two runs in one report."""
    try:
        write_comparison(out, load_run(first), load_run(second))
    except LoadtestError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{out}: cannot be written: {error.strerror}")
    typer.echo(f"comparison: {out}")


@app.command()
def generator(
    seconds: Annotated[float, typer.Option(min=1, help="How long.")] = 10.0,
    rate: Annotated[float, typer.Option(min=1, help="Submissions per second that are asked of it.")] = 400.0,
) -> None:
    """Measure how many submissions per second this load generator sustains, against a stub on this machine."""
    try:
        figures = measure(rate=rate, seconds=seconds)
    except LoadtestError as error:
        _fail(str(error))
    typer.echo(figures.sentence())
    raise typer.Exit(0 if figures.sustained >= REQUIRED else FAILED)


def _run(
    settings: Settings, scenario: Scenario, out: Path | None, interrupts: Interrupts
) -> tuple[Path, list[Outcome]]:
    """Runs a load test on the stack that there is, or on one of its own; returns its folder and the outcomes."""
    progress = Progress()
    own: OwnStack | None = None
    try:
        target: Target
        if settings.target is Kind.LOCAL and settings.state is None and read_state(state_path(settings)) is None:
            local = scenario.local
            if settings.config is not None:
                local = local.model_copy(update={"config": settings.config})
            config = read_config(local.config)
            check_load(scenario, config, SINK_PICTURE)
            out = make_folder(out, settings.shape)
            own = OwnStack(local, config, out)
            target = target_of(own.start(progress), own.state, config, settings.api_key)
            target = replace(target, api_keys=own.keys)
        else:
            progress("looking for the stack")
            target = find_target(settings)
        check_target(target)
        session = make_session(settings, scenario, target, out)
        return session.folder, run(session, progress, interrupts)
    finally:
        if own is not None:
            with interrupts.finishing():
                progress("ending the stack")
                own.stop()
        progress.end()


def _show(outcomes: list[Outcome], folder: Path) -> None:
    for outcome in outcomes:
        mark = typer.style("holds", fg="green") if outcome.passed else typer.style("FAILS", fg="red", bold=True)
        typer.echo(f"{mark}  {outcome.name}: {outcome.says}")
    failed = sum(not outcome.passed for outcome in outcomes)
    typer.echo(
        f"verdict: {f'{failed} of {len(outcomes)} checks fail' if failed else f'all {len(outcomes)} checks hold'}"
    )
    typer.echo(f"report: {folder / 'report.html'}")


def _fail(sentence: str, status: int = USAGE) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(status)
