"""config.yaml: the reference's own files load unchanged; a wrong one is refused with key, finding and way out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contract.config import Config, ConfigError, load_config, parse_config

REFERENCE = """
stackName: sdoneks
modelBucketArn: arn:aws-cn:s3:::my-models
APIGW:
  stageName: dev
  throttle:
    rateLimit: 30
    burstLimit: 50
modelsRuntime:
- name: sdruntime
  namespace: "default"
  modelFilename: "v1-5-pruned-emaonly.safetensors"
  dynamicModel: false
  # chartRepository: "http://example.com/"
  type: sdwebui
  extraValues:
    runtime:
      inferenceApi:
        image:
          repository: 123456789012.dkr.ecr.cn-northwest-1.amazonaws.com.cn/sd-on-eks/sdwebui
          tag: latest
      queueAgent:
        image:
          repository: 123456789012.dkr.ecr.cn-northwest-1.amazonaws.com.cn/sd-on-eks/queue-agent
          tag: latest
    karpenter:
      nodeTemplate:
        amiFamily: Bottlerocket
        dataVolume:
          snapshotID: snap-1234567890
      provisioner:
        instanceType:
        - "g5.xlarge"
        - "g5.2xlarge"
        capacityType:
          onDemand: true
          spot: true
"""

SMALL = "modelBucketArn: arn:aws:s3:::my-models\nmodelsRuntime:\n- {name: a, type: sdwebui}\n"


def test_the_reference_designs_config_loads_unchanged() -> None:
    config = parse_config(REFERENCE)
    assert config.stack_name == "sdoneks"
    assert config.partition == "aws-cn"
    assert config.model_bucket == "my-models"
    assert config.runtimes[0].static_checkpoint == "v1-5-pruned-emaonly.safetensors"
    assert config.runtimes[0].extra_values["karpenter"]["nodeTemplate"]["amiFamily"] == "Bottlerocket"
    assert config.api_gateway.throttle.burst_limit == 50


@pytest.mark.parametrize(
    "fragment",
    [
        '  chartRepository: "oci://123456789012.dkr.ecr.us-east-1.amazonaws.com/sd-on-eks/charts/sd-on-eks"\n'
        '  chartVersion: "1.1.0" # Modify if you customized the Helm Chart version\n',
        '  chartRepository: "http://example.com/"\n  chartVersion: "1.0.0"\n',
        '  chartRepository: ""\n  chartVersion: ""\n',
    ],
)
def test_the_reference_designs_chart_options_load(fragment: str) -> None:
    text = "modelBucketArn: arn:aws:s3:::my-models\nmodelsRuntime:\n- name: sdruntime\n  type: sdwebui\n" + fragment
    assert parse_config(text).runtimes[0].name == "sdruntime"


def test_the_projects_own_config_loads() -> None:
    assert len(load_config(Path("config.yaml")).runtimes) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SMALL + "stackNam: x\n", "stackNam: unknown key; did you mean 'stackName'?"),
        (SMALL + "dynamicModelRuntime: {enabled: true}\n", "dynamicModelRuntime: is an entry of modelsRuntime now"),
        (SMALL.replace("name: a", "nam: a"), "modelsRuntime.0.name: is required and missing"),
        (
            SMALL.replace("sdwebui", "sdwebu"),
            "modelsRuntime.0.type: input should be 'sdwebui', 'comfyui', 'invokeai', 'http' or 'openai'; "
            "found 'sdwebu'",
        ),
        (
            SMALL + "APIGW: {throttle: {rateLimit: '30'}}\n",
            "APIGW.throttle.rateLimit: input should be a valid number; found",
        ),
        (SMALL + "APIGW: {tenants: {Alice: [a1b2c3d4e5]}}\n", "a tenant's name is 1 to 63 lower-case letters"),
        (SMALL + "APIGW: {tenants: {a: [NotAnIdButTheKey]}}\n", "APIGW.tenants.a.0: "),
        (
            SMALL + "APIGW: {tenants: {a: [k]}, admins: {b: [k]}}\n",
            "the API key 'k' is named twice in tenants and admins",
        ),
        (
            SMALL + "APIGW: {throttle: {rateLimi: 30}}\n",
            "APIGW.throttle.rateLimi: unknown key; did you mean 'rateLimit'?",
        ),
        (
            SMALL + "APIGW: {throttle: {rateLimit: -1}}\n",
            "APIGW.throttle.rateLimit: input should be greater than 0; found -1",
        ),
        (SMALL.replace("arn:aws:s3:::my-models", "my-models"), "modelBucketArn: must be a bucket's ARN"),
        (
            SMALL + "APIGW: dev\n",
            "APIGW: must be a mapping with keys of stageName, throttle, corsAllowedOrigins, tenants, admins, shared, "
            "secretVersion; found 'dev'",
        ),
        (SMALL + "APIGW: {corsAllowedOrigins: [studio.example]}\n", "APIGW.corsAllowedOrigins: 'studio.example' is no"),
        (SMALL + "APIGW: {corsAllowedOrigins: ['*', 'http://a']}\n", "APIGW.corsAllowedOrigins: '*' allows every"),
        (SMALL + "cloud: {tags: x}\n", "cloud.tags: must be a mapping (key: value); found 'x'"),
        (SMALL.replace("- {", "  {"), "modelsRuntime: must be a list, each entry with a dash in front; found {"),
        (SMALL.replace("name: a", "name: A_b"), "modelsRuntime.0.name: a runtime's name is"),
        (SMALL + "- {name: a, type: comfyui}\n", "modelsRuntime.1.name: 'a' is already the name of modelsRuntime.0"),
        (
            SMALL + "- {name: a-dlq, type: comfyui}\n",
            "modelsRuntime.1.name: the queue of 'a-dlq' would be the dead-letter queue of 'a'",
        ),
        (SMALL.replace("sdwebui", "comfyui, dynamicModel: true"), "modelsRuntime.0.dynamicModel: only an sdwebui"),
        (
            SMALL.replace("sdwebui", "sdwebui, modelFilename: ../x"),
            "modelsRuntime.0.modelFilename: must be a file name",
        ),
        (
            SMALL.replace("sdwebui", "sdwebui, dynamicModel: 'no'"),
            "modelsRuntime.0.dynamicModel: input should be a valid boolean",
        ),
        (
            "modelBucketArn: arn:aws:s3:::my-models\nmodelsRuntime: []\n",
            "modelsRuntime: must name at least one runtime",
        ),
        (SMALL + "stackName: a\nstackName: b\n", "the key 'stackName' is there twice"),
        ("- 1\n", "must be a mapping with the keys stackName"),
        ("", "found nothing"),
        ("a: [", "is not YAML"),
        ("a: [1\nb: 2", "in line 1, column 4: a: [1 ^ expected ',' or ']', but got ':' in line 2, column 2"),
    ],
)
def test_a_wrong_config_names_the_key_the_finding_and_the_way_out(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert expected in str(caught.value)


def test_every_fault_is_reported_at_once_and_with_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("stackName: 1\nmodelsRuntime:\n- {type: x}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "nothing.yaml")


@given(st.text(max_size=200))
def test_any_text_loads_or_is_refused_in_words(text: str) -> None:
    try:
        assert isinstance(parse_config(text), Config)
    except ConfigError as error:
        refusal = str(error)
        assert refusal


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["stackName", "modelBucketArn", "APIGW", "modelsRuntime", "x"]), JSONISH))
def test_any_document_loads_or_is_refused_in_words(document: object) -> None:
    try:
        parse_config(yaml.safe_dump(document))
    except ConfigError as error:
        refusal = str(error)
        assert refusal


def test_a_checkpoint_goes_to_the_runtime_that_holds_it_else_to_the_dynamic_one() -> None:
    config = parse_config(
        "modelBucketArn: arn:aws:s3:::my-models\nmodelsRuntime:\n"
        "- {name: fixed, type: sdwebui, modelFilename: a.safetensors}\n"
        "- {name: moving, type: sdwebui, dynamicModel: true}\n"
    )
    for checkpoint, expected in [("a.safetensors", "fixed"), ("b.safetensors", "moving"), (None, "moving")]:
        found = config.runtime_for_checkpoint(checkpoint)
        assert found is not None
        assert found.name == expected


def test_a_runtime_of_ones_own_is_reached_by_its_name_alone() -> None:
    start = "modelBucketArn: arn:aws:s3:::my-models\nmodelsRuntime:\n"
    config = parse_config(start + "- {name: own, type: http, modelFilename: a.safetensors}\n")
    assert config.runtimes[0].static_checkpoint is None
    with pytest.raises(ConfigError, match="only an sdwebui runtime switches models"):
        parse_config(start + "- {name: own, type: http, dynamicModel: true}\n")
