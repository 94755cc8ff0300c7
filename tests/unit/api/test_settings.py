"""Settings come from the environment, and a wrong one is named in one line that shows no secret."""

from __future__ import annotations

import pytest

from api.__main__ import main
from api.sample.settings import load_sample_settings
from api.settings import SettingsError, load_settings

REQUIRED = {
    "TASK_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:tasks",
    "CALLBACK_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:callbacks",
    "S3_BUCKET": "bucket",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "API_KEYS",
        "API_ADMIN_KEYS",
        "API_KEYS_SHARED",
        "GATEWAY_SECRET",
        "GATEWAY_SECRET_ARN",
        "AWS_ENDPOINT_URL",
        "CONFIG_FILE",
        "PORT",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)


def test_the_required_ones_are_enough() -> None:
    settings = load_settings()

    assert (settings.host, settings.port, settings.max_body_bytes) == ("127.0.0.1", 8000, 20 * 1024 * 1024)
    assert settings.keys == ()
    assert not settings.api_keys_shared


def test_keys_are_split_at_the_first_equals_sign_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", " alice = abc== , bob=def,")

    settings = load_settings()

    assert [(item.name, item.key.get_secret_value()) for item in settings.keys] == [("alice", "abc=="), ("bob", "def")]
    assert "abc" not in repr(settings)


def test_a_tenant_may_have_several_keys_and_admins_have_a_variable_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_KEYS", "alice=old,alice=new")
    monkeypatch.setenv("API_ADMIN_KEYS", "ops=admin")

    keys = load_settings().keys

    assert [(item.name, item.admin) for item in keys] == [("alice", False), ("alice", False), ("ops", True)]


def test_names_are_free_where_all_keys_share_one_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "Alice Smith=abc")
    monkeypatch.setenv("API_KEYS_SHARED", "true")

    assert [item.name for item in load_settings().keys] == ["Alice Smith"]


def test_two_secrets_of_a_gateway_count_while_one_replaces_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_SECRET", "a-secret-of-the-gateway, its-next-secret-is-this")

    settings = load_settings()

    assert settings.behind_gateway
    assert [item.get_secret_value() for item in settings.gateway_secrets] == [
        "a-secret-of-the-gateway",
        "its-next-secret-is-this",
    ]
    assert "its-next" not in repr(settings)


def test_a_key_that_is_an_admins_too_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "alice=a-secret")
    monkeypatch.setenv("API_ADMIN_KEYS", "ops=a-secret")

    with pytest.raises(SettingsError, match=r"^API_KEYS: one key is there under two names, 'alice' and 'ops'$"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("API_KEYS", "just-a-secret", "API_KEYS: entry 1 is not name=key"),
        ("API_ADMIN_KEYS", "a=1,just-a-secret", "API_ADMIN_KEYS: entry 2 is not name=key"),
        ("API_KEYS", "a=just-a-secret,a=just-a-secret", "API_KEYS: one key is there under 'a' twice"),
        ("API_KEYS", "a=just-a-secret,b=just-a-secret", "API_KEYS: one key is there under two names, 'a' and 'b'"),
        ("API_KEYS", "../b=just-a-secret", "API_KEYS: '../b' is no tenant: a tenant's name is 1 to 63 lower-case"),
        ("API_KEYS", "Alice=just-a-secret", "API_KEYS_SHARED=true"),
        ("API_ADMIN_KEYS", "a/b=just-a-secret", "API_ADMIN_KEYS: 'a/b' is no tenant"),
        ("GATEWAY_SECRET", "short-secret", "GATEWAY_SECRET: must be at least 16 ASCII characters"),
        ("GATEWAY_SECRET_ARN", "mine", "GATEWAY_SECRET_ARN: must be the ARN of an AWS Secrets Manager entry"),
        ("EXPIRY_SECONDS", "1209600", "SQS forgets a task before anybody looks"),
        ("PORT", "many", "PORT: "),
        ("COMFY_API", "maybe", "COMFY_API: must be true or false"),
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


def test_the_sample_application_names_what_is_missing_or_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_URL", "api")
    monkeypatch.delenv("CALLBACK_QUEUE_URL", raising=False)

    with pytest.raises(SettingsError) as caught:
        load_sample_settings()

    assert str(caught.value).splitlines() == [
        "API_URL: must be an http:// or https:// address without a query",
        "CALLBACK_QUEUE_URL: is required and missing",
    ]
