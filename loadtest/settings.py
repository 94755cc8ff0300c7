"""What can be chosen about one load test, from the command line or from Locust's web page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from loadtest.target import Kind


@dataclass(frozen=True)
class Settings:
    """The choices of one load test."""

    shape: str = "spike"
    """The name of a scenario, or a YAML file."""
    changes: tuple[str, ...] = ()
    """`path.to.key=value` each, over the scenario."""
    target: Kind = Kind.LOCAL
    config: Path | None = None
    """The deployment's config.yaml; absent: the project's, or the scenario's for a stack of the test's own."""
    state: Path | None = None
    """The state file of a local stack; absent: where `nox -s up` writes it."""
    api_url: str = ""
    api_key: str = ""
    api_keys: str = field(default="", repr=False)
    """Of several tenants: `name=key,name=key`."""
    endpoint: str = ""
    """Of an emulator of AWS."""
    region: str = ""
    context: str = ""
    """Of kubeconfig."""
    sample_image: str = ""
    kill_agent: tuple[float, ...] = ()
    """Seconds after the load's begin at each of which an agent of a local stack, or a pod, is killed."""
