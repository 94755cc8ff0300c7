"""Finds where the services of the Compose stack are published on this machine."""

from __future__ import annotations

import subprocess
from typing import Final

from loadtest.target import TargetError
from loadtest.targets.local import PROJECT

_TIMEOUT: Final = 20.0
"""Seconds."""


def published(service: str, port: int, option: str) -> str:
    """Returns the address of a port of a service, as `docker compose port` knows it.

    Raises:
        TargetError: the service does not run, or Docker cannot be asked; `option` would name the address.
    """
    command = ["docker", "compose", "port", service, str(port)]
    try:
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
        return f"http://{done.stdout.split()[0]}"
    except FileNotFoundError as error:
        raise TargetError(
            f"docker is not on the PATH, where the Compose stack is looked for; or name {option}"
        ) from error
    except (subprocess.SubprocessError, IndexError) as error:
        words = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise TargetError(
            f"no Compose stack was found ({words[-1][:200]}): "
            f"start it with `docker compose up --wait`, or name {option}"
        ) from error
