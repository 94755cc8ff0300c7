"""The commands of the project: `uvx nox -s up | client | test | loadtest | plan | deploy | …`; see `uvx nox -l`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYTHON = "3.13"
COMPONENTS = {
    # dependency group -> the file that is compiled from it
    "lint": "tests/requirements-lint.txt",
    "tests": "tests/requirements.txt",
    "api": "api/requirements.txt",
    "agent": "agent/requirements.txt",
    "webhooks": "webhooks/requirements.txt",
    "fake-runtime": "fake_runtime/requirements.txt",
    "local": "local/requirements.txt",
    "harness": "local/harness/requirements.txt",
    "cluster": "cluster/requirements.txt",
    "cloud": "cloud/requirements.txt",
    "cloud-tools": "cloud/requirements-tools.txt",
    "loadtest": "loadtest/requirements.txt",
    "localstack": "local/localstack/requirements.txt",
    "ministack": "local/ministack/requirements.txt",
}

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["test"]
nox.options.error_on_missing_interpreters = True


def _say_where_python_comes_from() -> None:
    """Says what to do where Python 3.13 is neither here nor can be fetched: nox only says that it is not found."""
    if shutil.which(f"python{PYTHON}") or f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:
        return
    uv = shutil.which("uv")
    if (
        uv
        and subprocess.run([uv, "python", "find", "--quiet", PYTHON], capture_output=True, check=False).returncode == 0
    ):
        return
    sys.stderr.write(
        f"Python {PYTHON} is not on this machine: uv fetches it now. Where it cannot, get it once by "
        f"`uv python install {PYTHON}` (with a network), or from your system or python.org, and start again.\n"
    )


_say_where_python_comes_from()


def _install(session: nox.Session, requirements: str) -> None:
    """Installs a requirements file into the session's environment, unless that very file is there already."""
    wanted = _digest(ROOT / requirements)
    stamp = Path(session.virtualenv.location) / ".requirements"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    session.log(f"installing {requirements} (first start, or it has changed)")
    # Compiled once, here: where PYTHONDONTWRITEBYTECODE is set, each process would compile it all at every start.
    compiled = ["--compile-bytecode"] if session.venv_backend == "uv" else []
    session.install("--require-hashes", *compiled, "-r", requirements, silent=True)
    stamp.write_text(wanted)


def _run_shared(session: nox.Session, component: str, *command: str, env: dict[str, str] | None = None) -> None:
    """Runs a command in the environment of a component, which several sessions share: the cloud's has 400 MB."""
    uv = shutil.which("uv")
    if uv is None:
        session.error(f"`nox -s {session.name}` needs uv on the PATH: https://docs.astral.sh/uv/")
    place = _shared(component)
    requirements = ROOT / COMPONENTS[component]
    scripts = place / ("Scripts" if sys.platform == "win32" else "bin")
    if not _is_installed(component):
        session.log(f"installing {COMPONENTS[component]} (first start, or it has changed)")
        session.run(uv, "venv", "--quiet", "--clear", f"--python={PYTHON}", str(place), external=True)
        # Not compiled: that takes ten times as long as to install it, and Python compiles what it imports.
        session.run(
            *(uv, "pip", "install", "--quiet", "--require-hashes"),
            *(f"--python={scripts / 'python'}", "-r", str(requirements)),
            external=True,
        )
        (place / ".requirements").write_text(_digest(requirements))
    session.run(
        str(scripts / "python"),
        *command,
        external=True,
        env={
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(place),
            "PYTHONDONTWRITEBYTECODE": "",
            **(env or {}),
        },
        interrupt_timeout=120,
        terminate_timeout=20,
    )


def _shared(component: str) -> Path:
    return ROOT / ".nox" / f"shared-{component}"


def _digest(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes()).hexdigest()


def _is_installed(component: str) -> bool:
    """Whether a shared environment has what its requirements file names now."""
    stamp = _shared(component) / ".requirements"
    return stamp.is_file() and stamp.read_text() == _digest(ROOT / COMPONENTS[component])


@nox.session(python=PYTHON)
def up(session: nox.Session) -> None:
    """Start the whole service on this machine without Docker; `-- --help` lists the options."""
    _install(session, COMPONENTS["harness"])
    # Ctrl-C goes to the whole foreground process group; the harness needs its time to end the stack in order.
    session.run(
        *("python", "-m", "local", "up", *session.posargs),
        env={"DARKROOM_FOLLOW_STARTER": "1", "PYTHONDONTWRITEBYTECODE": ""},
        interrupt_timeout=60,
        terminate_timeout=10,
    )


@nox.session(python=PYTHON)
def client(session: nox.Session) -> None:
    """Submit, watch, cancel and fetch tasks from the terminal; `-- --help` lists the commands."""
    _install(session, COMPONENTS["local"])
    session.run("python", "-m", "local.client", *session.posargs)


