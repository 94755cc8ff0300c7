"""Settings come from the environment, and a wrong one is named in one line that shows no secret."""

from __future__ import annotations

import pytest

from api.__main__ import main
from api.settings import SettingsError, load_settings

REQUIRED = {
    "TASK_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:tasks",
    "CALLBACK_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:callbacks",
    "S3_BUCKET": "bucket",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEYS", "AWS_ENDPOINT_URL", "CONFIG_FILE", "PORT", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)


def test_the_required_ones_are_enough() -> None:
    settings = load_settings()

    assert (settings.host, settings.port, settings.max_body_bytes) == ("127.0.0.1", 8000, 20 * 1024 * 1024)
    assert settings.api_keys == {}


def test_keys_are_split_at_the_first_equals_sign_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", " alice = abc== , bob=def,")

    settings = load_settings()

    assert {name: key.get_secret_value() for name, key in settings.api_keys.items()} == {"alice": "abc==", "bob": "def"}
    assert "abc" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("API_KEYS", "just-a-secret", "API_KEYS: entry 1 is not name=key"),
        ("API_KEYS", "a=just-a-secret,a=other", "API_KEYS: the name 'a' is there twice"),
        ("API_KEYS", "a=just-a-secret,b=just-a-secret", "API_KEYS: the key of 'b' is there under another name too"),
        ("PORT", "many", "PORT: "),
        ("TASK_TOPIC_ARN", "tasks", "TASK_TOPIC_ARN: must be an SNS topic's ARN"),
        ("TASK_TOPIC_ARN", "", "TASK_TOPIC_ARN: is required and missing"),
        ("TASK_TOPIC_ARN", REQUIRED["CALLBACK_TOPIC_ARN"], "must not be the same topic"),
        ("CDN_BASE_URL", "cdn", "CDN_BASE_URL: must be an http:// or https:// address"),
        ("ROOT_PATH", "prod", "ROOT_PATH: must start with a slash"),
        ("ALLOWED_HOSTS", "http://a.example", "ALLOWED_HOSTS: 'http://a.example' is no host name"),
    ],
)
def test_a_wrong_one_is_named_in_one_line_without_the_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_wrong_settings_and_a_wrong_config_end_with_2_and_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONFIG_FILE", "/nowhere/config.yaml")
    assert main([]) == 2
    assert capsys.readouterr().err == "/nowhere/config.yaml: cannot be read: No such file or directory\n"
    monkeypatch.setenv("PORT", "x")
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("PORT: ")


def test_help_names_every_required_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for name in REQUIRED:
        assert name in shown
