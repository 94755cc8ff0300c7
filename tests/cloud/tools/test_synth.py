"""What would be deployed can be read beforehand, with what it costs when nobody asks for an image."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cloud.outputs import api_key_id, cluster_access
from cloud.synthesis.cost import fixed_of
from cloud.synthesis.write import own_releases
from contract.prices import Fixed
from tests.cloud.synthesis import ROOT, Synthesis
from tests.cloud.tools.conftest import Run


def test_the_fixed_part_is_counted_in_the_templates(default: Synthesis) -> None:
    found = fixed_of(default.templates.values(), snapshot_gib=80)
    assert (found.system_nodes, found.system_instance) == (2, "m5.large")
    assert (found.nat_gateways, found.load_balancers, found.snapshot_gib) == (3, 1, 80)
    # The share of failed tasks is made of two metrics, and each is billed.
    assert found.alarms == len(default.resources("AWS::CloudWatch::Alarm")) + 1
    assert found.system_volume_gib == Fixed().system_volume_gib == 4 + 40


def test_the_charts_are_rendered_with_the_values_that_are_deployed(default: Synthesis) -> None:
    releases = {name: values for name, _, values in own_releases(default.templates.values())}
    assert list(releases) == [runtime.name for runtime in default.config.runtimes]
    assert releases["comfyruntime"]["runtime"]["type"] == "comfyui"


def output(default: Synthesis, name: str) -> str:
    """An output of the main stack, with a word in place of what only AWS knows."""
    value = default.templates[default.config.stack_name]["Outputs"][name]["Value"]
    parts = value["Fn::Join"][1] if isinstance(value, dict) else [value]
    return "".join(part if isinstance(part, str) else "word" for part in parts)


def test_the_tools_can_read_the_outputs_of_the_stack(default: Synthesis) -> None:
    assert output(default, "FrontApiEndpoint").startswith("https://")
    assert api_key_id(output(default, "GetAPIKeyCommand")) == "word"
    found = cluster_access(output(default, "ConfigCommand"))
    assert (found.name, found.region, found.role_arn) == ("word", "word", "word")


def test_the_command_writes_charts_and_shows_the_bill(
    run: Run, default: Synthesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.commands.synth.write_templates", lambda *_, **__: default.templates)
    result = run("synth", "--config", str(ROOT / "config.yaml"), "--output", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "NAT gateway" in result.output
    assert "138.24" in result.output, "the reference's line for two m5.large"
    assert "72.00" in result.output, "the reference's line for the cluster"
    rendered = list(yaml.safe_load_all((tmp_path / "charts" / "sdruntime.yaml").read_text()))
    assert "NodePool" in {item["kind"] for item in rendered if item}


def test_a_dry_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    result = run("synth", "--config", str(ROOT / "config.yaml"), "--output", str(tmp_path / "new"), "--dry-run")
    assert result.exit_code == 0
    assert not (tmp_path / "new").exists()
