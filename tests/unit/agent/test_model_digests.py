"""Digests of models come in the background, are kept, and are never those of another file."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import cast

import pytest

from agent.environment import EnvironmentKeeper
from agent.model_digests import ModelDigests
from contract.environment import Lock, ModelFile
from contract.s3 import S3
from contract.task import RuntimeType
from tests.support.waiting import eventually_async
from tests.unit.agent.test_environment import Bucket, Server


def write(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def lock_of(*models: ModelFile) -> Lock:
    return Lock(type=RuntimeType.COMFYUI, models=models)


async def digests_of(digests: ModelDigests, lock: Lock) -> list[str | None]:
    return [model.digest for model in (await digests.fill(lock)).models or ()]


async def test_they_are_computed_once_and_again_only_when_a_file_changes(tmp_path: Path) -> None:
    folder, cache = tmp_path / "models", tmp_path / "digests.json"
    lock = lock_of(ModelFile(folder="checkpoints", name="sd/a.safetensors", size=3))
    first = write(folder, "Stable-diffusion/sd/a.safetensors", b"one")
    digests = ModelDigests(folder, cache)
    assert await digests_of(digests, lock) == [None]
    assert digests.lacks
    assert await digests.compute()
    assert await digests_of(digests, lock) == [first]
    assert not await digests.compute()

    another = ModelDigests(folder, cache)
    assert await digests_of(another, lock) == [first], "the file has kept it"
    assert not another.lacks

    second = write(folder, "Stable-diffusion/sd/a.safetensors", b"two")
    os.utime(folder / "Stable-diffusion/sd/a.safetensors", (1, 1))
    assert await digests_of(another, lock) == [None], "never the digest of what was there before"
    assert await another.compute()
    assert await digests_of(another, lock) == [second]


@pytest.mark.parametrize("cache", ["", "{", "[]", '{"a": 1}', '{"a": [1, "x", 2]}'])
async def test_a_cache_that_makes_no_sense_is_none(cache: str, tmp_path: Path) -> None:
    (tmp_path / "digests.json").write_text(cache)
    digest = write(tmp_path, "models/a.safetensors", b"one")
    digests = ModelDigests(tmp_path / "models", tmp_path / "digests.json")
    lock = lock_of(ModelFile(name="a.safetensors"))
    await digests.fill(lock)
    assert await digests.compute()
    assert await digests_of(digests, lock) == [digest]


async def test_what_cannot_be_told_stays_unknown_and_what_the_server_tells_stays(tmp_path: Path) -> None:
    lora, vae = (write(tmp_path, f"{kind}/same.safetensors", kind.encode()) for kind in ("loras", "vae"))
    write(tmp_path, "elsewhere/twice.pt", b"1")
    write(tmp_path, "other/twice.pt", b"2")
    write(tmp_path, "vae/size.pt", b"1")
    write(tmp_path, "vae/told.pt", b"1")
    lock = lock_of(
        ModelFile(folder="loras", name="same.safetensors"),
        ModelFile(folder="vae", name="same.safetensors"),
        ModelFile(folder="vae", name="twice.pt"),
        ModelFile(folder="vae", name="size.pt", size=99),
        ModelFile(folder="vae", name="told.pt", digest="blake3:1"),
        ModelFile(folder="vae", name="missing.pt"),
    )
    digests = ModelDigests(tmp_path)
    await digests.fill(lock)
    assert await digests.compute()
    assert await digests_of(digests, lock) == [lora, vae, None, None, "blake3:1", None]


async def test_a_folder_that_is_not_there_and_a_server_that_tells_no_models_are_no_trouble(tmp_path: Path) -> None:
    digests = ModelDigests(tmp_path / "none", tmp_path / "none" / "digests.json")
    assert await digests_of(digests, lock_of(ModelFile(name="a"))) == [None]
    assert (await digests.fill(Lock(type=RuntimeType.OPENAI))).models is None
    assert not await digests.compute()


async def test_the_environment_is_known_before_the_digests_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("agent.environment.DELAY", 0.0)
    digest = write(tmp_path, "a.safetensors", b"one")
    before = lock_of(ModelFile(name="a.safetensors", size=3))
    after = lock_of(ModelFile(name="a.safetensors", size=3, digest=digest))
    bucket = Bucket()
    keeper = EnvironmentKeeper(Server(before), cast("S3", bucket), "bucket", "r", digests=ModelDigests(tmp_path))
    keeper.meet()
    await keeper.look()
    assert keeper.hash == before.hash
    loop = asyncio.create_task(keeper.run())

    async def is_complete() -> bool:
        return keeper.hash == after.hash

    assert await eventually_async(is_complete)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