@nox.session(python=PYTHON)
def test(session: nox.Session) -> None:
    """Run every test that needs nothing but this machine; arguments after `--` go to pytest."""
    _install(session, COMPONENTS["tests"])
    for emulator in ("localstack", "ministack"):  # what differs between them is asked of both
        session.run("python", "-m", "local", "emulator", "install", emulator)
    # By file, because stacks of processes are shared within one; xdist 3.8's groups are lost on pytest 9.2.
    # At most four: each has an emulator, and a stack or two of processes beside it.
    shared = ["-n", "logical", "--maxprocesses", "4", "--dist", "loadfile"]
    session.run("python", "-m", "pytest", *(session.posargs or shared))


@nox.session(python=PYTHON)
def chaos(session: nox.Session) -> None:
    """Let everything fail at random for minutes, and check that nothing was lost; `-- --help` lists the options."""
    _install(session, COMPONENTS["tests"])
    session.run("python", "-m", "local", "emulator", "install", os.environ.get("EMULATOR", "localstack"))
    # Ctrl-C ends the faults; what was under way is then waited for, and judged.
    session.run("python", "-m", "tests.chaos", *session.posargs, interrupt_timeout=180, terminate_timeout=20)


@nox.session(python=PYTHON)
def attack(session: nox.Session) -> None:
    """Send hostile requests to a stack of its own, and check that nothing breaks, stalls or stays; see `-- --help`."""
    _install(session, COMPONENTS["tests"])
    session.run("python", "-m", "local", "emulator", "install", os.environ.get("EMULATOR", "localstack"))
    session.run("python", "-m", "tests.attack", *session.posargs, interrupt_timeout=30, terminate_timeout=10)


@nox.session(python=PYTHON)
def bench(session: nox.Session) -> None:
    """Measure how little of the GPU the agent wastes, and how fast the API is; `-- --help` lists the options."""
    _install(session, COMPONENTS["tests"])
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """Check format, style and types."""
    _install(session, COMPONENTS["lint"])
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("python", "-m", "tests.support.bundled", "--check")
    session.run("mypy")


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Compile the pinned, hashed requirements files from pyproject.toml; `-- --upgrade` takes newer versions."""
    uv = shutil.which("uv")
    if uv is None:
        session.error("`nox -s lock` needs uv on the PATH: https://docs.astral.sh/uv/")
    constraint: list[str] = []
    for group, path in COMPONENTS.items():
        # One resolution for everybody but the emulators: what the tests saw is what the images hold.
        session.run(
            uv,
            "pip",
            "compile",
            f"--group=pyproject.toml:{group}",
            "--universal",
            "--python-version=3.13",
            "--generate-hashes",
            "--no-emit-index-url",
            "--no-emit-find-links",
            "--custom-compile-command=uvx nox -s lock",
            "--quiet",
            f"--output-file={path}",
            *([] if group in {"localstack", "ministack"} else constraint),
            *session.posargs,
            external=True,
        )
        constraint = constraint or [f"--constraint={COMPONENTS['lint']}"]
        session.log(f"{path}: {sum(1 for line in (ROOT / path).read_text().splitlines() if '==' in line)} packages")


@nox.session(python=PYTHON)
def compose(session: nox.Session) -> None:
    """Build the images, start them with Docker Compose, send the seeds' requests through them, take all down."""
    _install(session, COMPONENTS["tests"])
    session.run("python", "-m", "pytest", "tests/compose", "-m", "compose", "-p", "no:xdist", "-s", *session.posargs)


@nox.session(python=PYTHON)
def conformance(session: nox.Session) -> None:
    """Ask a runtime server whether it behaves as its kind does: `-- --type comfyui --url http://…`; see `-- --help`."""
    _install(session, COMPONENTS["tests"])
    # Time to end the server that --start has started.
    session.run("python", "-m", "tests.conformance", *session.posargs, interrupt_timeout=40, terminate_timeout=5)


@nox.session(venv_backend="none", default=False)
def comfyui_constraints(session: nox.Session) -> None:
    """Compile the packages of the ComfyUI image, pinned and hashed: `-- ../ComfyUI [--exclude-newer DAY]`."""
    uv = shutil.which("uv")
    if uv is None or not session.posargs:
        session.error("`nox -s comfyui_constraints -- ../ComfyUI` needs a folder of ComfyUI, and uv on the PATH")
    folder, *options = session.posargs
    source = Path(folder)
    if not (source / "requirements.txt").is_file() or not (source / "comfyui_version.py").is_file():
        session.error(f"{folder} is no checkout of ComfyUI: it has no requirements.txt and comfyui_version.py")
    version = (source / "comfyui_version.py").read_text().rpartition("=")[2].strip().strip("\"'")
    day = (
        options[options.index("--exclude-newer") + 1]
        if "--exclude-newer" in options
        else f"{datetime.now(UTC):%Y-%m-%d}"
    )
    target = ROOT / "local/runtimes/comfyui/constraints.txt"
    compiled = session.run(
        uv,
        "pip",
        "compile",
        str(source / "requirements.txt"),
        "--python-version=3.13",
        "--python-platform=x86_64-manylinux_2_28",
        "--only-binary=:all:",
        "--generate-hashes",
        "--no-annotate",
        "--no-header",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--quiet",
        *options,
        external=True,
        silent=True,
    )
    pins = compiled if isinstance(compiled, str) else ""
    target.write_text(
        f"# What ComfyUI {version} asks for, as it stood on {day}. Do not edit; another version or day:\n"
        f"#   uvx nox -s comfyui_constraints -- ../ComfyUI --exclude-newer {day}\n{pins}"
    )
    session.log(f"{target.relative_to(ROOT)}: {pins.count('==')} packages")


