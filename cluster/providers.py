"""Brings a cluster, and what differs between clusters; everything above begins with its kubeconfig."""

from __future__ import annotations

import asyncio
import contextlib
import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from cloud.helm import HelmError, helm_binary
from cluster import control_plane, keda, kind, releases
from cluster.api import ApiServer
from cluster.builds import Programs, ensure_programs
from cluster.control_plane import Files
from cluster.kubectl import Access, ClusterError, run_program
from cluster.nodes import LocalNodes
from cluster.options import ClusterOptions, Provider
from cluster.ports import ControlPorts
from contract.config import Config
from local.folders import PROJECT
from local.harness.lines import Printer
from local.harness.options import Options
from local.harness.supervisor import Supervisor

_READY_SECONDS: Final = 120.0
_IMAGE_SECONDS: Final = 1800.0
_METRICS: Final = "v1beta1.external.metrics.k8s.io"


class Cluster(Protocol):
    """A cluster, from its beginning to its end."""

    gpus: bool
    """Whether its nodes have GPUs."""

    async def start(self) -> Access:
        """Brings it up, or finds it; returns how it is reached."""

    async def emulator_host(self) -> str:
        """Returns the host by which pods reach this machine."""

    async def bring_keda(self) -> None:
        """Installs KEDA, if it is not there."""

    async def bring_images(self) -> None:
        """Makes the images that pods want available."""

    async def run(self) -> None:
        """Does what has to be done as long as the cluster is up; returns when it is cancelled, if at all."""

    async def end(self) -> None:
        """Takes away what `start` and the others have brought."""


class ProcessCluster:
    """A control plane of processes, on nodes of which pods are processes."""

    gpus = True

    def __init__(
        self,
        options: ClusterOptions,
        config: Config,
        ports: ControlPorts,
        folder: Path,
        *,
        supervisor: Supervisor,
        printer: Printer,
    ) -> None:
        self._options = options
        self._config = config
        self._ports = ports
        self._files = Files(folder)
        self._supervisor = supervisor
        self._printer = printer
        self._programs: Programs | None = None
        self._access: Access | None = None
        self._api: ApiServer | None = None
        self._nodes: LocalNodes | None = None

    async def start(self) -> Access:
        """Starts etcd, the API server, the controllers and the scheduler, and registers the nodes."""
        programs = self._programs = await ensure_programs(self._printer.say)
        files, ports = self._files, self._ports
        await asyncio.to_thread(control_plane.write_identities, files, ports)
        for component in (
            control_plane.etcd(programs, files, ports),
            control_plane.api_server(programs, files, ports),
            control_plane.controllers(programs, files, ports),
            control_plane.scheduler(programs, files, ports),
        ):
            await self._supervisor.start(component)
            if component.name in {"etcd", "kube-apiserver"}:
                await self._supervisor.wait_until_ready(component.name, within=_READY_SECONDS)
        self._access = access = Access(
            (str(programs.cluster), "kubectl"), _helm(), files.kubeconfig, control_plane.CONTEXT
        )
        self._api = ApiServer(f"https://127.0.0.1:{ports.api_server}", files.pki / "ca.crt", files.pki / "admin.crt")
        fakes = Options(
            config=self._options.config,
            state=Path(),
            latency=self._options.latency,
            seconds_per_task=self._options.seconds_per_task,
        )
        self._nodes = LocalNodes(
            self._api,
            self._supervisor,
            self._printer,
            config=self._config,
            options=fakes,
            ports=ports,
            folder=files.folder / "pods",
            logs=files.folder / "logs",
            authority=files.pki / "ca.crt",
            count=self._options.nodes,
        )
        await self._nodes.register()
        return access

    async def emulator_host(self) -> str:
        """Returns this machine's own address: the pods are processes of it."""
        return "127.0.0.1"

    async def bring_keda(self) -> None:
        """Starts KEDA's operator and metrics server, with the rights of KEDA's own service account."""
        access, programs = self._access, self._programs
        if access is None or programs is None:
            raise ClusterError("the cluster has not been started")
        await keda.install_roles(access, programs.keda_config, self._files, self._ports)
        operator = control_plane.keda_operator(programs, self._files, self._ports)
        adapter = control_plane.keda_adapter(programs, self._files, self._ports)
        for component in (operator, adapter):
            await self._supervisor.start(component)
            await self._supervisor.wait_until_ready(component.name, within=_READY_SECONDS)
        await access.run(
            *("wait", "--for=condition=Available", f"apiservice/{_METRICS}", f"--timeout={_READY_SECONDS:.0f}s"),
            within=_READY_SECONDS + 5,
        )

    async def bring_images(self) -> None:
        """Does nothing: the pods are this folder's code."""

    async def run(self) -> None:
        """Plays the pods."""
        if self._nodes is not None:
            await self._nodes.run()

    async def end(self) -> None:
        """Closes the connections; the supervisor ends the processes."""
        if self._api is not None:
            await self._api.close()
        for name in ("etcd", "pods", "pki", "kubeconfigs"):
            await asyncio.to_thread(shutil.rmtree, self._files.folder / name, ignore_errors=True)
        self._files.kubeconfig.unlink(missing_ok=True)


