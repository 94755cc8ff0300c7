"""The commands that start things: up, provision, sink, emulator. What they need is imported when they are called."""

# ruff: noqa: PLC0415 - the client's commands must not wait for boto3
from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from local.emulators.kinds import KINDS, EmulatorName

if TYPE_CHECKING:
    from contract.config import Config
    from contract.topology import Topology
    from local.clients import Clients

USAGE: Final = 2
NOT_REACHABLE: Final = 3

ConfigOption = Annotated[
    Path, typer.Option("--config", envvar="CONFIG_FILE", help="The deployment's config.yaml.", show_envvar=True)
]
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", envvar="AWS_ENDPOINT_URL", help="The emulator's URL.", show_envvar=True),
]

EmulatorArgument = Annotated[EmulatorName, typer.Argument(help="Which one.")]

CONFIG: Final = Path("config.yaml")


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("up")(up)
    app.command("provision")(provision)
    app.command("sink")(sink)
    emulator = typer.Typer(help="An emulator of AWS alone.", no_args_is_help=True, rich_markup_mode=None)
    emulator.command("install")(install_emulator)
    emulator.command("run")(run_emulator)
    app.add_typer(emulator, name="emulator")


def up(  # noqa: PLR0917 - typer reads options from parameters
    config: ConfigOption = CONFIG,
    replicas: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=50,
            help="Agents, each with a fake runtime, per runtime: 1, or with --autoscale at most 4.",
        ),
    ] = None,
    autoscale: Annotated[
        bool, typer.Option("--autoscale", help="Let replicas follow their queues, as KEDA and the HPA do in the cloud.")
    ] = False,
    node_seconds: Annotated[
        float, typer.Option(min=0, help="--autoscale: a replica waits so long for its node.")
    ] = 0.0,
    image_seconds: Annotated[float, typer.Option(min=0, help="--autoscale: … and then so long for its images.")] = 0.0,
    model_seconds: Annotated[float, typer.Option(min=0, help="--autoscale: … and then so long for its model.")] = 0.0,
    sync_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="--autoscale: between the HPA's decisions; 15, as in any cluster.")
    ] = None,
    latency: Annotated[float, typer.Option(min=0, help="Factor on the fake runtimes' times; 0 answers at once.")] = 1.0,
    seconds_per_task: Annotated[
        float | None, typer.Option(min=0, help="Each task takes exactly so many seconds.")
    ] = None,
    port_base: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Count all ports from here; otherwise 8000, 8001, 4566, 8010 …")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="Use the emulator of AWS that already runs there, instead of starting one."),
    ] = None,
    emulator: Annotated[
        EmulatorName,
        typer.Option(envvar="EMULATOR", help="Which emulator of AWS is started: ministack is the lighter one."),
    ] = EmulatorName.LOCALSTACK,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=URL: a real server in the place of a runtime's fake one, such as "
            "comfyruntime=http://127.0.0.1:8188; repeatable. RUNTIME_TOKEN is sent to it."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep LocalStack's tasks and images in a file, and go on with them.")
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(help="Where to write addresses and process ids; otherwise .darkroom/up.json."),
    ] = None,
) -> None:
    """Start the whole service as plain processes, keep it running, end it all on Ctrl-C."""
    from contract.config import ConfigError
    from contract.scaling.hpa import SYNC_PERIOD
    from local.harness.lines import EndingConsole
    from local.harness.options import Autoscaling, Options
    from local.harness.ports import API
    from local.harness.real import parse_real
    from local.harness.replicas import StartDelays
    from local.harness.state import path_beside
    from local.harness.up import up as run_up

    if not autoscale and (node_seconds or image_seconds or model_seconds or sync_seconds is not None):
        _fail("--node-seconds, --image-seconds, --model-seconds and --sync-seconds need --autoscale", USAGE)
    _check_endpoint(endpoint)
    kind = KINDS[emulator]
    if keep and not kind.keeps:
        _fail(f"--keep is for LocalStack; {kind.title} keeps nothing", USAGE)
    if keep and endpoint is not None:
        _fail("--keep is for the LocalStack that `up` starts; what runs at --endpoint keeps what it keeps", USAGE)
    if runtime and autoscale:
        _fail("--runtime is for a server that is there; --autoscale starts and ends its own fake ones", USAGE)
    try:
        real = parse_real(runtime or [])
    except ConfigError as error:
        _fail(str(error), USAGE)
    delays = StartDelays(node=node_seconds, image=image_seconds, model=model_seconds)
    options = Options(
        config=config,
        state=state or path_beside(port_base or API),
        replicas=replicas or (4 if autoscale else 1),
        autoscaling=Autoscaling(delays, sync_seconds or SYNC_PERIOD) if autoscale else None,
        latency=latency,
        seconds_per_task=seconds_per_task,
        port_base=port_base,
        endpoint=endpoint,
        emulator=kind,
        real=real,
        keep=keep,
    )
    raise typer.Exit(asyncio.run(run_up(options, EndingConsole())))


