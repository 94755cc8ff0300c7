"""Whose a bucket is: each call says which account must own it, since a name that is free may be taken by anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def expect_owner(client: Any, owner: Callable[[str], str]) -> None:
    """Lets S3 refuse (403) every call of a client that names a bucket of another account than the one it is to have.

    Source: Amazon S3, "Verifying bucket ownership with bucket owner condition".

    Args:
        client: boto3's for S3.
        owner: returns the account of a bucket by its name, twelve digits; it is asked before each call.
    """

    def add(params: dict[str, Any], model: Any, **_: Any) -> None:
        if "Bucket" in params and "ExpectedBucketOwner" in model.input_shape.members:
            params.setdefault("ExpectedBucketOwner", owner(params["Bucket"]))

    client.meta.events.register("provide-client-params.s3.*", add)
