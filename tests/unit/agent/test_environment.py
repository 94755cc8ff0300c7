"""What the agent knows of its runtime's environment, and what becomes of tasks that demand one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, cast

import pytest
from aiohttp import web
from botocore.exceptions import ClientError, EndpointConnectionError

from agent.decisions import FEW_DETOURS, LAST_RECEIVES, LONGEST_DETOUR, MOST_DETOURS, detour
from agent.environment import EnvironmentKeeper
from agent.errors import PermanentError, RuntimeUnavailableError
from agent.outcomes import HandedBack
from contract.environment import Extension, Index, Lock, ModelFile
from contract.objects import environment_index_key, environment_key
from contract.s3 import S3
from contract.task import RuntimeType
from contract.topology import MAX_RECEIVE_COUNT
from tests.unit.agent.runtime_support import adapter_of, web_server
from tests.unit.fake_runtime.support import serving


async def told(kind: RuntimeType, tmp_path: Path, **settings: Any) -> Lock:
    """Returns what a fake tells, through the adapter of its type."""
    async with serving(tmp_path, type=kind.value, **settings) as server, adapter_of(kind, server.url) as runtime:
        await runtime.wait_until_ready()
        return (await runtime.tell_environment()).in_order()


async def told_by(kind: RuntimeType, answers: Mapping[str, Any], *, asked: list[str] | None = None) -> Lock:
    """Returns what the adapter makes of a server that answers so; every other path is not there."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if asked is not None:
            asked.append(request.path)
        found = answers.get(request.path_qs, answers.get(request.path))
        return web.Response(status=404) if found is None else web.json_response(found)

    async with web_server(answer) as url, adapter_of(kind, url) as runtime:
        return (await runtime.tell_environment()).in_order()


async def test_comfyui_tells_versions_packs_and_models_with_their_sizes(tmp_path: Path) -> None:
    lock = await told(RuntimeType.COMFYUI, tmp_path, models="b.safetensors,a.safetensors")
    assert lock.version == "0.33.0"
    assert lock.packages["pytorch"] == "2.13.0+fake"
    assert lock.packages["comfyui-frontend-package"]
    assert lock.packages["python"].count(".") == 2
    assert Extension(name="websocket_image_save") in (lock.extensions or ()), "its version nobody tells"
    assert lock.models is not None
    assert [(item.folder, item.name, item.digest) for item in lock.models] == [
        ("checkpoints", "a.safetensors", None),
        ("checkpoints", "b.safetensors", None),
    ]
    assert lock.models[0].size
    assert lock.settings == {}, "where it listens is no part of it"


async def test_comfyui_with_its_manager_and_options_and_without_sizes() -> None:
    lock = await told_by(
        RuntimeType.COMFYUI,
        {
            "/system_stats": {
                "system": {
                    "comfyui_version": "0.3.40",
                    "argv": ["main.py", "--listen", "x", "--force-fp32", "--fast", "a"],
                }
            },
            "/object_info": {
                "A": {"input": {}, "python_module": "custom_nodes.KJNodes"},
                "B": {"input": {}, "python_module": "nodes"},
                "C": {"input": {}, "python_module": "custom_nodes.mine"},
            },
            "/v2/customnode/installed": {
                "KJNodes": {"ver": "1.2.3", "enabled": True},
                "off": {"ver": "1", "enabled": False},
                "web-only": {"ver": "nightly", "enabled": True},
            },
            "/models": ["checkpoints", "custom_nodes"],
            "/models/checkpoints": ["a.safetensors"],
        },
    )
    assert lock.extensions == (
        Extension(name="KJNodes", version="1.2.3"),
        Extension(name="mine"),
        Extension(name="web-only", version="nightly"),
    )
    assert lock.models == (ModelFile(folder="checkpoints", name="a.safetensors"),)
    assert lock.settings == {"--force-fp32": True, "--fast": "a"}


