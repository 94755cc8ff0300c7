"""Starts, awaits and ends one process of an emulator that lives no longer than this one."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from local.emulators.kinds import LOCALSTACK, Kind

START_TIMEOUT: Final = 60.0
"""Seconds; two are usual."""
STOP_TIMEOUT: Final = 5.0
"""Seconds until SIGKILL."""

_POLL: Final = 0.05
_SERVICES: Final = ("s3", "sns", "sqs")


class EmulatorFailedError(Exception):
    """An emulator did not start or has died; the text says why and names its log."""


class Emulator:
    """One emulator on 127.0.0.1, its data in memory, unless they are kept.

    Args:
        python: the Python of its environment (`ensure_environment`).
        folder: of its log (such as `localstack.log`) and its temporary files.
        port: to listen on; 0 takes a free one.
        settings: the emulator's own, beside those that it always gets.
        keep: the file in which its state outlives it; None: it does not.
        kind: which emulator.
    """

    def __init__(
        self,
        *,
        python: Path,
        folder: Path,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        keep: Path | None = None,
        kind: Kind = LOCALSTACK,
    ) -> None:
        self.kind = kind
        self.port = port
        self._keep = () if keep is None else ("--keep", str(keep))
        self.log = folder / f"{kind.name}.log"
        self._python = python
        self._folder = folder
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The URL of every service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            EmulatorFailedError: it has not been started.
        """
        if self._process is None:
            raise EmulatorFailedError(f"{self.kind.title} has not been started")
        return self._process.pid

    def start(self) -> None:
        """Starts the process; does not wait until it is ready.

        Raises:
            OSError: the port is in use (`EADDRINUSE`).
        """
        # The socket is bound here and handed down: no other process can take the port in between.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(1024)
            self.port = listener.getsockname()[1]
            self._folder.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [self._python, "-I", self.kind.serve, "--leash", "--fd", str(listener.fileno()), *self._keep],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=serve_environment(self._python, self._folder / "root") | self._settings,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,
                )

    def is_alive(self) -> bool:
        """Returns whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def is_ready(self) -> bool:
        """Returns whether every service answers.

        Raises:
            EmulatorFailedError: the process is dead.
        """
        if not self.is_alive():
            raise EmulatorFailedError(
                f"{self.kind.title} has ended; its last words: {self.last_words()} (log: {self.log})"
            )
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", self.kind.health_path)
            services = json.loads(connection.getresponse().read())["services"]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return False
        finally:
            connection.close()
        return all(services.get(name) in {"running", "available"} for name in _SERVICES)

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> Self:
        """Returns itself once every service answers.

        Raises:
            EmulatorFailedError: it has died, or did not answer within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise EmulatorFailedError(f"{self.kind.title} does not answer after {timeout:.0f} s (log: {self.log})")
            time.sleep(_POLL)
        return self

    def wait(self) -> int:
        """Returns its exit status once it has ended."""
        if self._process is None:
            raise EmulatorFailedError(f"{self.kind.title} has not been started")
        return self._process.wait()

    def stop(self) -> None:
        """Ends the process and deletes its temporary files; the log stays."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()  # lets the leash go
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(self._folder / "root", ignore_errors=True)

    def last_words(self) -> str:
        """Returns the last line of the log that is not empty."""
        try:
            lines = self.log.read_text(errors="replace").split("\n")
        except OSError:
            return "none"
        return next((line.strip() for line in reversed(lines) if line.strip()), "none")


def serve_environment(python: Path, folder: Path) -> dict[str, str]:
    """Returns an emulator's environment: nothing of the caller's but what a process needs, and `LS_LOG`.

    Args:
        python: the Python of its environment (`ensure_environment`).
        folder: that it may write to.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "LS_LOG") if name in os.environ}
    return kept | {
        "FILESYSTEM_ROOT": str(folder),
        "CONFIG_DIR": str(folder / "config"),
        # The plugin index is kept beside the environment: with it, LocalStack starts faster.
        "HOME": str(python.parent.parent),
    }
