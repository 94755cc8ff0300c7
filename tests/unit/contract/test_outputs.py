"""What becomes of results is said in config.yaml, and faults there are named by their key."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from contract.config import ConfigError, parse_config
from contract.outputs import OutputCheck, OutputRules, Told, Unmarked, WhenUnanswered

BASE = "modelsRuntime:\n- name: a\n  type: comfyui\n"
ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:signer-a1b2c3"


def test_nothing_happens_to_results_unless_it_is_asked_for() -> None:
    rules = parse_config(BASE).runtimes[0].outputs
    assert (rules, rules.on, rules.as_json()) == (OutputRules(), False, "{}")


def test_the_agent_is_told_what_config_yaml_says() -> None:
    written = f"""  outputs:
    contentCredentials: true
    signingSecretArn: {ARN}
    tellByTenant: {{alice: [model, prompt], bob: []}}
    unmarked: deliver
    check: {{url: 'http://check.ns.svc:8080/', whenUnanswered: accept, timeoutSeconds: 2.5, tries: 1}}
"""
    rules = parse_config(BASE + written).runtimes[0].outputs
    assert rules.check == OutputCheck(
        url="http://check.ns.svc:8080/", when_unanswered=WhenUnanswered.ACCEPT, timeout_seconds=2.5, tries=1
    )
    assert rules.unmarked is Unmarked.DELIVER
    assert OutputRules.model_validate_json(rules.as_json()) == rules
    assert rules.told("alice") == (Told.MODEL, Told.PROMPT)
    assert rules.told("bob") == ()
    assert rules.told("carol") == (Told.MODEL, Told.SEED, Told.WORKFLOW), "the prompt is never told unless asked for"


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ("{contentCredential: true}", "contentCredential: unknown key; did you mean 'contentCredentials'?"),
        ("{contentCredentials: 'yes'}", "contentCredentials: input should be a valid boolean"),
        ("{contentCredentials: true, signingSecretArn: signer}", "signingSecretArn: must be the whole ARN of a secret"),
        (f"{{signingSecretArn: '{ARN}'}}", ": signingSecretArn is set and contentCredentials is not true"),
        ("{tell: [weights]}", "tell.0: input should be 'model', 'seed', 'workflow' or 'prompt'; found 'weights'"),
        ("{tellByTenant: {Alice: []}}", "tellByTenant.Alice.[key]: a tenant's name is 1 to 63 lower-case letters"),
        ("{unmarked: ignore}", "unmarked: input should be 'fail' or 'deliver'; found 'ignore'"),
        ("{check: {}}", "check.url: is required and missing"),
        ("{check: {url: moderation}}", "check.url: must be a URL of http:// or https://"),
        ("{check: {url: 'http://user:word@check/'}}", "check.url: must be a URL of http:// or https:// without a user"),
        ("{check: {url: 'http://check/', fail: open}}", "check.fail: unknown key; allowed here: url, whenUnanswered"),
        ("{check: {url: 'http://check/', tries: 0}}", "check.tries: input should be greater than or equal to 1"),
    ],
)
def test_a_fault_is_named_by_its_key(outputs: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"{BASE}  outputs: {outputs}\n")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"modelsRuntime.0.outputs{'' if says.startswith(':') else '.'}{says}")


def test_the_agents_setting_knows_no_other_keys() -> None:
    with pytest.raises(ValidationError, match="surprise"):
        OutputRules.model_validate_json('{"surprise": 1}')