async def test_sd_web_ui_tells_checkpoints_with_their_digests_and_what_shapes_pictures(tmp_path: Path) -> None:
    lock = await told(RuntimeType.SDWEBUI, tmp_path, models="a.safetensors")
    assert lock.version is None, "only the web page has the route that tells it"
    assert lock.extensions == ()
    assert lock.models is not None
    (model,) = lock.models
    assert (model.folder, model.name) == ("Stable-diffusion", "a.safetensors")
    assert model.digest is not None
    assert model.digest.startswith("sha256:")
    assert "CLIP_stop_at_last_layers" in lock.settings
    assert "sd_model_checkpoint" not in lock.settings, "requests change it"


@pytest.mark.parametrize("made_up", ["8" * 64, "", None, "unknown", "12ab", 7])
async def test_a_digest_that_nobody_has_computed_is_unknown(made_up: Any) -> None:
    listed = [{"title": "tiny", "filename": "/models/tiny.safetensors", "sha256": made_up}]
    lock = await told_by(RuntimeType.SDWEBUI, {"/sdapi/v1/sd-models": listed})
    assert lock.models == (ModelFile(folder="Stable-diffusion", name="tiny.safetensors"),)


async def test_sd_web_ui_with_its_page_tells_its_version() -> None:
    lock = await told_by(
        RuntimeType.SDWEBUI,
        {
            "/internal/sysinfo?attachment=false": {
                "Version": "v1.10.1",
                "Python": "3.10.14",
                "Torch env info": {"torch_version": "2.1.2"},
            },
            "/sdapi/v1/extensions": [
                {"name": "controlnet", "commit_hash": "56cec5b2", "version": "1.1.455", "enabled": True},
                {"name": "off", "commit_hash": "00", "enabled": False},
            ],
        },
    )
    assert (lock.version, lock.packages) == ("v1.10.1", {"python": "3.10.14", "pytorch": "2.1.2"})
    assert lock.extensions == (Extension(name="controlnet", version="56cec5b2"),)
    assert lock.models is None


async def test_invokeai_and_servers_of_openais_api_tell_what_they_know(tmp_path: Path) -> None:
    invoke = await told(RuntimeType.INVOKEAI, tmp_path / "invoke", models="a.safetensors")
    assert invoke.version
    assert invoke.packages["torch"]
    assert "invokeai" not in invoke.packages
    assert invoke.models == (ModelFile(folder="main", name="a.safetensors", digest="blake3:0"),)
    assert invoke.extensions is None

    openai = await told(RuntimeType.OPENAI, tmp_path / "openai", models="flux")
    assert openai.models == (ModelFile(name="flux"),)
    assert openai.version is None


async def test_a_runtime_of_ones_own_tells_what_it_wants_and_cannot_say_it_is_another() -> None:
    document = {"server": "mine", "version": "7", "type": "comfyui", "fake": True, "image": "x", "models": []}
    lock = await told_by(RuntimeType.HTTP, {"/environment": document})
    assert lock == Lock(type=RuntimeType.HTTP, server="mine", version="7", models=())
    refused: list[Any] = [{"models": 7}, [], "x", {"settings": 1}]
    for nonsense in refused:
        assert await told_by(RuntimeType.HTTP, {"/environment": nonsense}) == Lock(type=RuntimeType.HTTP)


@pytest.mark.parametrize("kind", list(RuntimeType))
@pytest.mark.parametrize("nonsense", [None, [], {}, "x", 7, [{}], [[]], {"a": []}], ids=str)
async def test_nonsense_leaves_unknown_and_breaks_nothing(kind: RuntimeType, nonsense: Any) -> None:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(nonsense)

    async with web_server(answer) as url, adapter_of(kind, url) as runtime:
        if kind is RuntimeType.COMFYUI and not isinstance(nonsense, dict):
            return  # its nodes are needed for more than this
        lock = await runtime.tell_environment()
    assert lock.version is None
    assert not lock.models


