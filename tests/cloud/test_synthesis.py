"""Every example synthesizes without AWS, passes CloudFormation's rules, and has no fault that is not explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cfnlint.config import ConfigMixIn
from cfnlint.runner import Runner

from tests.cloud.nag_reasons import REASONS
from tests.cloud.synthesis import CONFIGS, DISTINCT, Finding, Synthesis, app_run, run_app_anew

CDK_NAG = "AwsSolutions"


@pytest.mark.parametrize("name", CONFIGS)
def test_an_example_synthesizes_to_stacks_that_cloudformation_takes(
    assemblies: dict[str, Synthesis], name: str
) -> None:
    assembly = assemblies[name]
    # cdk-nag has findings, which its own test judges.
    assert not assembly.error or (name in DISTINCT and assembly.error.startswith("ValidationFailed"))
    assert [finding for finding in assembly.findings if finding.plugin != CDK_NAG] == []
    stack = assembly.config.stack_name
    sample = {f"{stack}-sample"} if assembly.config.cloud.sample.enabled else set()
    assert set(assembly.templates) == {stack, f"{stack}-network", f"{stack}-registry", f"{stack}-messaging"} | sample


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
    files = [str(file) for file in assembly.template_files()]
    # All at once, for its rules take longer to read than a template to check.
    found = Runner(ConfigMixIn(regions=[assembly.region], templates=files)).run()
    assert [item for item in found if item.rule.id[0] != "I" and item.rule.id not in {"W3005", "W3010"}] == []


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


@pytest.mark.timeout(600)
def test_the_app_of_the_cdks_cli_synthesizes_the_default_in_15_seconds(default: Synthesis, tmp_path: Path) -> None:
    run = app_run(default.folder.parent, "as-the-cli")
    assert (run.status, run.said) == (0, "")
    assert (default.folder.parent / "as-the-cli" / "manifest.json").exists()
    # Processor time: how long it takes when nothing else runs. On a busy machine even that grows: then once more.
    assert 1 < run.seconds < 15 or 1 < run_app_anew(tmp_path).seconds < 15


def test_the_app_refuses_a_wrong_config_in_a_line(default: Synthesis) -> None:
    run = app_run(default.folder.parent, "wrong")
    assert run.status == 1
    assert run.said == "error: config.yaml: modelsRuntime.0.type: is required and missing\n"
