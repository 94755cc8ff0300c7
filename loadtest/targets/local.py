"""A stack of plain processes: the one that runs, by its state file, or one that the load test starts for itself."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from contract.config import Config
from loadtest.planner.arrivals import FLOOD
from loadtest.scenario import LocalStack
from loadtest.target import Kind, Place, Target, TargetError

PROJECT: Final = Path(__file__).resolve().parents[2]
SINK_PICTURE: Final = "/samples/cat.png"
"""Where the callback sink of a stack has a picture for its agents."""

_START_WITHIN: Final = 600.0
"""Seconds; the very first start installs the stack's packages."""
_STOP_WITHIN: Final = 60.0
_LOWEST: Final = 20_000
_HIGHEST: Final = 32_000
"""Below the ports that systems give to clients."""


def state_folder() -> Path:
    """Returns where `nox -s up` keeps its state: `DARKROOM_HOME`, or `.darkroom/` in the project."""
    override = os.environ.get("DARKROOM_HOME")
    return Path(override).expanduser().resolve() if override else PROJECT / ".darkroom"


def read_state(path: Path) -> dict[str, Any] | None:
    """Returns the state of the stack that runs; None when there is none, or it is dead."""
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        os.kill(state["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state


def target_of(state: dict[str, Any], path: Path, config: Config, api_key: str) -> Target:
    """Returns a running stack as a target.

    Raises:
        TargetError: the state file lacks something.
    """
    try:
        return Target(
            kind=Kind.LOCAL,
            api=state["api"],
            config=config,
            place=Place(
                endpoint=state["localstack"],
                region=state["region"],
                callback_topic_arn=state["callback_topic_arn"],
                bucket=state["output_bucket"],
                queues=state["queues"],
            ),
            api_key=api_key,
            sample_image=f"{state['sink']}{SINK_PICTURE}",
            state=str(path),
        )
    except KeyError as error:
        raise TargetError(f"{path}: {error} is missing; it is no state file of this version of `nox -s up`") from error


class OwnStack:
    """A stack that is started for one load test and ended with it.

    Args:
        options: how.
        config: that of `options`, read.
        folder: of its state file and its log.
    """

    def __init__(self, options: LocalStack, config: Config, folder: Path) -> None:
        self._options = options
        self._ports = ports_needed(config, options.replicas)
        self.keys = {
            name: secrets.token_urlsafe(16)
            for name in [FLOOD, *(f"quiet-{number}" for number in range(1, options.keys))][: options.keys]
        }
        """Its API keys, by tenant."""
        self.state = folder / "up.json"
        self._log = folder / "stack.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def start(self, progress: Callable[[str], None]) -> dict[str, Any]:
        """Starts it and returns its state once all of it is ready.

        Raises:
            TargetError: it did not start; the text has its last words.
        """
        command = [*up_command(), *up_options(self._options, self.state, free_base(self._ports))]
        self._output = self._log.open("wb")
        environment = {**os.environ, "DARKROOM_FOLLOW_STARTER": "1", "COLUMNS": "160", "PYTHONDONTWRITEBYTECODE": ""}
        if self.keys:
            environment["API_KEYS"] = ",".join(f"{name}={key}" for name, key in self.keys.items())
        self._process = subprocess.Popen(
            command,
            cwd=PROJECT,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            # Ctrl-C ends the load first, so that the report is written, and then the stack.
            start_new_session=True,
        )
        began = time.monotonic()
        while (state := read_state(self.state)) is None:
            if self._process.poll() is not None:
                raise TargetError(f"the local stack did not start: {self._last_words()} (all of it: {self._log})")
            if time.monotonic() - began > _START_WITHIN:
                raise TargetError(f"the local stack is not ready after {_START_WITHIN:.0f} s; see {self._log}")
            progress(f"starting a stack of its own ({time.monotonic() - began:.0f} s)")
            time.sleep(0.25)
        return state

    def stop(self) -> None:
        """Ends it in order; at once if it takes too long."""
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(_STOP_WITHIN)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:])[:600] or "it said nothing"


def up_command() -> list[str]:
    """Returns the command that starts a stack: by this interpreter if it has the packages, otherwise by nox.

    Raises:
        TargetError: neither is possible.
    """
    if all(importlib.util.find_spec(name) for name in ("uvicorn", "aiobotocore", "uvloop", "aiohttp")):
        return [sys.executable, "-m", "local", "up"]
    uvx = shutil.which("uvx")
    if uvx is None:
        raise TargetError(
            "no stack runs, and to start one this needs uv on the PATH (https://docs.astral.sh/uv/); "
            "or start it yourself: `nox -s up`"
        )
    return [uvx, "nox", "-s", "up", "--"]


def up_options(options: LocalStack, state: Path, base: int) -> list[str]:
    """Returns the options of `up` for a stack whose ports count from `base`."""
    words = ["--config", str(options.config), "--state", str(state), "--port-base", str(base)]
    words += ["--latency", f"{options.latency:g}", "--replicas", str(options.replicas)]
    if options.seconds_per_task is not None:
        words += ["--seconds-per-task", f"{options.seconds_per_task:g}"]
    if options.autoscale:
        words += ["--autoscale", "--node-seconds", f"{options.node_seconds:g}"]
        words += ["--sync-seconds", f"{options.sync_seconds:g}"]
    return words


def ports_needed(config: Config, replicas: int) -> int:
    """Returns how many ports a stack takes: three, and two for each replica of each runtime.

    Raises:
        TargetError: they are more than there are.
    """
    runtimes = len(config.runtimes)
    needed, there = 3 + 2 * replicas * runtimes, _HIGHEST - _LOWEST
    if needed > there:
        raise TargetError(
            f"local.replicas: {replicas} replicas of each of {runtimes} runtimes take {needed} ports, and there are "
            f"{there}: ask for fewer, or name a --config with fewer runtimes"
        )
    return needed


def free_base(count: int) -> int:
    """Returns a port such that it and those after it, so many in all, are, as far as can be told, free; a random one.

    Raises:
        TargetError: there are not so many free ones in a row.
    """
    bases = range(_LOWEST, _HIGHEST - count + 1, count)
    for base in random.sample(bases, len(bases)):
        if all(_is_free(port) for port in range(base, base + count)):
            return base
    raise TargetError(f"no {count} free ports in a row were found between {_LOWEST} and {_HIGHEST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
