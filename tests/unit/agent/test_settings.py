"""The agent's environment: what it needs, and how it says that something is wrong."""

from __future__ import annotations

import pytest

from agent.__main__ import main
from agent.settings import Settings, SettingsError, describe_settings, load_settings
from contract.runtimes import KINDS
from contract.task import RuntimeType

GOOD = {
    "RUNTIME_NAME": "sdruntime",
    "RUNTIME_TYPE": "sdwebui",
    "API_BASE_URL": "http://127.0.0.1:7860",
    "SQS_QUEUE_URL": "http://127.0.0.1:4566/000000000000/darkroom-sdruntime",
    "SNS_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:darkroom-callbacks",
    "S3_BUCKET": "darkroom-output-000000000000",
    "AWS_REGION": "us-east-1",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_least_that_is_needed_is_enough(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()

    assert settings.prefetch == 1
    assert settings.sqs_dlq_url == ""
    assert settings.input_s3_buckets == ()


@pytest.mark.parametrize("name", GOOD)
def test_a_variable_that_is_missing_or_empty_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        load_settings()
    environment.setenv(name, "")
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNTIME_NAME", "Has Spaces"),
        ("RUNTIME_TYPE", "fooocus"),
        ("API_BASE_URL", "127.0.0.1:7860"),
        ("SQS_QUEUE_URL", "darkroom-sdruntime"),
        ("SNS_TOPIC_ARN", "darkroom-callbacks"),
        ("VISIBILITY_TIMEOUT", "0"),
        ("VISIBILITY_TIMEOUT", "43201"),
        ("PREFETCH", "-1"),
        ("PREFETCH", "many"),
        ("GRACE_PERIOD_SECONDS", "-1"),
        ("TASK_TIMEOUT_SECONDS", "0"),
        ("HEALTH_PORT", "65536"),
        ("LOG_FORMAT", "xml"),
        ("DYNAMIC_SD_MODEL", "perhaps"),
    ],
)
def test_a_wrong_value_gets_one_line_with_the_variable_and_what_was_found(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{name} is {value!r}: ")


def test_lists_are_separated_by_commas_and_spaces_do_no_harm(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("INPUT_S3_BUCKETS", "one, two,,three ")

    assert load_settings().input_s3_buckets == ("one", "two", "three")


def test_the_default_region_does_as_well(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("AWS_REGION")
    environment.setenv("AWS_DEFAULT_REGION", "eu-central-1")

    assert load_settings().aws_region == "eu-central-1"


def test_the_help_lists_every_variable() -> None:
    text = describe_settings()

    assert all(name.upper() in text for name in Settings.model_fields)


def test_a_bad_environment_ends_the_program_with_status_2_and_no_trace(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("PREFETCH", "many")
    environment.delenv("S3_BUCKET")
    environment.setattr("sys.argv", ["agent"])

    assert main() == 2

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("agent: ") for line in lines)


def test_what_becomes_of_results_is_said_as_in_config_yaml(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OUTPUTS", '{"check": {"url": "http://check:8080/"}, "contentCredentials": true}')
    environment.setenv("CREDENTIALS_SIGNER", "-----BEGIN …")
    settings = load_settings()
    assert settings.outputs.content_credentials
    assert settings.outputs.check is not None


@pytest.mark.parametrize(
    ("outputs", "signer", "says"),
    [
        ("{", "", "OUTPUTS is '{': no JSON"),
        ('{"check": {"url": "x"}}', "", "OUTPUTS.CHECK.URL is 'x': must be a URL"),
        (
            '{"contentCredentials": true}',
            "",
            "CREDENTIALS_SIGNER is not set: outputs.contentCredentials needs a signer",
        ),
        (
            '{"contentCredentials": true}',
            "MIGHAgEAMBMG",
            "CREDENTIALS_SIGNER is set, but wrong: neither PEM nor a file",
        ),
    ],
)
def test_a_fault_there_is_named_and_no_key_is_shown(
    environment: pytest.MonkeyPatch, outputs: str, signer: str, says: str
) -> None:
    environment.setenv("OUTPUTS", outputs)
    environment.setenv("CREDENTIALS_SIGNER", signer)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    (line,) = str(caught.value).splitlines()
    assert line.startswith(says)
    assert "MIGH" not in line


WARM_UP = '{"tasktype": "text-to-image", "content": {"prompt": "warm"}}'


@pytest.mark.parametrize("by", ["exit", "API", "probe"])
def test_a_warm_up_and_the_restarts_of_the_runtime_can_be_set(environment: pytest.MonkeyPatch, by: str) -> None:
    environment.setenv("WARMUP_REQUEST", WARM_UP)
    environment.setenv("RECYCLE_BY", by)
    environment.setenv("RECYCLE_AFTER_TASKS", "500")
    settings = load_settings()
    assert settings.warmup_request is not None
    assert settings.warmup_request.content == {"prompt": "warm"}
    assert settings.recycle_by == by.lower()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RECYCLE_AFTER_TASKS", "5", "set RECYCLE_BY to exit, api or probe"),
        ("RECYCLE_ABOVE_RSS_BYTES", "1000", "set RECYCLE_BY to exit, api or probe"),
        ("RECYCLE_BY", "magic", "nobody"),
        ("WARMUP_REQUEST", "/no/such/file.json", "neither JSON nor a file"),
        ("WARMUP_REQUEST", WARM_UP.replace("text-to-image", "pipeline"), "takes extra-batch-images"),
        ("WARMUP_TIMEOUT_SECONDS", "0", "greater than 0"),
    ],
)
def test_what_nobody_could_do_is_refused_with_the_way_out(
    environment: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match=says) as error:
        load_settings()
    assert str(error.value).startswith(f"{name} is ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", RuntimeType)
def test_more_slots_are_for_runtimes_that_let_runs_wait(environment: pytest.MonkeyPatch, kind: RuntimeType) -> None:
    environment.setenv("RUNTIME_TYPE", kind)
    environment.setenv("SLOTS", "2")
    if KINDS[kind].queues:
        assert load_settings().slots == 2
    else:
        with pytest.raises(SettingsError, match="sdwebui, comfyui or invokeai lets runs wait; leave it at 1"):
            load_settings()


def test_an_origin_that_is_none_is_named_with_its_variable(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("INPUT_ALLOWED_ORIGINS", "nonsense")

    with pytest.raises(SettingsError, match=r"INPUT_ALLOWED_ORIGINS.*no origin"):
        load_settings()
