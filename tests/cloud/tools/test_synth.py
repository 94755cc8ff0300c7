"""What would be deployed can be read beforehand, with what it costs when nobody asks for an image."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cloud.image_cache.volumes import cache_gib
from cloud.outputs import api_key_id, cluster_access
from cloud.synthesis.billed import BY_USE, FIXED, FREE, kinds
from cloud.synthesis.cost import fixed_of as counted
from cloud.synthesis.write import own_releases
from contract.fixed_cost import fixed_of as foretold
from contract.prices import bill, fixed_usage, load_prices, total
from tests.cloud.synthesis import CONFIGS, ROOT, Synthesis
from tests.cloud.tools.conftest import Run


@pytest.mark.parametrize("name", CONFIGS)
def test_plan_and_synth_count_the_same_fixed_part_which_the_templates_hold(
    assemblies: dict[str, Synthesis], name: str
) -> None:
    found = assemblies[name]
    gib = cache_gib(found.config)
    assert counted(found.templates.values(), snapshot_gib=gib) == foretold(found.config)


def test_readme_and_pages_say_what_the_fixed_part_comes_to(default: Synthesis) -> None:
    lines = bill(fixed_usage(foretold(default.config)), load_prices())
    said = f"${total(lines):.2f}"
    for page in ("README.md", "docs/cloud.md", "docs/planner.md"):
        assert said in (ROOT / page).read_text(encoding="utf-8"), f"{page} does not say {said}"


@pytest.mark.parametrize("name", CONFIGS)
def test_every_resource_is_counted_named_as_billed_by_use_or_free(assemblies: dict[str, Synthesis], name: str) -> None:
    assert kinds(assemblies[name].templates.values()) <= FIXED | set(BY_USE) | FREE
    assert not FREE & (FIXED | set(BY_USE))
    # Other kinds of endpoint are billed by the hour.
    assert {item.get("VpcEndpointType") for item in assemblies[name].properties("AWS::EC2::VPCEndpoint")} <= {"Gateway"}


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
    assert "Container Insights, by observation" in result.output
    rendered = list(yaml.safe_load_all((tmp_path / "charts" / "sdruntime.yaml").read_text()))
    assert "NodePool" in {item["kind"] for item in rendered if item}


def test_a_dry_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    result = run("synth", "--config", str(ROOT / "config.yaml"), "--output", str(tmp_path / "new"), "--dry-run")
    assert result.exit_code == 0
    assert not (tmp_path / "new").exists()
