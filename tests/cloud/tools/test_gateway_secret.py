"""The API reads its gateway's secret where AWS keeps it, and believes the previous one too."""

from __future__ import annotations

import asyncio

import pytest

from contract.secret_store import read_secrets
from tests.cloud.tools.conftest import REGION, client


async def test_the_current_and_the_previous_value_count(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    manager = client("secretsmanager", moto_server)
    arn = manager.create_secret(Name="gateway", SecretString="first-of-the-gateway")["ARN"]

    async def values() -> list[str]:
        found = await read_secrets(arn, region=REGION, endpoint=moto_server)
        return [item.get_secret_value() for item in found]

    assert await values() == ["first-of-the-gateway"]
    manager.put_secret_value(SecretId=arn, SecretString="second-of-the-gateway")
    assert await values() == ["second-of-the-gateway", "first-of-the-gateway"]


async def test_a_secret_that_is_not_there_yet_is_waited_for(
    moto_server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("contract.secret_store._RETRY_SECONDS", 0.05)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    manager = client("secretsmanager", moto_server)

    waiting = asyncio.create_task(read_secrets("late", region=REGION, endpoint=moto_server))
    said = ""
    async with asyncio.timeout(60):
        while "cannot read a secret" not in said:
            await asyncio.sleep(0.02)
            said += capsys.readouterr().out
    assert not waiting.done()
    manager.create_secret(Name="late", SecretString="late-but-nobody-can-guess")
    assert [item.get_secret_value() for item in await waiting] == ["late-but-nobody-can-guess"]
