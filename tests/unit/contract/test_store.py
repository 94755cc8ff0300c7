"""What the store's requests look like on their way."""

from __future__ import annotations

from typing import Any

import pytest
from aiobotocore.session import get_session

from contract.store import send_bodies_at_once


class StoppedError(Exception):
    """The request is not sent."""


async def test_a_body_goes_with_its_head_and_s3_is_not_asked_first() -> None:
    heads: list[dict[str, Any]] = []

    def stop(request: Any, **_: Any) -> None:
        heads.append(dict(request.headers))
        raise StoppedError

    async with get_session().create_client(
        "s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    ) as s3:
        send_bodies_at_once(s3)
        s3.meta.events.register("before-send.s3", stop)
        with pytest.raises(StoppedError):
            await s3.put_object(Bucket="bucket", Key="key", Body=b"{}", IfNoneMatch="*")

    (head,) = heads
    assert head["If-None-Match"] == b"*"
    assert "Expect" not in head