class ForeignCluster:
    """A cluster with a container runtime: kind's, which is made and removed here, or one that is there."""

    gpus = False

    def __init__(self, options: ClusterOptions, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._made = False
        self._made_keda = False
        self._access: Access | None = None

    @property
    def _is_kind(self) -> bool:
        return self._options.provider is Provider.KIND

    async def start(self) -> Access:
        """Makes kind's cluster, unless it is there; asks the API server for its version."""
        if self._is_kind:
            for name in ("docker", "kind"):
                if shutil.which(name) is None:
                    raise ClusterError(f"--provider kind needs {name} on the PATH; or use --provider processes")
            if kind.NAME in (await run_program(kind.list_command())).split():
                self._say(f"kind's cluster {kind.NAME!r} is there already: it is used, and stays")
            else:
                self._say(f"kind makes a cluster (its node image is pulled once: {kind.NODE_IMAGE})")
                await run_program(kind.create_command(), text=json.dumps(kind.configuration()), within=_IMAGE_SECONDS)
                self._made = True
        found = shutil.which("kubectl")
        if found is None:
            raise ClusterError("kubectl is not on the PATH: https://kubernetes.io/docs/tasks/tools/")
        context = kind.CONTEXT if self._is_kind else self._options.context
        access = self._access = Access((found,), _helm(), context=context)
        version = json.loads(await access.run("version", "--output=json"))["serverVersion"]["gitVersion"]
        self._say(f"Kubernetes {version} at the context {context}")
        return access

    async def emulator_host(self) -> str:
        """Returns the address that was named, or that of kind's network."""
        if self._options.host_address:
            return self._options.host_address
        if not self._is_kind:
            raise ClusterError(
                f"--context {self._options.context} needs --host-address: an address of this machine that pods reach, "
                "for the emulator"
            )
        network = await run_program(kind.network_command()) if platform.system() == "Linux" else ""
        try:
            return kind.host_address(network)
        except ValueError as error:
            raise ClusterError(f"{error}; name an address of this machine by --host-address") from error

    async def bring_keda(self) -> None:
        """Installs KEDA by Helm."""
        if self._access is not None:
            self._made_keda = await keda.install_chart(self._access, self._say)

    async def bring_images(self) -> None:
        """Builds the images, and loads them into kind. Elsewhere they must be where the cluster pulls from."""
        if not self._is_kind:
            self._say(
                f"the cluster must know the images {releases.AGENT_IMAGE} and {releases.RUNTIME_IMAGE}, or those that "
                "extraValues names"
            )
            return
        root = str(PROJECT)
        images = (("agent/Dockerfile", releases.AGENT_IMAGE), ("fake_runtime/Dockerfile", releases.RUNTIME_IMAGE))
        for dockerfile, image in images:
            self._say(f"building {image}")
            await run_program(kind.build_command(dockerfile, image, root), within=_IMAGE_SECONDS)
        self._say("loading the images into kind")
        await run_program(kind.load_command(*(image for _, image in images)), within=_IMAGE_SECONDS)

    async def run(self) -> None:
        """Waits: the cluster runs by itself."""
        await asyncio.Event().wait()

    async def end(self) -> None:
        """Removes the cluster, or KEDA, if they were made here."""
        if self._made:
            self._say("removing kind's cluster")
            await run_program(kind.delete_command(), within=120.0)
        elif self._made_keda and self._access is not None:
            with contextlib.suppress(ClusterError):
                await self._access.uninstall("keda", control_plane.KEDA_NAMESPACE)


def _helm() -> str:
    try:
        return str(helm_binary())
    except HelmError as error:
        raise ClusterError(str(error)) from error