@nox.session(python=PYTHON)
def record(session: nox.Session) -> None:
    """Record the nodes of a ComfyUI, for the fake to play back: `-- --url http://127.0.0.1:8188`."""
    _install(session, COMPONENTS["fake-runtime"])
    session.run("python", "-m", "fake_runtime.comfyui.record", *session.posargs)


@nox.session(python=PYTHON)
def models(session: nox.Session) -> None:
    """Put checkpoints, LoRAs and VAEs into the model bucket, list and check them; `-- --help` lists the commands."""
    _install(session, COMPONENTS["local"])
    session.run("python", "-m", "local", "models", *session.posargs, interrupt_timeout=30, terminate_timeout=5)


@nox.session(venv_backend="none", default=False)
def loadtest(session: nox.Session) -> None:
    """Put load on a stack and judge how it scales: `-- --shape spike --target local`; see `-- --help`."""
    _run_shared(session, "loadtest", "-m", "loadtest", *session.posargs)


@nox.session(python=PYTHON, default=False)
def cluster(session: nox.Session) -> None:
    """Run the chart on a real Kubernetes with real KEDA: `-- up | status | load | down`; see `-- up --help`."""
    if session.posargs[:1] == ["load"]:
        # A cluster is observed and judged by the load test, with the load test's own options.
        _run_shared(session, "loadtest", "-m", "loadtest", "--target", "kubernetes", *session.posargs[1:])
        return
    _install(session, COMPONENTS["cluster"])
    # Ctrl-C goes to the whole foreground process group; pods need their time to end in order.
    session.run(
        *("python", "-m", "cluster", *session.posargs),
        env={"PYTHONDONTWRITEBYTECODE": ""},
        interrupt_timeout=120,
        terminate_timeout=20,
    )


@nox.session(name="cluster-test", python=PYTHON, default=False)
def cluster_test(session: nox.Session) -> None:
    """Ask a real API server and real KEDA about every example and promise; builds them once (10 minutes or more)."""
    _install(session, COMPONENTS["tests"])
    session.run("python", "-m", "local", "emulator", "install", os.environ.get("EMULATOR", "localstack"))
    session.run("python", "-m", "cluster", "build", interrupt_timeout=30, terminate_timeout=5)
    session.run("python", "-m", "pytest", "tests/cluster", "-m", "cluster", "-p", "no:xdist", *session.posargs)


@nox.session(venv_backend="none", default=False)
def plan(session: nox.Session) -> None:
    """Predict waiting, GPU use and the monthly bill for a load: `-- --arrivals day.csv …`; see `-- --help`."""
    _run_shared(session, "loadtest", "-m", "loadtest.planner", *session.posargs)


WITHOUT_CDK = {"behind", "destroy", "image-cache", "redrive", "smoke", "status"}
"""Commands of `python -m cloud` that neither synthesize nor call Helm."""


def _cloud_environment(command: str, arguments: list[str]) -> str:
    """Returns the component whose environment runs a command: the one with the CDK only where it is there or needed."""
    light = command in WITHOUT_CDK or not {"-h", "--help"}.isdisjoint(arguments)
    return "cloud-tools" if light and not _is_installed("cloud") else "cloud"


def _cloud_session(command: str, says: str) -> None:
    """Makes the nox session of one command of `python -m cloud`."""

    def run(session: nox.Session) -> None:
        _run_shared(session, _cloud_environment(command, session.posargs), "-m", "cloud", command, *session.posargs)

    run.__doc__ = f"{says}; `-- --help` lists the options."
    nox.session(venv_backend="none", default=False, name=command)(run)


for _command, _says in {
    "deploy": "Take the images of this folder to EKS, from nothing to the first image, and go on after a failure",
    "destroy": "Remove a deployment; its two buckets stay",
    "image-cache": "Make the EBS snapshot that holds the runtimes' images for Bottlerocket nodes",
    "smoke": "Send the reference's requests to a deployment, or to a URL, and wait for the images",
    "canary": "Try another image on a share of a runtime's replicas; rolled back by itself when it does worse",
    "promote": "Make the canary's image that of all replicas",
    "rollback": "Take the canary away",
    "status": "Show runtimes, replicas, nodes, queue depths and dead letters of a deployment",
    "redrive": "Send dead letters back to their queue, by reason",
    "behind": "List the pinned versions of charts, nodes and tools that have a newer one",
    "synth": "Write the templates and rendered charts of a config, with what the fixed part costs",
}.items():
    _cloud_session(_command, _says)


if __name__ == "__main__":
    sys.exit("this file is run by nox: `uvx nox -l`")