async def test_comfyui_is_asked_for_its_nodes_once_however_many_want_to_know() -> None:
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({"A": {"input": {}, "python_module": "custom_nodes.mine"}})

    async with web_server(answer) as url, adapter_of(RuntimeType.COMFYUI, url) as runtime:
        nodes = asyncio.create_task(cast("Any", runtime).tell_nodes())
        await asyncio.sleep(0)
        await asyncio.gather(nodes, runtime.tell_environment())
    assert asked.count("/object_info") == 1


@dataclass
class Bucket:
    """S3, as far as the keeper uses it; `absent` plays an outage."""

    objects: dict[str, bytes] = field(default_factory=dict)
    absent: bool = False
    writes: list[str] = field(default_factory=list)

    async def get_object(self, *, Bucket: str, Key: str) -> Any:  # noqa: N803 - boto's names
        self._check()
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": ""}}, "GetObject")
        return {"Body": _Body(self.objects[Key]), "ETag": "1"}

    async def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> Any:  # noqa: N803
        self._check()
        self.objects[Key] = Body
        self.writes.append(Key)
        return {"ETag": "1"}

    def _check(self) -> None:
        if self.absent:
            raise EndpointConnectionError(endpoint_url="http://s3")


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def read(self) -> bytes:
        return self._data


class Server:
    """A runtime that tells what the test says; None: it does not answer."""

    def __init__(self, lock: Lock | None) -> None:
        self.lock = lock
        self.asked = 0

    async def tell_environment(self) -> Lock:
        self.asked += 1
        if self.lock is None:
            raise RuntimeUnavailableError("runtime_unreachable", "it does not listen")
        return self.lock


ONE = Lock(type=RuntimeType.HTTP, version="1")
TWO = Lock(type=RuntimeType.HTTP, version="2")


def keeper_of(server: Server, bucket: Bucket, **more: Any) -> EnvironmentKeeper:
    return EnvironmentKeeper(server, cast("S3", bucket), "bucket", "r", **more)


async def test_a_lock_is_stored_once_and_its_index_says_when_it_was_told() -> None:
    bucket, server = Bucket(), Server(ONE)
    for keeper in (keeper_of(server, bucket), keeper_of(server, bucket)):
        keeper.meet()
        for _ in range(3):
            assert await keeper.look()
        assert keeper.hash == ONE.hash
    assert bucket.writes == [environment_key("r", ONE.hash), environment_index_key("r")]
    assert Lock.model_validate_json(bucket.objects[environment_key("r", ONE.hash)]) == ONE
    index = Index.model_validate_json(bucket.objects[environment_index_key("r")])
    assert index.lately(ONE.hash, datetime.now(UTC))


@pytest.mark.parametrize(
    "told",
    [
        Lock(type=RuntimeType.SDWEBUI, settings={"sd_vae": "caf\udce9.pt"}),
        Lock(type=RuntimeType.COMFYUI, models=(ModelFile(folder="caf\udce9", name="a"),)),
        Lock(type=RuntimeType.COMFYUI, extensions=(Extension(name="caf\udce9"),), packages={"\udce9": "1"}),
    ],
)
async def test_a_name_that_is_no_utf_8_is_told_as_far_as_it_can_be_written(told: Lock) -> None:
    bucket = Bucket()
    keeper = keeper_of(Server(told), bucket)
    keeper.meet()
    assert await keeper.look()
    assert b"?" in bucket.objects[environment_key("r", keeper.hash)]


async def test_image_and_stand_in_are_parts_of_it() -> None:
    hashes = set()
    for more in ({}, {"image": "a@sha256:1"}, {"image": "a@sha256:2"}, {"fake": True}):
        keeper = keeper_of(Server(ONE), Bucket(), **more)
        keeper.meet()
        await keeper.look()
        hashes.add(keeper.hash)
    assert len(hashes) == 4


async def test_a_server_that_is_met_anew_is_unknown_until_it_has_told() -> None:
    server = Server(ONE)
    keeper = keeper_of(server, Bucket())
    keeper.meet()
    await keeper.look()
    server.lock = None
    keeper.meet()
    assert not await keeper.look()
    assert keeper.hash == ""
    assert keeper.suits(None)
    assert not keeper.suits(ONE.hash)
    server.lock = TWO
    await keeper.look()
    assert keeper.hash == TWO.hash


