"""Runs other programs: their output is shown as it comes, and quoted when they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cloud.aws import ToolError
from cloud.reporter import Reporter


def run(
    command: Sequence[str],
    *,
    report: Reporter,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Runs a program to its end, and returns what it printed.

    Args:
        command: the program and its arguments; a secret must not be among them.
        report: shown each line.
        cwd: its folder.
        environment: in addition to this process's own.
        stdin: given to it; the place for a secret.

    Raises:
        ToolError: it cannot be started, or ends with another status than 0; the text has its last lines.
    """
    title = " ".join(command[:3])
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise ToolError(f"{command[0]} cannot be started: {error.strerror}") from error
    with process:
        try:
            if process.stdin is not None:
                # One that ends without having read it says why by its output and status.
                with suppress(BrokenPipeError):
                    process.stdin.write(stdin or "")
                with suppress(BrokenPipeError):
                    process.stdin.close()
            for line in process.stdout or ():
                if text := line.rstrip():
                    lines.append(text)
                    report.detail(text)
        except BaseException:
            process.terminate()  # ours to end, and to wait for
            raise
    if process.returncode:
        last = "\n".join(deque(lines, maxlen=15))
        raise ToolError(f"`{title} …` ended with status {process.returncode}:\n{last}")
    return "\n".join(lines)


def missing(programs: Sequence[str]) -> list[str]:
    """Returns those that are not on the PATH."""
    return [program for program in programs if shutil.which(program) is None]
