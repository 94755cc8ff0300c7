"""The commands of `uvx nox -s cluster`; `load` is the load test's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from cluster.builds import BuildError, ensure_programs
from cluster.kubectl import Access, ClusterError
from cluster.options import ClusterOptions, Provider
from cluster.run import up as run_up
from cluster.state import ClusterState, read_running
from cluster.summary import summary, unscaled
from contract.config import Config, ConfigError, load_config
from local.harness.lines import EndingConsole
from local.state_file import lives

_FAILED: Final = 1
_USAGE: Final = 2
_DOWN_SECONDS: Final = 180.0

app = typer.Typer(
    name="cluster",
    help="The chart on a real Kubernetes with real KEDA, on this machine. `load` puts load on it: see `loadtest`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command("up")
def up(  # noqa: PLR0917 - typer reads options from parameters
    config: Annotated[
        Path, typer.Option("--config", envvar="CONFIG_FILE", help="The deployment's config.yaml.", show_envvar=True)
    ] = Path("config.yaml"),
    provider: Annotated[
        Provider | None,
        typer.Option(
            help="processes: a control plane of processes, pods are processes (Linux, Go 1.26). kind: Kubernetes in "
            "Docker, real images. context: a cluster that is there, with --context. Without: processes."
        ),
    ] = None,
    context: Annotated[str, typer.Option(help="Of kubeconfig: use the cluster that is there.")] = "",
    nodes: Annotated[int, typer.Option(min=1, max=50, help="processes: nodes with one GPU each.")] = 8,
    latency: Annotated[float, typer.Option(min=0, help="processes: factor on the fake runtimes' times.")] = 1.0,
    seconds_per_task: Annotated[
        float | None, typer.Option(min=0, help="processes: each task takes exactly so many seconds.")
    ] = None,
    port_base: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Count all ports from here; otherwise 8000, 8001, 4566, 16440 …"),
    ] = None,
    host_address: Annotated[
        str, typer.Option(help="--context: an address of this machine that pods reach, for the emulator.")
    ] = "",
) -> None:
    """Bring the cluster, put the service on it, keep it running, end it all on Ctrl-C."""
    if context and provider not in {None, Provider.CONTEXT}:
        _fail("--context names a cluster that is there; leave --provider out", _USAGE)
    if provider is Provider.CONTEXT and not context:
        _fail("--provider context needs --context NAME (`kubectl config get-contexts` lists them)", _USAGE)
    options = ClusterOptions(
        config=config,
        provider=Provider.CONTEXT if context else provider or Provider.PROCESSES,
        context=context,
        nodes=nodes,
        latency=latency,
        seconds_per_task=seconds_per_task,
        port_base=port_base,
        host_address=host_address,
    )
    raise typer.Exit(asyncio.run(run_up(options, EndingConsole())))


@app.command("status")
def status() -> None:
    """Show nodes, pods, what the autoscalers want, and what KEDA says."""
    state = _running()
    try:
        config = load_config(Path(state.config))
        access = _access(state)
        lines, troubles = asyncio.run(_asked(access, state, config))
    except (ClusterError, ConfigError, BuildError) as error:
        _fail(str(error))
    for line in (*lines, *troubles):
        typer.echo(line)
    raise typer.Exit(_FAILED if troubles else 0)


@app.command("down")
def down() -> None:
    """End the cluster that runs, with everything that was started for it."""
    state = read_running()
    if state is None:
        typer.echo("no cluster runs")
        return
    try:
        os.kill(state.pid, signal.SIGTERM)
    except PermissionError:
        _fail(f"the cluster (process {state.pid}) is another user's, who can end it")
    began = time.monotonic()
    told = began
    while lives(state.pid):
        if time.monotonic() - began > _DOWN_SECONDS:
            _fail(f"the cluster (process {state.pid}) has not ended after {_DOWN_SECONDS:.0f} s; look at its terminal")
        if time.monotonic() - told > 5:
            told = time.monotonic()
            typer.echo(f"waiting for the cluster's end ({told - began:.0f} s)")
        time.sleep(0.2)
    left = [f"{name} ({pid})" for name, pid in state.processes.items() if lives(pid)]
    if left:
        _fail(f"still there: {', '.join(left)}")
    typer.echo(f"ended: {len(state.processes)} processes")


@app.command("build")
def build() -> None:
    """Build the programs of the processes provider, if they are not in the cache."""
    try:
        programs = asyncio.run(ensure_programs(typer.echo))
    except BuildError as error:
        _fail(str(error))
    typer.echo(f"the programs are in {programs.cluster.parent}")


async def _asked(access: Access, state: ClusterState, config: Config) -> tuple[list[str], list[str]]:
    lines = [f"API {state.api}, callbacks {state.sink}, emulator {state.endpoint}, kept by process {state.pid}"]
    lines += await summary(access, config)
    return lines, await unscaled(access, config)


def _access(state: ClusterState) -> Access:
    if state.provider == Provider.PROCESSES:
        programs = asyncio.run(ensure_programs(typer.echo))
        return Access((str(programs.cluster), "kubectl"), "helm", Path(state.kubeconfig), state.context)
    return Access((shutil.which("kubectl") or "kubectl",), "helm", context=state.context)


def _running() -> ClusterState:
    state = read_running()
    if state is None:
        _fail("no cluster runs: start one by `uvx nox -s cluster -- up`")
    return state


def _fail(sentence: str, status: int = _FAILED) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(status)
