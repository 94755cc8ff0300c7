"""Synthesizes the CDK app for every example, once per test run, in a process of its own; reads what came out."""

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

DEFAULT: Final = "config"
EXAMPLES: Final = {path.stem: path for path in sorted((ROOT / "cloud" / "examples").glob("*.yaml"))}
ODD: Final = Path(__file__).with_name("odd-names.yaml")
CONFIGS: Final = {DEFAULT: ROOT / "config.yaml", **EXAMPLES, ODD.stem: ODD}
OTHERS: Final = {
    "here": ("us-east-1", "studio", "123456789012"),
    "there": ("eu-west-1", "studio", "123456789012"),
    "beside": ("us-east-1", "other", "123456789012"),
}
"""Deployments of one account, with all settings: region, name of the stack, account."""
DISTINCT: Final = (DEFAULT, "all-settings")
"""Between them they have every construct: what is slow is asked of these only."""

# In one process, since the CDK's core takes seconds to start and a further app but one.
_PROGRAM: Final = """
import contextlib, io, json, sys, tempfile
from pathlib import Path
import psutil

folder, account, nagged, others, *configs = sys.argv[1:]


def run_app(name):
    from cloud.app import main
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = main()
    here = psutil.Process()
    used = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    found = {"status": status, "said": said.getvalue(), "seconds": sum(item.user + item.system for item in used)}
    Path(folder, f"{name}.json").write_text(json.dumps(found))


# As the CDK's CLI runs the app, with the config.yaml that is here; and first of all, for what that takes is asserted.
run_app("as-the-cli")
with tempfile.TemporaryDirectory() as elsewhere, contextlib.chdir(elsewhere):
    Path("config.yaml").write_text("modelsRuntime: [{name: a}]")
    run_app("wrong")

from aws_cdk import Validations
from cdk_nag import AwsSolutionsChecks
from cloud.app import build_app
from contract.config import load_config

for path in map(Path, configs):
    config = load_config(path)
    region = "cn-northwest-1" if config.partition == "aws-cn" else "us-east-1"
    try:
        app = build_app(config, outdir=Path(folder, path.stem), account=account, region=region)
        if path.stem in nagged.split(","):
            Validations.of(app).add_plugins(AwsSolutionsChecks(app))
        app.synth()
    except Exception as error:
        Path(folder, f"{path.stem}.error").write_text(str(error))

for name, path, region, stack, owner in json.loads(others):
    config = load_config(Path(path))
    cloud = config.cloud.model_copy(update={"output_bucket": "", "node_role": ""})
    config = config.model_copy(update={"stack_name": stack, "cloud": cloud})
    build_app(config, outdir=Path(folder, name), account=owner, region=region).synth()
"""


@dataclass(frozen=True)
class Finding:
    """What a validation of the templates objects to."""

    plugin: str
    rule: str
    construct: str
    """Path of the construct, without the name of the deployment."""


@dataclass(frozen=True)
class AppRun:
    """What came of the app as the CDK's CLI runs it."""

    status: int
    said: str
    """On standard error."""
    seconds: float
    """Of a processor, since its process began; Node's too."""


def app_run(shared: Path, name: str) -> AppRun:
    """Returns what came of `as-the-cli`, with the repository's own config, or of `wrong`, with one that lacks a key."""
    return AppRun(**json.loads((shared / f"{name}.json").read_text(encoding="utf-8")))


def run_app_anew(folder: Path) -> AppRun:
    """Runs the app as the CDK's CLI does, with the repository's own config, in a process and folder of its own.

    Raises:
        AssertionError: the process did not come to its end.
    """
    _run_program(folder, ACCOUNT, "", "[]")
    return app_run(folder, "as-the-cli")


@dataclass(frozen=True)
class Synthesis:
    """The cloud assembly of one config."""

    folder: Path
    config: Config

    @property
    def region(self) -> str:
        """The region that it was synthesized for."""
        return "cn-northwest-1" if self.config.partition == "aws-cn" else "us-east-1"

    @property
    def error(self) -> str:
        """What the synthesis ended with; empty: nothing."""
        path = self.folder.with_name(f"{self.folder.name}.error")
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The assembly's manifest."""
        return self._read("manifest.json")

    @cached_property
    def findings(self) -> list[Finding]:
        """What CloudFormation's rules and, where it was asked, cdk-nag found."""
        return [
            Finding(
                report["pluginName"],
                violation["ruleName"],
                construct["constructPath"].removeprefix(self.config.stack_name).removeprefix("/"),
            )
            for report in self._read("validation-report.json")["pluginReports"]
            for violation in report["violations"]
            for construct in violation["violatingConstructs"]
        ]

    @cached_property
    def templates(self) -> dict[str, dict[str, Any]]:
        """The templates by the name of their stack."""
        return {
            path.name.removesuffix(".template.json"): self._read(path.name)
            for path in sorted(self.folder.glob("*.template.json"))
        }

    def template_files(self) -> list[Path]:
        """Returns the files of the templates."""
        return sorted(self.folder.glob("*.template.json"))

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

    def kubernetes_objects(self) -> list[dict[str, Any]]:
        """Returns what is applied to the cluster besides the charts; what only AWS knows reads as `TOKEN`."""
        return [
            item
            for resource in self.properties("Custom::AWSCDK-EKS-KubernetesResource")
            for item in json.loads(plain(resource["Manifest"]))
        ]

    def _read(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return document


def plain(value: Any) -> str:
    """Returns a CloudFormation string; what only AWS knows reads as `TOKEN`."""
    if isinstance(value, str):
        return value
    if set(value) == {"Fn::Join"}:
        separator, parts = value["Fn::Join"]
        return str(separator).join(plain(part) for part in parts)
    return "TOKEN"


def synthesize(shared: Path) -> dict[str, Synthesis]:
    """Returns the assemblies of all configs; the first worker to ask makes them, in a folder that all share.

    Raises:
        AssertionError: the process did not come to its end.
    """
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = shared / "done"
        if not done.exists():
            others = [(name, str(EXAMPLES["all-settings"]), *where) for name, where in OTHERS.items()]
            _run_program(
                shared, ACCOUNT, ",".join(DISTINCT), json.dumps(others), *(str(path) for path in CONFIGS.values())
            )
            done.touch()
    return {name: Synthesis(shared / name, load_config(path)) for name, path in CONFIGS.items()}


def _run_program(shared: Path, *arguments: str) -> None:
    """Runs the program in the repository with what the CDK needs around it.

    Raises:
        AssertionError: it failed.
    """
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(shared), *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            # The CDK's core runs on Node, which comes with the tests' environment.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            # The kubectl layer (37 MB) is left where it lies.
            "CDK_CONTEXT_JSON": json.dumps({"aws:cdk:disable-asset-staging": True}),
            "CDK_OUTDIR": str(shared / "as-the-cli"),
            "CDK_DEFAULT_ACCOUNT": ACCOUNT,
            "CDK_DEFAULT_REGION": "us-east-1",
        },
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