def provision(
    config: ConfigOption = CONFIG,
    endpoint: EndpointOption = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the emulator.")] = 30.0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and do it again whenever the emulator has been started anew.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="--watch: a file that is there while all is well, for a health check.")
    ] = None,
) -> None:
    """Make topics, queues and buckets on an emulator; run again, it changes only what differs."""
    from dataclasses import replace

    from contract.topology import LOCAL_ACCOUNT, topology
    from local.emulator import UnfitEmulatorError, check, name_of
    from local.provision import account_of
    from local.provision import provision as apply
    from local.reprovision import Reprovision

    clients = _clients(endpoint)
    loaded = _loaded(config)
    place = _place(loaded, clients)
    _wait_for(clients, wait)
    name, account = name_of(clients.endpoint), account_of(clients, place)
    if account != LOCAL_ACCOUNT:
        typer.echo(f"{name} plays the account {account}, not {LOCAL_ACCOUNT}: it is in every ARN and the bucket's name")
        # `models` has no need to ask which account it is.
        place = replace(topology(loaded, region=clients.region, account=account), model_bucket=place.model_bucket)
    for change in apply(place, clients):
        if not (watch and change.action == "unchanged"):
            typer.echo(str(change))
    try:
        for sentence in check(clients, place, name):
            typer.echo(sentence, err=True)
    except UnfitEmulatorError as error:
        _fail(str(error), 1)
    if watch:
        # The first process of a container ends by no signal that it has not asked for.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        Reprovision(clients, place, say=typer.echo, ready=ready_file).run()


def sink(  # noqa: PLR0917 - typer reads options from parameters
    config: ConfigOption = CONFIG,
    endpoint: EndpointOption = None,
    host: Annotated[str, typer.Option(envvar="SINK_HOST")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="SINK_PORT", min=0, max=65535)] = 8001,
    allowed_hosts: Annotated[
        str, typer.Option(envvar="ALLOWED_HOSTS", help="Host names that it answers to, besides localhost.")
    ] = "",
    lines: Annotated[
        bool, typer.Option("--lines", help="Read what other processes say from standard input; /lines shows it.")
    ] = False,
) -> None:
    """Show the callbacks that arrive, on a page and in the terminal."""
    from contract.hosts import AllowedHosts
    from local.sink.lines import Lines
    from local.sink.run import run_sink

    try:
        hosts = AllowedHosts.of(allowed_hosts, listening_on=host)
    except ValueError as error:
        _fail(f"ALLOWED_HOSTS: {error}", USAGE)

    clients = _clients(endpoint)
    place = _place(_loaded(config), clients)
    try:
        heard = Lines() if lines else None
        asyncio.run(run_sink(clients, place, host=host, port=port, hosts=hosts, say=typer.echo, lines=heard))
    except OSError as error:
        _fail(f"the sink cannot listen on {host}:{port}: {error.strerror}; choose another --port", USAGE)


def install_emulator(name: EmulatorArgument = EmulatorName.LOCALSTACK) -> None:
    """Make an emulator's environment, if it is not there."""
    from local.emulators.environment import EnvironmentFailedError, ensure_environment
    from local.folders import state_folder

    try:
        ensure_environment(state_folder(), say=typer.echo, kind=KINDS[name])
    except EnvironmentFailedError as error:
        _fail(str(error), 1)


def run_emulator(
    name: EmulatorArgument = EmulatorName.LOCALSTACK,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 4566,
) -> None:
    """Run an emulator alone until Ctrl-C."""
    from local.emulators.environment import EnvironmentFailedError, ensure_environment
    from local.emulators.process import Emulator, EmulatorFailedError
    from local.folders import state_folder

    kind = KINDS[name]
    try:
        python = ensure_environment(state_folder(), say=typer.echo, kind=kind)
        process = Emulator(python=python, folder=state_folder() / kind.name / f"alone-{port}", port=port, kind=kind)
        try:
            process.start()
            process.wait_until_ready()
            typer.echo(f"ready: {process.endpoint} (log: {process.log}); Ctrl-C ends it")
            process.wait()
        finally:
            process.stop()
    except (EnvironmentFailedError, EmulatorFailedError) as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"{kind.title} cannot listen on port {port}: {error.strerror}; choose another --port", USAGE)


def _loaded(path: Path) -> Config:
    from contract.config import ConfigError
    from local.config import load_local_config

    try:
        return load_local_config(path, os.environ)
    except ConfigError as error:
        _fail(str(error), USAGE)


def _clients(endpoint: str | None) -> Clients:
    from local.clients import REGION, make_clients

    if not endpoint:
        _fail(
            "name the emulator's URL with --endpoint or AWS_ENDPOINT_URL, such as http://127.0.0.1:4566 "
            "(this command is for an emulator only; AWS itself is set up by the cloud stack)",
            USAGE,
        )
    _check_endpoint(endpoint)
    return make_clients(endpoint, region=os.environ.get("AWS_REGION") or REGION)


def _check_endpoint(endpoint: str | None) -> None:
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        _fail(f"--endpoint must be a URL such as http://127.0.0.1:4566; found {endpoint!r}", USAGE)


def _place(config: Config, clients: Clients) -> Topology:
    from contract.topology import topology

    return topology(config, region=clients.region)


def _wait_for(clients: Clients, seconds: float) -> None:
    """Returns once the endpoint answers at all."""
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + seconds
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            direct.open(f"{clients.endpoint}/_localstack/health", timeout=5).close()
        except urllib.error.HTTPError:
            return  # another emulator, that has no such page
        except OSError as error:
            if time.monotonic() > deadline:
                _fail(f"nothing answers at {clients.endpoint}: {error}", NOT_REACHABLE)
            time.sleep(0.1)
        else:
            return


def _fail(sentence: str, status: int) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(status)
