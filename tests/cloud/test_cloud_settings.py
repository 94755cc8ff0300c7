"""The section `cloud:` of config.yaml: defaults that work, and faults named by their key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.config import Cloud, ConfigError, Images, ModelStorage, load_config, parse_config
from tests.cloud.synthesis import EXAMPLES

SHA256 = "a" * 64
BASE = "modelBucketArn: arn:aws:s3:::my-models\nmodelsRuntime:\n- {name: a, type: sdwebui}\n"


def test_without_the_section_the_references_network_is_built() -> None:
    cloud = parse_config(BASE).cloud
    assert cloud == Cloud()
    assert cloud.nat_gateways == 3
    assert cloud.log_retention_days == 30
    assert cloud.public_access_cidrs is None
    assert cloud.model_storage is ModelStorage.S3
    assert not cloud.delivery.enabled
    assert cloud.budget is None


def test_the_example_of_all_settings_uses_each_of_them() -> None:
    config = load_config(EXAMPLES["all-settings"])
    cloud, outputs = config.cloud, config.runtimes[0].outputs
    assert cloud.model_fields_set == set(Cloud.model_fields)
    parts = (cloud.images, cloud.image_cache, cloud.delivery, cloud.sample, cloud.alarms, cloud.budget)
    for part in (*parts, outputs, outputs.check):
        assert part is not None
        assert part.model_fields_set == set(type(part).model_fields)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("{natGateway: 1}", "cloud.natGateway: unknown key; did you mean 'natGateways'?"),
        ("{inputBuckets: ['s3://uploads']}", "cloud.inputBuckets.0: must be a bucket's name, such as my-uploads"),
        ("{inputBuckets: [up..loads]}", "cloud.inputBuckets.0: must be a bucket's name"),
        ("{inputBuckets: ['*']}", "cloud.inputBuckets.0: must be a bucket's name"),
        ("{inputBuckets: uploads}", "cloud.inputBuckets: must be a list"),
        ("{natGateways: 4}", "cloud.natGateways: input should be less than or equal to 3; found 4"),
        ("{availabilityZones: [us-east-1a]}", "cloud.availabilityZones: must name two or three different zones"),
        ("{publicAccessCidrs: [1.2.3.4/8]}", "cloud.publicAccessCidrs: must be IPv4 networks"),
        ("{modelStorage: fsx}", "cloud.modelStorage: input should be 's3' or 'efs'; found 'fsx'"),
        (
            f"{{modelSources: {{a.ckpt: {{url: 'http://h/a', sha256: {SHA256}}}}}}}",
            "cloud.modelSources.a.ckpt.[key]: must be the name of a .safetensors file",
        ),
        (
            f"{{modelSources: {{a.safetensors: {{url: 's3://b/a', sha256: {SHA256}}}}}}}",
            "cloud.modelSources.a.safetensors.url: must be a file's URL of http:// or https://",
        ),
        (
            "{modelSources: {a.safetensors: {url: 'http://h/a', sha256: x}}}",
            "cloud.modelSources.a.safetensors.sha256: must be a SHA-256 of 64 lower-case",
        ),
        ("{charts: {kedas: {}}}", "cloud.charts.kedas"),
        ("{charts: {keda: {repository: kedacore}}}", "cloud.charts.keda.repository: must start with oci://"),
        ("{images: {api: darkroom}}", "cloud.images.api: must be an image with its digest or tag"),
        ("{images: {apis: a/b:c}}", "cloud.images.apis: unknown key; did you mean 'api'?"),
        ("{images: {runtimes: {webui: a/b:c}}}", "cloud.images.runtimes.webui"),
        ("{imageCache: {snapshotId: ami-1}}", "cloud.imageCache.snapshotId: must be an EBS snapshot's id"),
        ("{delivery: {enabled: 1}}", "cloud.delivery.enabled: input should be a valid boolean; found 1"),
        ("{sample: {allowedCidrs: [203.0.113.0/24]}}", "cloud.sample: with allowedCidrs, certificateArn is required"),
        ("{sample: {allowedCidrs: [203.0.113.7/24]}}", "cloud.sample.allowedCidrs: must be IPv4 networks"),
        ("{sample: {certificateArn: mine}}", "cloud.sample.certificateArn: must be a certificate's ARN"),
        ("{sample: true}", "cloud.sample: must be a mapping with keys of enabled, allowedCidrs, certificateArn"),
        ("{logRetentionDays: 8}", "cloud.logRetentionDays: input should be 1, 3, 5, 7"),
        ("{alarms: {email: nobody}}", "cloud.alarms.email: must be an e-mail address"),
        ("{budget: {monthlyUsd: 5}}", "cloud.budget.email: is required and missing"),
        ("{budget: {monthlyUsd: 0, email: a@b.de}}", "cloud.budget.monthlyUsd: input should be greater than 0"),
        ("{tags: {team: 7}}", "cloud.tags.team: input should be a valid string; found 7"),
    ],
)
def test_a_fault_is_named_by_its_key(section: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"{BASE}cloud: {section}\n")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(says)


def test_a_chart_in_an_oci_registry_needs_its_version() -> None:
    text = BASE.replace("type: sdwebui", "type: sdwebui, chartRepository: oci://example.com/charts/darkroom-runtime")
    with pytest.raises(ConfigError, match=r"^modelsRuntime\.0\.chartVersion: is required"):
        parse_config(text)


def test_a_charts_name_is_for_a_repository_that_does_not_say_it() -> None:
    address = "chartName: mine, chartRepository: oci://example.com/charts/mine, chartVersion: 1.0.0"
    for text in (address, "chartName: mine"):
        with pytest.raises(ConfigError, match=r"^modelsRuntime\.0\.chartName: is for a chartRepository of https"):
            parse_config(BASE.replace("type: sdwebui", f"type: sdwebui, {text}"))


def test_cloudfront_in_china_is_refused_before_it_is_deployed() -> None:
    text = BASE.replace("arn:aws:", "arn:aws-cn:") + "cloud: {delivery: {enabled: true}}\n"
    with pytest.raises(ConfigError, match=r"^cloud\.delivery\.enabled: CloudFront has no origin access control"):
        parse_config(text)


@given(st.text(alphabet="aA0.:/@-_ \n", max_size=60))
def test_an_image_that_is_taken_has_a_tag_or_a_digest(text: str) -> None:
    try:
        image = Images(api=text).api
    except ValidationError:
        return
    assert image == text
    assert not text or ":" in text.strip()[1:-1]
    assert text == text.strip()
