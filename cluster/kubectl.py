"""Talks to a cluster by kubectl and Helm: all that is needed to know of it is its kubeconfig."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_TIMEOUT: Final = 60.0


class ClusterError(Exception):
    """A cluster that does not do what it is told; the text has the program's own words."""


@dataclass(frozen=True)
class Access:
    """How a cluster is reached."""

    kubectl: tuple[str, ...]
    """The command, such as `/usr/bin/kubectl`."""
    helm: str
    kubeconfig: Path | None = None
    """None: the user's own."""
    context: str = ""
    """Empty: the current one."""

    async def run(self, *arguments: str, text: str = "", within: float = _TIMEOUT) -> str:
        """Returns what kubectl prints.

        Args:
            arguments: of kubectl.
            text: its standard input.
            within: seconds.

        Raises:
            ClusterError: it fails, or takes too long.
        """
        own = ("--context", self.context) if self.context else ()
        return await run_program((*self.kubectl, *own, *arguments), self.environment(), text=text, within=within)

    async def get(self, *arguments: str) -> Any:
        """Returns what `kubectl get` finds, as an object; None when there is no such thing.

        Raises:
            ClusterError: as `run`.
        """
        found = await self.run("get", *arguments, "--ignore-not-found", "--output=json")
        return json.loads(found) if found.strip() else None

    async def items(self, *arguments: str) -> list[Any]:
        """Returns what `kubectl get` lists.

        Raises:
            ClusterError: as `run`.
        """
        found = await self.get(*arguments)
        listed: list[Any] = [] if found is None else found["items"]
        return listed

    async def apply(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Makes objects, or changes them, by server-side apply with strict field validation.

        Raises:
            ClusterError: the API server refuses one.
        """
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        options = ("--server-side", "--force-conflicts", "--validate=strict", "--field-manager=darkroom")
        await self.run("apply", *options, "--filename=-", text=json.dumps(document))

    async def install(self, release: str, chart: str, *options: str, values: Mapping[str, Any], within: float) -> str:
        """Installs or upgrades a Helm release.

        Raises:
            ClusterError: Helm or the API server refuses it.
        """
        own = ("--kube-context", self.context) if self.context else ()
        command = (self.helm, "upgrade", "--install", release, chart, *options, "--values", "-", *own)
        return await run_program(command, self.environment(), text=json.dumps(values), within=within)

    async def uninstall(self, release: str, namespace: str) -> None:
        """Removes a Helm release, if it is there.

        Raises:
            ClusterError: Helm fails.
        """
        own = ("--kube-context", self.context) if self.context else ()
        options = ("--namespace", namespace, "--ignore-not-found", "--wait", "--timeout", "120s")
        await run_program((self.helm, "uninstall", release, *options, *own), self.environment(), within=150.0)

    def environment(self) -> dict[str, str]:
        """Returns the environment of programs that are to find the cluster."""
        own = {} if self.kubeconfig is None else {"KUBECONFIG": str(self.kubeconfig)}
        return {**os.environ, **own}


async def run_program(
    command: Iterable[str], environment: Mapping[str, str] | None = None, *, text: str = "", within: float = _TIMEOUT
) -> str:
    """Returns a program's standard output.

    Raises:
        ClusterError: it is not there, fails, or takes longer than `within` seconds.
    """
    words = tuple(command)
    shown = f"`{Path(words[0]).name} {' '.join(words[1:4])}`"
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            env=None if environment is None else dict(environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ClusterError(f"{words[0]} does not start: {error.strerror}") from error
    try:
        async with asyncio.timeout(within):
            output, errors = await process.communicate(text.encode())
    except TimeoutError as error:
        raise ClusterError(f"{shown} took more than {within:.0f} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        said = (errors or output).decode(errors="replace").strip()
        raise ClusterError(f"{shown} fails: {said[-1500:]}")
    return output.decode(errors="replace")
