"""Real servers in the place of fake runtimes: `up -- --runtime NAME=URL`."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from contract.config import Config, ConfigError

_ANSWERS_WITHIN: Final = 3.0
"""Seconds to reach a server."""


def parse_real(values: Iterable[str]) -> dict[str, str]:
    """Reads what the command line says; returns the addresses by the runtimes' names.

    Raises:
        ConfigError: one of them is no name and address, or a name is there twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, url = value.partition("=")
        if not equals or not name or not _is_address(url):
            raise ConfigError(
                f"--runtime must be a runtime's name and the address of its server, such as "
                f"comfyruntime=http://127.0.0.1:8188; found {name}{equals}{shown(url)}"
            )
        if name in found:
            raise ConfigError(f"--runtime names {name!r} twice; one server has one agent")
        found[name] = url.rstrip("/")
    return found


def check_real(real: Mapping[str, str], config: Config, *, replicas: int) -> None:
    """Checks that the runtimes are there, and that their servers listen.

    Args:
        real: addresses by name.
        config: of the deployment.
        replicas: agents of each runtime.

    Raises:
        ConfigError: one is not; the text says what to do.
    """
    names = [runtime.name for runtime in config.runtimes]
    for name, url in real.items():
        if name not in names:
            raise ConfigError(f"--runtime: there is no runtime {name!r} in config.yaml; there are {', '.join(names)}")
        if replicas > 1:
            raise ConfigError(f"--runtime: one agent alone drives a server, so {name!r} can have no replicas here")
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), _ANSWERS_WITHIN).close()
        except OSError as error:
            raise ConfigError(f"--runtime: nobody listens at {shown(url)} ({name}); start that server first") from error


def shown(url: str) -> str:
    """Returns an address as it may be printed: without user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
