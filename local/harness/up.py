"""The life of a stack: start all, wait until all is ready, keep it running, end it in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from contract.config import Config, ConfigError
from contract.objects import RECORDS
from contract.scaling.settings import Scaling, ScalingError, scaling_by_runtime
from contract.topology import Topology, topology
from local import state_file
from local.chart_values import unknown_values
from local.clients import Clients, make_clients
from local.config import load_local_config
from local.emulator import UnfitEmulatorError, check, name_of
from local.emulators.environment import EnvironmentFailedError, ensure_environment
from local.emulators.process import serve_environment
from local.folders import state_folder
from local.harness import plan
from local.harness.autoscale import Fleet, LocalAutoscaling, read_backlog
from local.harness.lines import Printer
from local.harness.options import Options
from local.harness.ports import Ports, PortsError, plan_ports, refuse_ports_in_use
from local.harness.real import check_real, shown
from local.harness.replicas import Replica, capped
from local.harness.restarts import RestartPolicy
from local.harness.sample import curl_line
from local.harness.signer import signer_for
from local.harness.state import (
    Process,
    ReplicaEntry,
    Replicas,
    State,
    StateError,
    check_writable,
    default_path,
)
from local.harness.supervisor import StartFailedError, Supervisor
from local.kept import kept_path, send_again
from local.provision import Action, account_of, provision

ENDED: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
"""Ended before it was ready."""

FOLLOW_STARTER: Final = "DARKROOM_FOLLOW_STARTER"
"""The variable with which a starter that must not be outlived says so."""

_LAST_LOOK: Final = 1.0
"""Seconds that the end waits to hear whether there is something to lose."""

_SINK_SECONDS: Final = 15.0
"""That callbacks which are sent again wait for the sink."""

_FOLLOW_INTERVAL: Final = 0.5
"""Seconds."""


async def up(options: Options, console: Console) -> int:
    """Runs the stack until a signal comes; returns the exit status."""
    try:
        config = load_local_config(options.config, os.environ)
        scaling = scaling_by_runtime(config)
        await asyncio.to_thread(check_real, options.real, config, replicas=options.replicas)
        ports = plan_ports(len(config.runtimes) * options.replicas, options.port_base)
        refuse_ports_in_use(_wanted(config, options, ports))
        await asyncio.to_thread(check_writable, options.state)
    except (ConfigError, PortsError, ScalingError, StateError) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return USAGE
    for sentence in unknown_values(config):
        line = f"{options.config}: {sentence} (the chart would refuse it)"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    stack = Stack(options, config, scaling, ports, console)
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stack.on_signal, signalled)
    following = asyncio.create_task(_follow(os.getppid(), signalled)) if os.environ.get(FOLLOW_STARTER) else None
    try:
        return await stack.run(signalled)
    finally:
        if following is not None:
            following.cancel()


async def _follow(starter: int, signalled: asyncio.Event) -> None:
    """Ends the stack when the process that started it is gone: nox, told to end, tells nobody."""
    while os.getppid() == starter:  # noqa: ASYNC110 - nobody tells when a process gets another parent
        await asyncio.sleep(_FOLLOW_INTERVAL)
    signalled.set()


class Stack:
    """One run of `up`."""

    def __init__(
        self, options: Options, config: Config, scaling: Mapping[str, Scaling], ports: Ports, console: Console
    ) -> None:
        self._options = options
        self._config = config
        self._scaling = {name: capped(settings, options.replicas) for name, settings in scaling.items()}
        self._place: Topology = topology(config)
        self._ports = ports
        self._endpoint = options.endpoint or f"http://127.0.0.1:{ports.localstack}"
        self._folder = state_folder() / options.emulator.name / f"run-{ports.localstack}"
        self._webhooks_queue = ""
        self._printer = Printer(console, list(_wanted(config, options, ports)))
        self._supervisor = Supervisor(self._printer, RestartPolicy())
        self._kept = kept_path(ports.localstack) if options.keep else None
        self._clients: Clients | None = None
        self._emulator = options.emulator.title
        self._queues: dict[str, str] = {}
        self._dead_letters: dict[str, str] = {}
        self._components: list[plan.Component] = []
        self._fleets: list[Fleet] = []
        self._autoscaling: LocalAutoscaling | None = None
        self._writing = asyncio.Lock()

    def on_signal(self, signalled: asyncio.Event) -> None:
        """Ends the stack in order; the second time, at once."""
        if signalled.is_set():
            self._supervisor.hurry()
        signalled.set()

    async def run(self, signalled: asyncio.Event) -> int:
        """Starts, keeps and ends the stack; returns the exit status."""
        say = self._printer.say
        status = INTERRUPTED
        try:
            async with self._supervisor:
                starting = asyncio.create_task(self._start())
                stopping = asyncio.create_task(signalled.wait())
                await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    status = self._outcome(starting)
                    if status == ENDED:
                        await self._keep(stopping)
                starting.cancel()
                stopping.cancel()
                await asyncio.gather(starting, stopping, return_exceptions=True)
                if signalled.is_set():
                    say("ending … (Ctrl-C again: at once)")
                    await self._say_what_is_lost()
        finally:
            await asyncio.to_thread(state_file.forget, self._options.state, os.getpid())
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        say("ended")
        return status

    def _outcome(self, starting: asyncio.Task[None]) -> int:
        """Returns the exit status of a start that is over; says what went wrong with it."""
        try:
            starting.result()
        except (StartFailedError, EnvironmentFailedError, UnfitEmulatorError, BotoCoreError, ClientError) as error:
            self._printer.say(str(error), style="bold red")
            return FAILED
        return ENDED

    def _signer(self) -> str:
        """Returns what signs content credentials; says so where nobody trusts it."""
        signer = signer_for(self._config, os.environ, state_folder() / "credentials")
        if signer and not os.environ.get("CREDENTIALS_SIGNER"):
            self._printer.say(f"content credentials are signed by a test certificate that nobody trusts: {signer}")
        return signer

    async def _keep(self, stopping: asyncio.Task[bool]) -> None:
        """Returns when the stack is to end; scales it until then."""
        if self._autoscaling is None:
            await stopping
            return
        scaling = asyncio.create_task(self._autoscaling.run(), name="autoscaling")
        await asyncio.wait({scaling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if scaling.done():
            scaling.result()
        scaling.cancel()
        await asyncio.gather(scaling, return_exceptions=True)

    async def _start(self) -> None:
        began = time.monotonic()
        options, config, ports = self._options, self._config, self._ports
        if options.autoscaling is None:
            self._printer.say(f"starting {len(_wanted(config, options, ports))} processes …")
        else:
            self._printer.say("starting the stack; replicas follow their queues …")
        if options.endpoint is None:
            await self._start_emulator()
        # The API takes longest to load, and waits by itself for what it needs.
        await self._launch(plan.api(self._place, options, ports, os.environ, endpoint=self._endpoint))
        fakes = plan.runtimes(config, options, ports, os.environ)
        if options.autoscaling is None:
            for component in fakes:
                if not component.address:
                    await self._launch(component)
        # Making the clients takes nearly a second of reading models; the emulator starts meanwhile.
        clients = self._clients = await asyncio.to_thread(make_clients, self._endpoint)
        if options.endpoint is None:
            await self._supervisor.wait_until_ready(options.emulator.name, within=options.start_timeout)
        else:
            await self._adopt_account(clients)
        self._emulator = await asyncio.to_thread(name_of, self._endpoint)
        await asyncio.to_thread(self._provision, clients)
        self._printer.say(f"topics, queues and buckets are there ({time.monotonic() - began:.1f} s)")
        agents = plan.agents(
            config,
            self._place,
            options,
            ports,
            os.environ,
            endpoint=self._endpoint,
            queue_urls=self._queues,
            dead_letter_urls=self._dead_letters,
            webhooks_url=self._webhooks_queue,
            signer=self._signer(),
        )
        self._fleets = [
            Fleet(name, pairs, self._scaling[name])
            for name, pairs in plan.pairs(config, options, fakes, agents).items()
        ]
        if options.autoscaling is None:
            for component in agents:
                await self._launch(component)
            for fleet in self._fleets:
                fleet.keep_all()
        webhooks = plan.webhooks(
            self._place, ports, os.environ, endpoint=self._endpoint, queue_url=self._webhooks_queue
        )
        await self._launch(webhooks)
        await self._launch(plan.sink(self._place, options, ports, os.environ, endpoint=self._endpoint))
        await self._wait_for_all(began)
        await self._send_again(clients)
        self._supervisor.settle()
        await self._write_state()
        if options.autoscaling is not None:
            self._autoscaling = LocalAutoscaling(
                self._fleets,
                options.autoscaling,
                self._supervisor,
                self._printer,
                look=partial(read_backlog, clients.sqs, self._queues),
                changed=self._write_state,
                start_timeout=options.start_timeout,
            )
        self._announce(time.monotonic() - began)

    async def _adopt_account(self, clients: Clients) -> None:
        """Takes the account from the emulator's own answer: not every one plays LocalStack's."""
        account = await asyncio.to_thread(account_of, clients, self._place)
        if account == self._place.account:
            return
        self._place = replace(topology(self._config, account=account), model_bucket=self._place.model_bucket)
        await self._supervisor.retire("api")
        self._components = [component for component in self._components if component.stage is not plan.Stage.API]
        await self._launch(plan.api(self._place, self._options, self._ports, os.environ, endpoint=self._endpoint))

    async def _start_emulator(self) -> None:
        kind = self._options.emulator
        python = await asyncio.to_thread(ensure_environment, state_folder(), say=self._printer.say, kind=kind)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        environment = serve_environment(python, self._folder)
        component = plan.emulator(kind, python, environment, self._ports, keep=self._kept)
        await self._launch(component)

    async def _launch(self, component: plan.Component) -> None:
        self._components.append(component)
        lost = self._emulator_is_back if component.stage is plan.Stage.EMULATOR else self._write_state
        await self._supervisor.start(component, after_restart=lost)

    async def _emulator_is_back(self) -> None:
        try:
            clients = make_clients(self._endpoint)
            await asyncio.to_thread(self._provision, clients)
            await self._send_again(clients)
        except (UnfitEmulatorError, BotoCoreError, ClientError) as error:
            self._printer.say(f"{self._emulator} cannot be provisioned again: {error}", style="red")
            return
        if self._kept is None:
            lost = f"{self._emulator} keeps all in memory: tasks and images from before are gone"
            self._printer.say(lost, style="yellow")
        await self._write_state()

    async def _send_again(self, clients: Clients) -> None:
        if self._kept is None:
            return
        with contextlib.suppress(StartFailedError):  # a callback that nobody has subscribed to is lost
            await self._supervisor.wait_until_ready("sink", within=_SINK_SECONDS)
        sent = await asyncio.to_thread(send_again, self._kept, clients, self._place)
        if sent.tasks or sent.callbacks:
            self._printer.say(
                f"sent again: {sent.tasks} tasks that are not over, and the last {sent.callbacks} callbacks"
            )

    async def _write_state(self) -> None:
        async with self._writing:
            await asyncio.to_thread(state_file.write, self._options.state, self._state())

    def _provision(self, clients: Clients) -> None:
        """Makes topics, queues and buckets, and sees that a message gets through; a thread's work."""
        changes = list(provision(self._place, clients))
        for sentence in check(clients, self._place, self._emulator):
            self._printer.say(sentence, style="bold yellow")
        done = sum(change.action is not Action.UNCHANGED for change in changes)
        self._printer.say(f"provisioned {len(changes)} resources, {done} of them new or changed", style="dim")
        self._webhooks_queue = clients.sqs.get_queue_url(QueueName=self._place.webhooks)["QueueUrl"]
        for queue in self._place.queues:
            self._queues[queue.runtime] = clients.sqs.get_queue_url(QueueName=queue.name)["QueueUrl"]
            url = clients.sqs.get_queue_url(QueueName=queue.dead_letter_name)["QueueUrl"]
            self._dead_letters[queue.runtime] = url

    async def _wait_for_all(self, began: float) -> None:
        async def wait(name: str) -> None:
            await self._supervisor.wait_until_ready(name, within=self._options.start_timeout)
            self._printer.say(f"{name} is ready ({time.monotonic() - began:.1f} s)", style="dim")

        try:
            async with asyncio.TaskGroup() as group:
                for component in self._components:
                    group.create_task(wait(component.name))
        except* StartFailedError as errors:
            raise errors.exceptions[0] from None  # one sentence; the first is the cause

    def _state(self) -> State:
        pids = self._supervisor.pids()
        replicas = {fleet.name: _described(fleet, pids, self._options) for fleet in self._fleets}
        pairs = [pair for fleet in self._fleets for pair in fleet.pairs.values()]
        components = [*self._components, *(part for pair in pairs for part in (pair.runtime, pair.agent))]
        return State(
            pid=os.getpid(),
            api=f"http://127.0.0.1:{self._ports.api}",
            sink=f"http://127.0.0.1:{self._ports.sink}",
            localstack=self._endpoint,
            region=self._place.region,
            task_topic_arn=self._place.task_topic_arn,
            callback_topic_arn=self._place.callback_topic_arn,
            output_bucket=self._place.output_bucket,
            queues=self._queues,
            processes={
                component.name: Process(pid=pids[component.name], url=component.url)
                for component in components
                if component.name in pids
            },
            replicas=replicas,
        )

    def _announce(self, seconds: float) -> None:
        say, ports = self._printer.say, self._ports
        say(f"ready after {seconds:.1f} s", style="bold green")
        say(f"  API         http://127.0.0.1:{ports.api}  (page; /docs for its routes)")
        say(f"  callbacks   http://127.0.0.1:{ports.sink}")
        say(f"  {self._emulator.split()[0]:<11} {self._endpoint}")
        for component in self._components:
            if component.stage is plan.Stage.RUNTIME:
                say(f"  runtime     {component.url}  ({component.name})")
        for name, url in self._options.real.items():
            say(f"  runtime     {shown(url)}  ({name}: a server of yours)")
        if self._autoscaling is not None:
            for fleet in self._fleets:
                scaling = fleet.scaling
                least, most, each = scaling.min_replica_count, scaling.max_replica_count, scaling.queue_length
                say(f"  replicas    {least} to {most}, one for every {each} tasks  ({fleet.name})")
        if self._options.state != default_path():
            say(
                f"  state file  {self._options.state}; the client finds this stack by --api http://127.0.0.1:{ports.api}"
            )
        keys = os.environ.get("API_KEYS") or os.environ.get("API_ADMIN_KEYS", "")
        api = f"http://127.0.0.1:{ports.api}"
        line = curl_line(api, self._config, keys=keys, shown=self._printer.in_terminal)
        if line is not None:
            say("a first task:")
            self._printer.plain(f"\n  {line}\n")
        if self._kept is not None:
            say(f"tasks and images are kept in {self._kept}: `up -- --keep` goes on with them; delete it to begin anew")
        elif self._options.endpoint is None:
            keep = " (`up -- --keep` keeps them)" if self._options.emulator.keeps else ""
            say(f"{self._emulator} keeps its state in memory: tasks and images go with it{keep}")
        say("Ctrl-C ends it all")

    async def _say_what_is_lost(self) -> None:
        """Tells whoever ends the stack what goes with it, if there is anything."""
        clients = self._clients
        if clients is None or self._options.endpoint is not None or self._kept is not None:
            return

        def holds_tasks() -> bool:
            bucket = self._place.output_bucket
            return bool(clients.s3.list_objects_v2(Bucket=bucket, Prefix=RECORDS, MaxKeys=1).get("Contents"))

        with contextlib.suppress(TimeoutError, BotoCoreError, ClientError):
            if await asyncio.wait_for(asyncio.to_thread(holds_tasks), _LAST_LOOK):
                lost = f"tasks and images were in the memory of {self._emulator}, and go with it"
                self._printer.say(lost, style="yellow")


