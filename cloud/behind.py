"""What of the pinned versions has a newer one: the tags of its authors' repository say so."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from cloud import versions

_GITHUB: Final = "https://github.com"
_RELEASE: Final = re.compile(r"refs/tags/(?:aws-cdk@)?v?(\d+)\.(\d+)\.(\d+)$", re.ASCII | re.MULTILINE)
"""No candidates: those have a suffix."""

_TIMEOUT: Final = 60


@dataclass(frozen=True)
class Pin:
    """One pinned version, and where its authors tag theirs."""

    name: str
    version: str
    repository: str
    parts: int = 3
    """How many of its numbers are pinned."""


def pins(cdk: str) -> list[Pin]:
    """Returns what `cloud/versions.py` pins, and the CDK's command line.

    Args:
        cdk: as npx takes it, such as `aws-cdk@2.1148.1`.
    """

    def last(reference: str, mark: str) -> str:
        return reference.rpartition(mark)[2].removeprefix("v")

    return [
        Pin("Kubernetes", versions.KUBERNETES, f"{_GITHUB}/kubernetes/kubernetes", parts=2),
        Pin("Bottlerocket", last(versions.BOTTLEROCKET, "@"), f"{_GITHUB}/bottlerocket-os/bottlerocket"),
        Pin("Karpenter", versions.KARPENTER.version, f"{_GITHUB}/aws/karpenter-provider-aws"),
        Pin("KEDA", versions.KEDA.version, f"{_GITHUB}/kedacore/charts"),
        Pin(
            "AWS Load Balancer Controller",
            versions.LOAD_BALANCER_CONTROLLER.version,
            f"{_GITHUB}/kubernetes-sigs/aws-load-balancer-controller",
        ),
        Pin(
            "AWS Distro for OpenTelemetry",
            last(versions.COLLECTOR, ":"),
            f"{_GITHUB}/aws-observability/aws-otel-collector",
        ),
        Pin("CDK's command line", last(cdk, "@"), f"{_GITHUB}/aws/aws-cdk-cli"),
    ]


@dataclass(frozen=True)
class Finding:
    """What there is of one pin."""

    pin: Pin
    newest: str = ""
    """Empty: it is not known."""
    trouble: str = ""
    """Why not."""

    @property
    def behind(self) -> bool:
        """Whether there is a newer one."""
        return bool(self.newest) and _numbers(self.newest) > _numbers(self.pin.version)


def newest(listing: str, parts: int = 3) -> str:
    """Returns the highest release among tags as `git ls-remote --tags` lists them; empty: none is one."""
    found = [tuple(int(number) for number in tag) for tag in _RELEASE.findall(listing)]
    return ".".join(str(number) for number in max(found)[:parts]) if found else ""


def ask(pin: Pin) -> Finding:
    """Asks the repository of a pin for its tags."""
    try:
        ended = subprocess.run(
            ["git", "ls-remote", "--tags", "--refs", pin.repository],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            # Nobody is there to type a password.
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(pin, trouble=str(error))
    if ended.returncode:
        return Finding(pin, trouble=(ended.stderr.strip().splitlines() or ["git failed"])[-1])
    found = newest(ended.stdout, pin.parts)
    return Finding(pin, found, "" if found else f"{pin.repository} has no tag that is a release")


def look(wanted: Iterable[Pin]) -> list[Finding]:
    """Asks for all of them at once."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(ask, wanted))


def table(findings: Iterable[Finding]) -> Table:
    """Returns a row for each pin."""
    shown = Table("what", "pinned", "newest", "")
    for item in findings:
        shown.add_row(item.pin.name, item.pin.version, item.newest or "-", "behind" if item.behind else item.trouble)
    return shown


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
