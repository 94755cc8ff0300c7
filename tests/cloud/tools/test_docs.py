"""What docs/cloud.md says to type works, and what it says that it costs is what the templates cost."""

from __future__ import annotations

import json
import re
import shlex
from decimal import Decimal
from pathlib import Path

import pytest

from cloud.commands import app
from cloud.deployment import checks, making
from cloud.synthesis.cost import fixed_of
from contract.prices import bill, fixed_usage, load_prices, total
from tests.cloud.synthesis import ROOT, Synthesis
from tests.cloud.tools.conftest import Run

PAGES = [
    (ROOT / "docs" / name).read_text(encoding="utf-8")
    for name in ("cloud.md", "cloud-by-hand.md", "troubleshooting.md")
]
TEXT = PAGES[0]


def commands(text: str) -> list[str]:
    """Returns the commands of a page that are ours: those of the model bucket have tests of their own."""
    return [
        line.removeprefix("uvx nox -s ")
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("uvx nox -s ") and not line.startswith("uvx nox -s models ")
    ]


COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands(page)))
DRY = [command for command in commands(TEXT) if "--dry-run" in command]

COSTS = [
    ("cluster",),
    ("m5.large",),
    ("NAT gateway", "public IPv4"),
    ("load balancer",),
    ("volume", "snapshot"),
    ("metric", "dashboard", "key", "secret"),
]
"""What the lines of a bill say that each row of the page sums up."""


def words(command: str) -> list[str]:
    name, _, options = command.partition(" -- ")
    return [name, *shlex.split(options)]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_and_its_options_exist(run: Run, command: str) -> None:
    result = run(*words(command), "--help")
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


@pytest.mark.parametrize("command", DRY)
def test_a_dry_run_runs(
    run: Run, moto: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default: Synthesis
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(checks, "write_templates", lambda *_, **__: default.templates)
    monkeypatch.setattr(checks, "ADDRESS_URL", "http://127.0.0.1:9/address")
    result = run(*words(command), AWS_ENDPOINT_URL=moto, DARKROOM_HOME=str(tmp_path))
    if words(command)[0] == "image-cache":
        assert "push it first" in result.output  # there is no image here yet
    elif words(command)[0] == "deploy":
        # There is much in its way here, such as the models that are missing; it says all of it.
        [minutes] = re.findall(r"first image after about (\d+) minutes", result.output)
        [dollars] = re.findall(r"it costs (\$[0-9.]+) a month", result.output)
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        for text in (readme, TEXT):
            assert dollars in text
            assert f"{minutes} min" in text
        assert int(minutes) <= 45
        assert "lacks Stable-diffusion/" in result.output
    else:
        assert result.exit_code == 0, result.output


def test_the_cdk_is_called_in_the_version_that_deploy_calls() -> None:
    assert set(re.findall(r"npx (aws-cdk@\S+)", PAGES[1])) == {making.CDK}


def test_the_config_is_where_the_page_looks_for_it() -> None:
    # `cdk` is started in cloud/, and its app in the folder above.
    app = json.loads((ROOT / "cloud" / "cdk.json").read_text(encoding="utf-8"))["app"]
    assert app.startswith("cd .. && ")
    assert "--context config=.darkroom/deploy/darkroom-us-west-2/config.yaml" in PAGES[1]


def test_every_command_explains_itself_and_has_a_dry_run(run: Run) -> None:
    names = [str(command.name) for command in app.registered_commands]
    assert len(names) == 11
    for name in names:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert "--dry-run" in result.output, name


def test_every_command_has_its_nox_session() -> None:
    sessions = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert f'"{command.name}": "' in sessions


def test_what_it_costs_is_what_the_templates_cost(default: Synthesis) -> None:
    lines = bill(fixed_usage(fixed_of(default.templates.values(), snapshot_gib=80)), load_prices())
    assert f"**${total(lines)}**" in TEXT
    shown = [Decimal(amount) for amount in re.findall(r"^\| [^*|]+ \| \$([0-9.]+) \|", TEXT, re.MULTILINE)]
    assert len(shown) == len(COSTS)
    assert sum(shown) == total(lines)
    for amount, dimensions in zip(shown, COSTS, strict=True):
        assert amount == sum(line.total for line in lines if any(part in line.dimension for part in dimensions))


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert links
    for link in links:
        assert (ROOT / "docs" / link).exists(), link