def _described(fleet: Fleet, pids: Mapping[str, int], options: Options) -> Replicas:
    """Returns what the state file says of a runtime's replicas."""

    def described(replica: Replica) -> ReplicaEntry:
        pair = fleet.pairs[replica.number]
        return ReplicaEntry(
            name=pair.runtime.name,
            phase=replica.phase,
            since=replica.since,
            runtime_url=pair.runtime.url,
            agent_url=pair.agent.url,
            runtime_pid=pids.get(pair.runtime.name),
            agent_pid=pids.get(pair.agent.name),
        )

    return Replicas(
        wanted=fleet.wanted,
        autoscaled=options.autoscaling is not None,
        min_replica_count=fleet.scaling.min_replica_count,
        max_replica_count=fleet.scaling.max_replica_count,
        pairs=[described(replica) for replica in fleet.replicas],
    )


def _wanted(config: Config, options: Options, ports: Ports) -> dict[str, int]:
    """Returns who will listen on which port.

    Raises:
        ConfigError: two processes would have one name.
    """
    wanted = {"api": ports.api, "sink": ports.sink, "webhooks": ports.webhooks}
    if options.endpoint is None:
        wanted[options.emulator.name] = ports.localstack
    for runtime, name, worker in plan.workers(config, options, ports):
        own = [] if runtime.name in options.real else [(name, worker.runtime)]
        for process, port in (*own, (f"{name}-agent", worker.agent)):
            if process in wanted:
                raise ConfigError(
                    f"{options.config}: modelsRuntime: {runtime.name!r} makes a second process named {process!r} "
                    "of this stack: choose another name"
                )
            wanted[process] = port
    return wanted
