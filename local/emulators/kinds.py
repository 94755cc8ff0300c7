"""The emulators that can be started: their pins, their launcher, and how each says that it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final


class EmulatorName(StrEnum):
    """What `--emulator` and `EMULATOR` take."""

    LOCALSTACK = "localstack"
    MINISTACK = "ministack"


@dataclass(frozen=True)
class Kind:
    """One emulator."""

    name: EmulatorName
    title: str
    """As its makers write it."""
    keeps: bool
    """Whether its launcher can keep its state in a file."""

    @property
    def folder(self) -> Path:
        """Where its pins and its launcher stand."""
        return Path(__file__).parents[1] / self.name

    @property
    def requirements(self) -> Path:
        """The pinned, hashed list of its packages; they conflict with everybody else's."""
        return self.folder / "requirements.txt"

    @property
    def serve(self) -> Path:
        """Its launcher, a script for its own environment."""
        return self.folder / "serve.py"

    @property
    def health_path(self) -> str:
        """A page that answers, with a table of services, once every service does."""
        return f"/_{self.name}/health"


LOCALSTACK: Final = Kind(EmulatorName.LOCALSTACK, "LocalStack", keeps=True)
MINISTACK: Final = Kind(EmulatorName.MINISTACK, "MiniStack", keeps=False)

KINDS: Final = {kind.name: kind for kind in (LOCALSTACK, MINISTACK)}


def chosen(environment: Mapping[str, str]) -> Kind:
    """Returns the emulator that the variable `EMULATOR` names; LocalStack where it names none.

    Raises:
        ValueError: there is none of that name.
    """
    return KINDS[EmulatorName(environment.get("EMULATOR") or EmulatorName.LOCALSTACK)]
