"""What a runtime tells of its nodes is written for the API once, and again when it is something else."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.catalogue import CatalogueKeeper
from agent.errors import TransientError
from contract.catalogue import unpack
from contract.objects import catalogue_key
from tests.support.deployment import Deployment


class Server:
    """A runtime that tells what the test says."""

    def __init__(self) -> None:
        self.met = asyncio.Event()
        self.told: dict[str, Any] | None = None

    async def tell_nodes(self) -> dict[str, Any]:
        if self.told is None:
            raise TransientError("runtime_timeout", "it does not answer")
        return self.told


def told(*classes: str) -> dict[str, Any]:
    return {name: {"input": {"required": {"size": ["INT", {"max": 2**70}]}}} for name in classes}


async def test_it_is_written_once_for_each_change(module_deployment: Deployment) -> None:
    server, bucket, key = Server(), module_deployment.place.output_bucket, catalogue_key("comfy")
    s3 = module_deployment.clients.s3
    async with module_deployment.s3() as client:
        keeper = CatalogueKeeper(server, client, bucket, "comfy")
        await keeper.look()
        assert module_deployment.object_keys(key) == []

        written = []
        for server.told in (told("A"), told("A"), None, {}, {"A": 1}, told("A", "B")):
            await keeper.look()
            written.append(s3.get_object(Bucket=bucket, Key=key))
        catalogues = [dict(unpack(answer["Body"].read())) for answer in written]
    assert catalogues == [told("A")] * 5 + [told("A", "B")]
    assert len({answer["LastModified"] for answer in written[:5]}) == 1
