"""Every example synthesizes without AWS, passes CloudFormation's rules, and has no fault that is not explained."""

from __future__ import annotations

import json
import re
import resource
from pathlib import Path

import pytest
from cfnlint.api import lint

from tests.cloud.nag_reasons import REASONS
from tests.cloud.synthesis import ACCOUNT, CONFIGS, DISTINCT, Finding, Synthesis, run_python

CDK_NAG = "AwsSolutions"


@pytest.mark.parametrize("name", CONFIGS)
def test_an_example_synthesizes_to_four_stacks_that_cloudformation_takes(
    assemblies: dict[str, Synthesis], name: str
) -> None:
    assembly = assemblies[name]
    # cdk-nag has findings, which its own test judges.
    assert not assembly.error or (name in DISTINCT and assembly.error.startswith("ValidationFailed"))
    assert [finding for finding in assembly.findings if finding.plugin != CDK_NAG] == []
    stack = assembly.config.stack_name
    assert set(assembly.templates) == {stack, f"{stack}-network", f"{stack}-registry", f"{stack}-messaging"}


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_is_looked_up_in_aws(assemblies: dict[str, Synthesis], name: str) -> None:
    assert assemblies[name].manifest.get("missing", []) == []


@pytest.mark.parametrize("name", CONFIGS)
def test_every_template_can_be_sent_to_cloudformation(assemblies: dict[str, Synthesis], name: str) -> None:
    for file in assemblies[name].template_files():
        # AWS CloudFormation quotas, "Template body size in an S3 object"; in bytes.
        assert file.stat().st_size < 1_000_000
    for template in assemblies[name].templates.values():
        assert len(template["Resources"]) <= 500


# Not asked: W3005, a dependency that is there twice (the CDK's own resources); W3010, zones that config.yaml names.
@pytest.mark.parametrize("name", [*DISTINCT, "china"])
def test_cfn_lint_finds_nothing(assemblies: dict[str, Synthesis], name: str) -> None:
    assembly = assemblies[name]
    for file in assembly.template_files():
        found = [match.rule.id for match in lint(file.read_text(), regions=[assembly.region])]
        assert [rule for rule in found if rule[0] != "I" and rule not in {"W3005", "W3010"}] == [], file.name


def unexplained(findings: list[Finding]) -> list[Finding]:
    return [
        finding
        for finding in findings
        if not any(
            re.fullmatch(rule, finding.rule) and re.fullmatch(path, finding.construct) for rule, path, _ in REASONS
        )
    ]


@pytest.mark.parametrize("name", DISTINCT)
def test_cdk_nag_finds_nothing_that_is_not_explained(assemblies: dict[str, Synthesis], name: str) -> None:
    findings = [finding for finding in assemblies[name].findings if finding.plugin == CDK_NAG]
    assert findings
    assert unexplained(findings) == []


def test_no_explanation_outlives_what_it_explains(assemblies: dict[str, Synthesis]) -> None:
    findings = [finding for name in DISTINCT for finding in assemblies[name].findings]
    idle = [
        (rule, path)
        for rule, path, _ in REASONS
        if not any(re.fullmatch(rule, item.rule) and re.fullmatch(path, item.construct) for item in findings)
    ]
    assert idle == []


def test_the_app_of_the_cdks_cli_synthesizes_the_default_in_15_seconds(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_python(
        *("-m", "cloud.app"),
        env={"CDK_OUTDIR": str(tmp_path), "CDK_DEFAULT_ACCOUNT": ACCOUNT, "CDK_DEFAULT_REGION": "us-east-1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (tmp_path / "manifest.json").exists()
    # Processor time: how long it takes when nothing else runs.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 15


def test_the_app_refuses_a_wrong_config_in_a_line(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("modelsRuntime: [{name: a, type: sdwebui}]\n")
    said = run_python(
        *("-c", "import sys; from cloud.app import main; sys.exit(main() != 1)"),
        env={
            "CDK_OUTDIR": str(tmp_path / "out"),
            "CDK_CONTEXT_JSON": json.dumps({"config": str(config)}),
            "CDK_DEFAULT_ACCOUNT": ACCOUNT,
            "CDK_DEFAULT_REGION": "us-east-1",
        },
    ).stderr
    assert f"error: {config}: modelBucketArn: is required and missing" in said.splitlines()
    assert "Traceback" not in said
