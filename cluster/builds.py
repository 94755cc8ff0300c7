"""Builds the programs of a cluster from pinned Go modules, once, into the user's cache."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KUBERNETES: Final = "v1.35.4"
"""As in modules/kubernetes/go.mod, which pins etcd v3.6.5 beside it."""
ETCD: Final = "v3.6.5"
KEDA: Final = "v2.20.2"
"""Seen with that Kubernetes. Both may be a minor version behind those of `cloud/versions.py`, which lead."""
KEDA_MODULE: Final = "github.com/kedacore/keda/v2"

MODULE: Final = Path(__file__).parent / "modules" / "kubernetes"

_VERSION: Final = "k8s.io/component-base/version"
LINK: Final = " ".join(
    (
        *("-s", "-w", f"-X {_VERSION}.gitVersion={KUBERNETES}"),
        # Without its version an API server calls itself v0.0.0-master, which no chart takes.
        *(
            f"-X {_VERSION}.gitMajor={KUBERNETES[1:].split('.')[0]}",
            f"-X {_VERSION}.gitMinor={KUBERNETES.split('.')[1]}",
        ),
    )
)
"""What the linker is told."""

_ADAPTER: Final = Path("cmd") / "adapter" / "main.go"
_EVERYWHERE: Final = 'fmt.Sprintf(":%v", metricsAPIServerPort)'
_HERE: Final = 'fmt.Sprintf("127.0.0.1:%v", metricsAPIServerPort)'
"""KEDA's metrics server shows its own metrics on every address of the machine, and has no option for that."""

_SAY_EVERY: Final = 5.0
"""Seconds between two lines of progress."""


class BuildError(Exception):
    """A program that cannot be built; one line that says why, and the way out."""


@dataclass(frozen=True)
class Programs:
    """What a cluster is run with."""

    cluster: Path
    """etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl, by the first argument."""
    keda_operator: Path
    keda_adapter: Path
    keda_config: Path
    """The folder `config` of KEDA's module: its CRDs and roles."""


def cache_folder() -> Path:
    """Returns where the programs are kept: about 300 MB."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkroom" / "cluster"


def build_key() -> str:
    """Returns what names a set of programs: it changes with every pin and every line of ours."""
    digest = hashlib.sha256(f"{KEDA} {LINK} {_HERE}".encode())
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((MODULE / name).read_bytes())
    return f"k8s-{KUBERNETES}-keda-{KEDA}-{digest.hexdigest()[:10]}"


async def ensure_programs(say: Callable[[str], None], cache: Path | None = None) -> Programs:
    """Returns the programs; builds what is not in the cache.

    Args:
        say: gets a line every five seconds while something is built.
        cache: the folder that keeps them.

    Raises:
        BuildError: Go is not there, or a build fails.
    """
    folder = (cache or cache_folder()) / build_key()
    wanted = Programs(folder / "cluster", folder / "keda-operator", folder / "keda-adapter", folder / "keda-config")
    if all(path.exists() for path in (wanted.cluster, wanted.keda_operator, wanted.keda_adapter, wanted.keda_config)):
        return wanted
    go = shutil.which("go")
    if go is None:
        raise BuildError(
            "the processes provider builds Kubernetes and KEDA with Go 1.26 or newer, which is not on the PATH: "
            "install it (https://go.dev/dl/), or name a cluster that is there: --context NAME"
        )
    folder.mkdir(parents=True, exist_ok=True)
    say(f"building Kubernetes {KUBERNETES}, etcd {ETCD} and KEDA {KEDA} (once, into {folder}: 10 minutes or more)")
    if not wanted.cluster.exists():
        await _build(go, MODULE, ".", wanted.cluster, what=f"Kubernetes {KUBERNETES}", say=say)
    keda = folder / f"keda.{os.getpid()}"
    try:
        await asyncio.to_thread(_copy_on_loopback, await _module(go, say), keda)
        for package, target in (("./cmd/operator", wanted.keda_operator), ("./cmd/adapter", wanted.keda_adapter)):
            if not target.exists():
                await _build(go, keda, package, target, what=f"KEDA's {package.rpartition('/')[2]} {KEDA}", say=say)
        if not wanted.keda_config.exists():
            (keda / "config").rename(wanted.keda_config)
    finally:
        await asyncio.to_thread(shutil.rmtree, keda, ignore_errors=True)
    return wanted


def _copy_on_loopback(module: Path, copy: Path) -> None:
    """Copies KEDA's module, with a metrics server that listens on 127.0.0.1 alone.

    Go's own copy is read-only, may be cleaned, and must not be overlaid.
    """
    source = (module / _ADAPTER).read_text(encoding="utf-8")
    if _EVERYWHERE not in source:
        raise BuildError(f"KEDA {KEDA} listens in another way than was known: see {_ADAPTER}, and cluster/builds.py")
    shutil.copytree(module, copy, copy_function=shutil.copyfile)
    (copy / _ADAPTER).write_text(source.replace(_EVERYWHERE, _HERE), encoding="utf-8")


async def _module(go: str, say: Callable[[str], None]) -> Path:
    """Returns the folder of KEDA's module in Go's cache; downloads it."""
    command = (go, "mod", "download", "-json", f"{KEDA_MODULE}@{KEDA}")
    output = await _watched(command, MODULE, f"downloading KEDA {KEDA}", say)
    try:
        return Path(json.loads(output)["Dir"])
    except (ValueError, KeyError) as error:
        raise BuildError(f"`{' '.join(command)}` says no folder: {output[-300:]}") from error


async def _build(go: str, module: Path, package: str, target: Path, *, what: str, say: Callable[[str], None]) -> None:
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    command = (go, "build", "-v", f"-ldflags={LINK}", "-o", str(draft), package)
    try:
        await _watched(command, module, f"building {what}", say)
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)


async def _watched(command: tuple[str, ...], folder: Path, what: str, say: Callable[[str], None]) -> str:
    """Runs a command of Go's, says how far it is, and returns its output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    began, lines = time.monotonic(), list[str]()
    if process.stdout is None or process.stderr is None:  # never: they are pipes
        raise BuildError(f"{command[0]} has no output")
    output = asyncio.create_task(process.stdout.read())
    reading = asyncio.create_task(_lines(process.stderr, lines))
    try:
        while not reading.done():
            await asyncio.wait({reading}, timeout=_SAY_EVERY)
            if not reading.done():
                say(f"{what}: {len(lines)} packages, {time.monotonic() - began:.0f} s")
        text = (await output).decode(errors="replace")
        status = await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # on Ctrl-C: the compilers as well
        await process.wait()
    if status:
        said = " / ".join(line for line in lines[-6:] if line.strip())
        raise BuildError(f"{what} failed: `{' '.join(command[:3])} …` in {folder} says: {said or text[-300:]}")
    return text


async def _lines(stream: asyncio.StreamReader, lines: list[str]) -> None:
    while line := await stream.readline():
        lines.append(line.decode(errors="replace").rstrip())
