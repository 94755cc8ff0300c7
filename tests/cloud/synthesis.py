"""Synthesizes the CDK app in a process of its own, once per config and test run, and reads what came out."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from contract.config import Config, load_config
from contract.topology import LOCAL_ACCOUNT

ROOT: Final = Path(__file__).parents[2]
ACCOUNT: Final = LOCAL_ACCOUNT
"""LocalStack's, so that its ARNs and the templates' are the same."""

_PROGRAM: Final = """
import json, sys
from pathlib import Path
from cloud.app import build_app
from contract.config import load_config
config, outdir, account, region = sys.argv[1:]
build_app(load_config(Path(config)), outdir=Path(outdir), account=account, region=region).synth()
"""


@dataclass(frozen=True)
class Synthesis:
    """The cloud assembly of one config."""

    folder: Path
    config: Config
    region: str

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Returns the assembly's manifest."""
        return self._read("manifest.json")

    @cached_property
    def templates(self) -> dict[str, dict[str, Any]]:
        """Returns the templates by the name of their stack."""
        return {
            path.name.removesuffix(".template.json"): self._read(path.name)
            for path in sorted(self.folder.glob("*.template.json"))
        }

    def resources(self, kind: str, stack: str | None = None) -> dict[str, dict[str, Any]]:
        """Returns the resources of a CloudFormation type, by logical id; of every stack unless one is named."""
        return {
            logical_id: resource
            for name, template in self.templates.items()
            for logical_id, resource in template["Resources"].items()
            if resource["Type"] == kind and stack in {None, name}
        }

    def properties(self, kind: str, stack: str | None = None) -> list[dict[str, Any]]:
        """Returns the properties of the resources of a type."""
        return [resource.get("Properties", {}) for resource in self.resources(kind, stack).values()]

    def _read(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return document


def synthesize(config: Path, shared: Path, *, region: str = "us-east-1") -> Synthesis:
    """Returns the assembly of a config; the first to ask makes it, in a folder that all workers of a run share.

    Raises:
        AssertionError: the app refuses the config, or CloudFormation's rules refuse a template.
    """
    folder = shared / f"{config.stem}-{region}"
    with (shared / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "manifest.json").exists():
            done = run_app(config, folder, region=region)
            assert done.returncode == 0, done.stdout + done.stderr
    return Synthesis(folder, load_config(config), region)


def run_app(config: Path, outdir: Path, *, region: str) -> subprocess.CompletedProcess[str]:
    """Synthesizes into `outdir`, and returns how it went."""
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(config), str(outdir), ACCOUNT, region],
        cwd=ROOT,
        # The CDK's core runs on Node, which comes with the tests' environment.
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
