"""What delivers webhooks in the cluster, where the config wants it: settings that it understands, and no right more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contract.topology import topology
from tests.cloud.synthesis import ACCOUNT, ROOT, Synthesis
from tests.cloud.test_permissions import allowed
from webhooks.settings import Settings


def of_kind(assembly: Synthesis, kind: str) -> dict[str, Any]:
    (found,) = [
        item for item in assembly.kubernetes_objects() if (item["kind"], item["metadata"]["name"]) == (kind, "webhooks")
    ]
    return found


def environment(assembly: Synthesis) -> dict[str, str]:
    (container,) = of_kind(assembly, "Deployment")["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item["value"] for item in container["env"]}


def test_without_the_setting_there_is_nothing_of_it_but_the_queue(default: Synthesis) -> None:
    assert not [item for item in default.kubernetes_objects() if item["metadata"]["name"] == "webhooks"]
    assert "WEBHOOK" not in json.dumps(default.kubernetes_objects())


def test_its_settings_are_ones_that_it_understands(everything: Synthesis, monkeypatch: pytest.MonkeyPatch) -> None:
    place = topology(everything.config, region=everything.region, account=ACCOUNT)
    known = {name.upper() for name in Settings.model_fields}
    assert set(environment(everything)) <= known
    for name in known:
        monkeypatch.delenv(name, raising=False)
    arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:x"
    for name, value in (environment(everything) | {"WEBHOOK_SECRETS_ARN": arn, "CDN_BASE_URL": "https://c"}).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.webhook_queue_url.endswith(f"/{ACCOUNT}/{place.webhooks}")
    assert settings.dead_letter_url.endswith(f"/{ACCOUNT}/{place.webhooks_dead_letter}")
    assert settings.s3_bucket == place.output_bucket
    assert settings.webhook_allowed_origins == ()


def test_it_takes_nudges_reads_results_keeps_ledgers_and_no_more(everything: Synthesis) -> None:
    place = topology(everything.config, region=everything.region, account=ACCOUNT)
    bucket = f"arn:aws:s3:::{place.output_bucket}"
    (secret,) = [key for key in everything.resources("AWS::SecretsManager::Secret") if key.startswith("Webhooks")]
    assert allowed(everything, "darkroom", "webhooks") == {
        ("secretsmanager:GetSecretValue", str({"Ref": secret})),
        ("sqs:ReceiveMessage", place.queue_arn(place.webhooks)),
        ("sqs:DeleteMessage", place.queue_arn(place.webhooks)),
        ("sqs:SendMessage", place.queue_arn(place.webhooks)),
        ("sqs:SendMessage", place.queue_arn(place.webhooks_dead_letter)),
        ("s3:ListBucket", bucket),
        ("s3:GetObject", f"{bucket}/*"),
        ("s3:PutObject", f"{bucket}/.webhooks/*"),
    }
    assert ("secretsmanager:GetSecretValue", str({"Ref": secret})) in allowed(everything, "darkroom", "api")
    for runtime in everything.config.runtimes:
        granted = allowed(everything, runtime.namespace, runtime.name)
        assert ("sqs:SendMessage", place.queue_arn(place.webhooks)) in granted


def test_nobody_reaches_its_pods_and_they_reach_no_private_network_but_for_aws(everything: Synthesis) -> None:
    policy = of_kind(everything, "NetworkPolicy")["spec"]
    assert policy["ingress"] == []
    anywhere = [rule for rule in policy["egress"] if "ports" not in rule]
    (peer,) = anywhere[0]["to"]
    assert {"10.0.0.0/8", "169.254.0.0/16"} <= {*peer["ipBlock"]["except"]}


def test_its_user_is_the_images(everything: Synthesis) -> None:
    pod = of_kind(everything, "Deployment")["spec"]["template"]["spec"]
    dockerfile = (ROOT / "webhooks" / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {pod['securityContext']['runAsUser']}\n" in dockerfile


@pytest.mark.parametrize("part", ["api", "webhooks"])
def test_an_image_that_reads_secrets_keeps_botocores_description_of_their_service(part: str) -> None:
    assert "! -name secretsmanager" in (ROOT / part / "Dockerfile").read_text(encoding="utf-8")
