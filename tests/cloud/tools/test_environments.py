"""Help, and the tools that look after a deployment, start without the CDK's 400 MB."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from cloud.commands import app
from tests.cloud.synthesis import ROOT

LOADED = """
import json, sys
from cloud.commands import app
import cloud.deployment.removal, cloud.image_cache.build, cloud.kubernetes_access, cloud.smoke.run, cloud.status.gather
print(json.dumps([m.__file__ for name, m in sys.modules.items() if name.partition(".")[0] in {"cloud", "contract"}]))
"""


def test_what_they_import_is_in_their_requirements() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, cwd=ROOT)
    pinned = {
        found.group(1).lower()
        for line in (ROOT / "cloud/requirements-tools.txt").read_text(encoding="utf-8").splitlines()
        if (found := re.match(r"([\w.-]+)==", line))
    }
    owners = packages_distributions()
    paths = [Path(name) for name in json.loads(done.stdout)]
    assert len(paths) > 60
    lacking = {
        name
        for path in paths
        for name in imported(path)
        if not {owner.lower().replace("_", "-") for owner in owners.get(name, [])} & pinned
    }
    assert lacking == set()


def imported(path: Path) -> set[str]:
    """Returns the packages of others that a module imports when it is loaded."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names - {"cloud", "contract"}


def test_each_command_that_does_without_the_cdk_is_a_command() -> None:
    source = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    [named] = [
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WITHOUT_CDK"
    ]
    commands = {command.name for command in app.registered_commands}
    # The others synthesize, or upgrade a release by Helm.
    assert commands - named == {"deploy", "synth", "canary", "promote", "rollback"}