async def test_what_s3_does_not_take_is_stored_later_and_known_at_once() -> None:
    bucket = Bucket(absent=True)
    keeper = keeper_of(Server(ONE), bucket)
    keeper.meet()
    assert not await keeper.look()
    assert keeper.hash == ONE.hash
    bucket.absent = False
    assert await keeper.look()
    assert environment_key("r", ONE.hash) in bucket.objects


async def test_the_loop_asks_once_for_each_meeting_and_again_only_where_it_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.environment.DELAY", 0.0)
    monkeypatch.setattr("agent.environment.RETRIES", (0.01, 0.01))
    server = Server(None)
    keeper = keeper_of(server, Bucket())
    loop = asyncio.create_task(keeper.run())
    await asyncio.sleep(0.05)
    assert server.asked == 0
    keeper.meet()
    await asyncio.sleep(0.1)
    assert server.asked > 1
    server.lock, server.asked = ONE, 0
    await asyncio.sleep(0.1)
    assert (server.asked, keeper.hash) == (1, ONE.hash)
    server.lock = TWO
    keeper.meet()
    await asyncio.sleep(0.1)
    assert (server.asked, keeper.hash) == (2, TWO.hash)
    loop.cancel()


async def test_a_demand_that_is_met_passes_and_costs_no_call_of_aws() -> None:
    bucket = Bucket()
    keeper = keeper_of(Server(ONE), bucket)
    keeper.meet()
    await keeper.look()
    bucket.absent = True
    assert await keeper.demand(ONE.hash, receive_count=90) is None


async def test_a_demand_goes_back_while_another_agent_has_it_and_fails_soon_when_none_has() -> None:
    bucket = Bucket()
    keeper = keeper_of(Server(ONE), bucket)
    keeper.meet()
    await keeper.look()
    assert isinstance(await keeper.demand(TWO.hash, receive_count=1), HandedBack)
    with pytest.raises(PermanentError, match="no agent that has it is about") as caught:
        await keeper.demand(TWO.hash, receive_count=FEW_DETOURS + 1)
    assert caught.value.code == "environment_differs"

    other = keeper_of(Server(TWO), bucket)
    other.meet()
    await other.look()
    fresh = keeper_of(Server(ONE), bucket)  # what is about is asked once in half a minute
    fresh.meet()
    await fresh.look()
    assert isinstance(await fresh.demand(TWO.hash, receive_count=FEW_DETOURS + 1), HandedBack)
    with pytest.raises(PermanentError, match="did not get the task"):
        await fresh.demand(TWO.hash, receive_count=MOST_DETOURS + 1)


async def test_a_demand_waits_while_it_is_not_known_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.environment.KNOWN_SECONDS", 0.05)
    server = Server(None)
    keeper = keeper_of(server, Bucket())
    keeper.meet()
    assert isinstance(await keeper.demand(ONE.hash, receive_count=FEW_DETOURS + 1), HandedBack)
    monkeypatch.setattr("agent.environment.KNOWN_SECONDS", 10.0)
    waiting = asyncio.create_task(keeper.demand(ONE.hash, receive_count=1))
    await asyncio.sleep(0.02)
    server.lock = ONE
    await keeper.look()
    assert await waiting is None


def test_detours_end_before_sqs_or_an_agent_ends_them_otherwise() -> None:
    assert FEW_DETOURS < MOST_DETOURS < MAX_RECEIVE_COUNT - LAST_RECEIVES
    for is_about, most in ((True, MOST_DETOURS), (False, FEW_DETOURS)):
        delays = [detour(receive_count=count, is_about=is_about, jitter=0.0) for count in range(1, most + 1)]
        assert all(delay is not None and 1 <= delay <= LONGEST_DETOUR for delay in delays)
        assert detour(receive_count=most + 1, is_about=is_about, jitter=0.0) is None


def test_the_stored_document_is_plain_json() -> None:
    assert json.loads(ONE.model_dump_json())["version"] == "1"
