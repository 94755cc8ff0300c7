"""The secrets that sign are those of today, whatever stood there in between."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from contract.webhook_secrets import Secrets
from tests.support.waiting import until
from webhooks import application
from webhooks.settings import Settings


async def test_one_that_cannot_be_read_does_not_hide_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    values = ["old-root-of-many-characters", "short", "new-root-of-many-characters"]

    async def read(_: Any) -> Secrets:
        return Secrets.parse(values.pop(0) if len(values) > 1 else values[0])

    monkeypatch.setattr(application, "_SECRETS_EVERY", 0)
    monkeypatch.setattr(application, "_read", read)
    settings = Settings.model_construct(webhook_secrets_arn="arn:x")
    async with AsyncExitStack() as stack:
        secrets = await application._secrets(settings, stack)
        assert secrets().roots == ("old-root-of-many-characters",)
        await until(lambda: secrets().roots == ("new-root-of-many-characters",))
