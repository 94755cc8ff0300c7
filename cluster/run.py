"""The life of a cluster: bring it, put emulator, KEDA, releases and API on it, keep it, take all away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Awaitable
from dataclasses import astuple, replace
from typing import Final, NoReturn

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from cloud.chart_values import ChartValuesError
from cloud.helm import CHART
from cluster.api import ApiError
from cluster.builds import BuildError
from cluster.kubectl import Access, ClusterError
from cluster.options import ClusterOptions, Provider
from cluster.ports import ControlPorts, cluster_ports
from cluster.providers import Cluster, ForeignCluster, ProcessCluster
from cluster.releases import Surroundings, as_pods_see, values_of
from cluster.state import ClusterState, cluster_folder, only_one, read_running, state_path
from cluster.summary import unscaled
from contract.config import Config, ConfigError, RuntimeConfig
from contract.topology import Topology, topology
from local import state_file
from local.clients import Clients, make_clients
from local.config import load_local_config
from local.emulator import UnfitEmulatorError, check, name_of
from local.emulators.environment import EnvironmentFailedError, ensure_environment
from local.emulators.kinds import LOCALSTACK
from local.emulators.process import serve_environment
from local.folders import state_folder
from local.harness import plan
from local.harness.lines import Printer
from local.harness.options import Options
from local.harness.ports import Ports, PortsError, refuse_ports_in_use
from local.harness.restarts import RestartPolicy
from local.harness.sample import curl_line
from local.harness.supervisor import StartFailedError, Supervisor
from local.provision import provision

ENDED: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

GRACE: Final = 10
"""Seconds that a running task may finish when its pod is to end; a person waits for it."""
_SCALED_SECONDS: Final = 90.0
_PROGRESS_EVERY: Final = 5.0
_START_SECONDS: Final = 90.0
_FAILURES: Final = (
    *(ApiError, BuildError, ChartValuesError, ClusterError, StartFailedError, EnvironmentFailedError),
    *(UnfitEmulatorError, BotoCoreError, ClientError),
)


async def up(options: ClusterOptions, console: Console) -> int:
    """Runs a cluster until a signal comes; returns the exit status."""
    try:
        config = load_local_config(options.config, os.environ)
        front, control = cluster_ports(options.port_base)
        with only_one() as alone:
            # It has no state before it is ready; its folder is its own from the beginning.
            if not alone:
                _refuse_a_second()
            refuse_ports_in_use(_listeners(options, front, control))
            run = ClusterRun(options, config, front, control, console)
            signalled = asyncio.Event()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, run.on_signal, signalled)
            return await run.run(signalled)
    except (ConfigError, PortsError) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return USAGE


class ClusterRun:
    """One run of `up`."""

    def __init__(
        self, options: ClusterOptions, config: Config, front: Ports, control: ControlPorts, console: Console
    ) -> None:
        self._options = options
        self._config = config
        self._front = front
        self._place: Topology = topology(config)
        self._folder = cluster_folder()
        self._printer = Printer(console, ["localstack", "api", "sink"])
        self._supervisor = Supervisor(self._printer, RestartPolicy())
        self._endpoint = f"http://127.0.0.1:{front.localstack}"
        self._clients: Clients | None = None
        self._emulator = "LocalStack"
        self._cluster: Cluster = (
            ProcessCluster(options, config, control, self._folder, supervisor=self._supervisor, printer=self._printer)
            if options.provider is Provider.PROCESSES
            else ForeignCluster(options, self._printer.say)
        )
        self._access: Access | None = None
        self._installed: list[RuntimeConfig] = []

    def on_signal(self, signalled: asyncio.Event) -> None:
        """Ends the cluster in order; the second time, at once."""
        if signalled.is_set():
            self._supervisor.hurry()
        signalled.set()

    async def run(self, signalled: asyncio.Event) -> int:
        """Brings, keeps and ends the cluster; returns the exit status."""
        status = INTERRUPTED
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)
        try:
            async with self._supervisor:
                working = asyncio.create_task(self._work())
                stopping = asyncio.create_task(signalled.wait())
                await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    status = self._outcome(working)
                working.cancel()
                stopping.cancel()
                results = await asyncio.gather(working, stopping, return_exceptions=True)
                if signalled.is_set():
                    status = ENDED if isinstance(results[0], asyncio.CancelledError) and self._announced else status
                    self._printer.say("ending … (Ctrl-C again: at once)")
                await self._take_away()
            await self._cluster.end()
        except ClusterError as error:
            self._printer.say(str(error), style="red")
            status = FAILED
        finally:
            await asyncio.to_thread(state_file.forget, state_path(), os.getpid())
        self._printer.say("ended")
        return status

    _announced = False

    def _outcome(self, working: asyncio.Task[None]) -> int:
        """Says what went wrong; the work ends by itself for no other reason."""
        error = working.exception()
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, _FAILURES):
            working.result()
        self._printer.say(str(error), style="bold red")
        self._printer.say(f"the logs of its processes are in {self._folder / 'logs'}")
        return FAILED

    async def _work(self) -> None:
        """Starts everything, then keeps it running; never returns."""
        began = time.monotonic()
        say = self._printer.say
        access = self._access = await self._watched("the control plane", self._cluster.start())
        say(f"Kubernetes answers ({time.monotonic() - began:.1f} s)")
        host = await self._cluster.emulator_host()
        seen = f"http://{host}:{self._front.localstack}"
        await self._start_emulator(host)
        say(f"topics, queues and buckets are there ({time.monotonic() - began:.1f} s)")
        harness = Options(config=self._options.config, state=self._folder)
        for component in (
            plan.api(self._place, harness, self._front, os.environ, endpoint=self._endpoint),
            plan.sink(self._place, harness, self._front, os.environ, endpoint=self._endpoint),
        ):
            await self._supervisor.start(component)
        await self._watched("KEDA", self._cluster.bring_keda())
        say(f"KEDA is there ({time.monotonic() - began:.1f} s)")
        await self._cluster.bring_images()
        for name in ("api", "sink"):
            await self._supervisor.wait_until_ready(name, within=_START_SECONDS)
        # From now on what dies is started again; the pods' processes are no part of the start.
        self._supervisor.settle()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._cluster.run(), name="cluster")
            await self._install(access, seen)
            await self._watched("KEDA's first look at each queue", self._wait_until_scaled(access))
            await asyncio.to_thread(state_file.write, state_path(), self._state(access))
            self._announce(time.monotonic() - began)
            self._announced = True

    async def _start_emulator(self, host: str) -> None:
        python = await asyncio.to_thread(ensure_environment, state_folder(), say=self._printer.say)
        environment = serve_environment(python, self._folder / "localstack")
        component = plan.emulator(LOCALSTACK, python, environment, self._front)
        if host != "127.0.0.1" and host.replace(".", "").isdigit():
            # On the network of the cluster's containers too, and for no other name than addresses.
            component = replace(
                component,
                listens=False,
                command=(*component.command[:-2], "--host", host, "--port", str(component.port)),
                environment={**environment, "ALLOWED_HOSTS": "localhost"},
            )
        elif host != "127.0.0.1":
            component = replace(component, environment={**environment, "ALLOWED_HOSTS": host})
        await self._supervisor.start(component)
        clients = self._clients = await asyncio.to_thread(make_clients, self._endpoint)
        await self._supervisor.wait_until_ready("localstack", within=_START_SECONDS)
        self._emulator = await asyncio.to_thread(name_of, self._endpoint)
        await asyncio.to_thread(self._provision, clients)

    def _provision(self, clients: Clients) -> None:
        list(provision(self._place, clients))
        for sentence in check(clients, self._place, self._emulator):
            self._printer.say(sentence, style="bold yellow")

    async def _install(self, access: Access, endpoint: str) -> None:
        """Installs the chart for each runtime."""
        origins = f"http://127.0.0.1:{self._front.sink}" if self._cluster.gpus else ""
        around = Surroundings(
            endpoint, self._cluster.gpus, GRACE, origins, await _api_cidrs(access, self._cluster.gpus)
        )
        for runtime in self._config.runtimes:
            queue = self._place.queue(runtime.name)
            urls = [await self._queue_url(name) for name in (queue.name, queue.dead_letter_name)]
            main, dead = (as_pods_see(url, endpoint) for url in urls)
            values = values_of(self._config, runtime, self._place, around, queue=main, dead_letters=dead)
            self._installed.append(runtime)
            await access.install(
                runtime.name,
                str(CHART),
                *("--namespace", runtime.namespace, "--create-namespace"),
                values=values,
                within=_START_SECONDS,
            )
            self._printer.say(f"release {runtime.name} is installed", style="dim")

    async def _queue_url(self, name: str) -> str:
        if self._clients is None:  # never: the emulator has been started
            raise ClusterError("there is no emulator")
        answer = await asyncio.to_thread(self._clients.sqs.get_queue_url, QueueName=name)
        return answer["QueueUrl"]

    async def _wait_until_scaled(self, access: Access) -> None:
        """Waits until KEDA reads every queue.

        Raises:
            ClusterError: it does not, with KEDA's own words.
        """
        deadline = time.monotonic() + _SCALED_SECONDS
        while troubles := await unscaled(access, self._config):
            if time.monotonic() > deadline:
                raise ClusterError("\n".join(troubles))
            await asyncio.sleep(0.5)

    async def _watched[Result](self, what: str, work: Awaitable[Result]) -> Result:
        """Says every five seconds that something still takes its time."""

        async def tell() -> None:
            began = time.monotonic()
            while True:
                await asyncio.sleep(_PROGRESS_EVERY)
                self._printer.say(f"waiting for {what} ({time.monotonic() - began:.0f} s)", style="dim")

        telling = asyncio.create_task(tell())
        try:
            return await work
        finally:
            telling.cancel()

    def _state(self, access: Access) -> ClusterState:
        sink = f"http://127.0.0.1:{self._front.sink}"
        return ClusterState(
            pid=os.getpid(),
            provider=self._options.provider,
            api=f"http://127.0.0.1:{self._front.api}",
            sink=sink,
            endpoint=self._endpoint,
            region=self._place.region,
            kubeconfig=str(access.kubeconfig or ""),
            context=access.context,
            config=str(self._options.config.resolve()),
            sample_image=f"{sink}/samples/cat.png" if self._cluster.gpus else "",
            processes=self._supervisor.pids(),
        )

    def _announce(self, seconds: float) -> None:
        say, front, access = self._printer.say, self._front, self._access
        say(f"ready after {seconds:.1f} s", style="bold green")
        say(f"  API         http://127.0.0.1:{front.api}  (page; /docs for its routes)")
        say(f"  callbacks   http://127.0.0.1:{front.sink}")
        say(f"  {self._emulator.split()[0]:<11} {self._endpoint}")
        if access is not None:
            command = " ".join(access.kubectl)
            place = f"KUBECONFIG={access.kubeconfig} " if access.kubeconfig else ""
            say(f"  kubectl     {place}{command} get pods --watch")
        for runtime in self._config.runtimes:
            say(f"  release     {runtime.name}  (namespace {runtime.namespace}; KEDA scales it by its queue)")
        say(f"  logs        {self._folder / 'logs'}")
        line = curl_line(f"http://127.0.0.1:{front.api}", self._config)
        if line is not None:
            say("a first task:")
            self._printer.plain(f"\n  {line}\n")
        say("a load test: uvx nox -s cluster -- load     how it stands: uvx nox -s cluster -- status")
        say("Ctrl-C ends it all")

    async def _take_away(self) -> None:
        """Removes the releases from a cluster that stays."""
        if self._access is None or self._options.provider is Provider.PROCESSES:
            return
        for runtime in self._installed:
            with contextlib.suppress(ClusterError):
                await self._access.uninstall(runtime.name, runtime.namespace)


async def _api_cidrs(access: Access, processes: bool) -> tuple[str, ...]:
    """Returns where pods find the cluster's API, for the network policy: its service, and what is behind that."""
    if processes:
        return ()
    service = await access.get("service", "kubernetes", "--namespace=default")
    slices = await access.items(
        "endpointslices", "--namespace=default", "--selector=kubernetes.io/service-name=kubernetes"
    )
    behind = [address for item in slices for endpoint in item["endpoints"] for address in endpoint["addresses"]]
    return tuple(f"{address}/32" for address in (service["spec"]["clusterIP"], *behind))


def _refuse_a_second() -> NoReturn:
    if running := read_running():
        raise PortsError(f"a cluster runs already (process {running.pid}); end it by `uvx nox -s cluster -- down`")
    raise PortsError("a cluster begins or ends here just now; wait for it, or give this one a DARKROOM_HOME of its own")


def _listeners(options: ClusterOptions, front: Ports, control: ControlPorts) -> dict[str, int]:
    wanted = {"api": front.api, "sink": front.sink, "localstack": front.localstack}
    if options.provider is not Provider.PROCESSES:
        return wanted
    names = (field.replace("_", "-") for field in ControlPorts.__dataclass_fields__)
    return wanted | dict(zip(names, astuple(control), strict=True))
