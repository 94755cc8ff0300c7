"""Makes the virtual environment that an emulator runs in; its pins conflict with everybody else's."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from local.emulators.kinds import LOCALSTACK, Kind

PYTHON_VERSION: Final = "3.13"
INSTALL_TIMEOUT: Final = 900.0
"""Seconds; about 80 packages over a slow line."""

_COMPLETE: Final = ".complete"


class EnvironmentFailedError(Exception):
    """The environment cannot be made; the text says what is missing and what to do."""


def ensure_environment(
    home: Path,
    *,
    say: Callable[[str], None],
    kind: Kind = LOCALSTACK,
    requirements: Path | None = None,
    timeout: float = INSTALL_TIMEOUT,
) -> Path:
    """Returns the Python of an emulator's environment below `home`; makes it when there is none for these pins.

    Many processes may call this at once: one makes it, the others wait. An environment is never changed once it is
    complete; other pins get another one, and what is no longer wanted is deleted.

    Args:
        home: the state folder, such as `.darkroom/`.
        say: is told in a line what takes long.
        kind: the emulator.
        requirements: the pinned, hashed list; the emulator's own.
        timeout: seconds that the installation may take.

    Raises:
        EnvironmentFailedError: no Python 3.13, a package cannot be installed, or `home` cannot be written to.
    """
    requirements = requirements or kind.requirements
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = home / kind.name / f"venv-{wanted}"
    python = folder / "bin" / "python"
    if (folder / _COMPLETE).is_file() and python.exists():
        return python
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent / "venv.lock", kind, say):
            if not ((folder / _COMPLETE).is_file() and python.exists()):
                for stale in folder.parent.glob("venv-*"):
                    shutil.rmtree(stale, ignore_errors=True)
                say(f"preparing {kind.title} (first start, or its pins have changed; half a minute at most) …")
                _make(folder, kind, requirements, timeout)
                (folder / _COMPLETE).touch()
                say(f"{kind.title} is installed")
    except OSError as error:
        place = error.filename or folder.parent
        raise EnvironmentFailedError(
            f"{kind.title} cannot be installed: {place} cannot be written ({error.strerror}): "
            "make it writable, or name another folder with DARKROOM_HOME"
        ) from error
    return python


def _make(folder: Path, kind: Kind, requirements: Path, timeout: float) -> None:
    base = find_python(kind)
    uv = _working_uv()
    if uv is not None:
        _run([uv, "venv", "--no-project", "--python", base, str(folder)], kind, timeout)
        _run(
            [
                uv,
                "pip",
                "install",
                "--python",
                str(folder / "bin" / "python"),
                "--require-hashes",
                # LocalStack, for one, imports some thousand modules: compiled now, the first start is not the slow one.
                "--compile-bytecode",
                "-r",
                str(requirements),
            ],
            kind,
            timeout,
        )
    else:
        _run([base, "-m", "venv", str(folder)], kind, timeout)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "--quiet", "-r", str(requirements)], kind, timeout)


def find_python(kind: Kind = LOCALSTACK) -> str:
    """Returns the command of a Python 3.13.

    Raises:
        EnvironmentFailedError: there is none.
    """
    major, minor = (int(part) for part in PYTHON_VERSION.split("."))
    if sys.version_info[:2] == (major, minor):
        return sys.executable
    found = shutil.which(f"python{PYTHON_VERSION}")
    if found is None:
        raise EnvironmentFailedError(
            f"{kind.title} needs Python {PYTHON_VERSION}, and there is no python{PYTHON_VERSION} on the PATH "
            f"(this is Python {sys.version_info.major}.{sys.version_info.minor}): install it, "
            f"for example with `uv python install {PYTHON_VERSION}`"
        )
    return found


def _working_uv() -> str | None:
    """Returns uv's command; None when it is not there, or is a shim that leads nowhere."""
    uv = shutil.which("uv")
    if uv is None:
        return None
    try:
        subprocess.run([uv, "--version"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return uv


def _run(command: list[str], kind: Kind, timeout: float) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout)
    except subprocess.CalledProcessError as error:
        reason = "\n".join((error.stderr or error.stdout).strip().splitlines()[-8:])
        raise EnvironmentFailedError(
            f"{kind.title} cannot be installed: {' '.join(command[:3])} says:\n{reason}"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFailedError(f"{kind.title} cannot be installed: {error}") from error


@contextmanager
def _locked(path: Path, kind: Kind, say: Callable[[str], None]) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that prepares {kind.title} …")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
