"""Comfy's own Python SDK, as its README uses it, against an API that serves v2: nothing is told but address and key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from comfy_sdk import (
    AsyncComfy,
    Comfy,
    ComfyError,
    IdempotencyKeyReuse,
    InvalidWorkflow,
    JobFailed,
    MissingAsset,
    NotFound,
    OutputReady,
    StatusChange,
    Unauthorized,
)
from PIL import Image

from contract.identifiers import TaskRef
from contract.objects import INPUTS, record_key
from contract.record import Record
from tests.support.deployment import deploy
from tests.support.stack import SPARES, Stack, unique
from tests.support.workflows import Workflow, diffusion

DOCS = Path(__file__).parents[3] / "docs" / "comfy-api.md"
KEYS = {"alice": "alice-key", "bob": "bob-key"}
IDLE = "spare-comfy1"
"""A runtime without agents: what is sent there waits."""

Connect = Callable[..., Comfy]


@pytest.fixture(scope="module")
def stack(localstack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that serves v2 to two tenants, with an agent for the first of its ComfyUI runtimes."""
    with Stack(deploy(localstack, config=SPARES), tmp_path_factory.mktemp("stack")) as made:
        made.start_api(COMFY_API="true", API_KEYS=",".join(f"{name}={key}" for name, key in KEYS.items()))
        made.start_pod("spare-comfy0")
        yield made
        assert made.traces() == {}


@pytest.fixture
def connect(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Makes clients; `runtime` names another one than the first."""
    made: list[Comfy] = []

    def connect(tenant: str = "alice", *, runtime: str = "") -> Comfy:
        monkeypatch.setenv("COMFY_BASE_URL", f"{stack.api}/deployment/{runtime}" if runtime else stack.api)
        made.append(Comfy(api_key=KEYS.get(tenant, tenant)))
        return made[-1]

    yield connect
    for client in made:
        client.close()


def picture(colour: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 48), colour).save(out, "PNG")
    return out.getvalue()


def inverting() -> Workflow:
    return (
        Workflow()
        .node("10", "LoadImage", image="")
        .node("11", "ImageInvert", image=["10", 0])
        .node("12", "SaveImage", images=["11", 0], filename_prefix="inverted")
    )


def files_of(stack: Stack, tenant: str) -> list[str]:
    return [key for key in stack.deployment.object_keys(f"{INPUTS}{tenant}/") if key.endswith(".png")]


def test_a_workflow_with_a_picture_of_ones_own_runs_and_hands_out_what_it_made(
    stack: Stack, connect: Connect, tmp_path: Path
) -> None:
    client = connect()
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture("red"))
    asset = client.assets.from_file(photo)
    flow = client.workflows.from_json(dict(inverting()))
    flow.set_input("10", "image", asset)
    job = client.submit(flow, metadata={"client": "acme", "batch": "7"})
    seen = list(job.events())
    assert [event.output.name for event in seen if isinstance(event, OutputReady)] == ["inverted_00001_.png"]
    assert seen[-1] == StatusChange("succeeded")

    assert job.result().status == "succeeded"
    (output,) = job.outputs
    assert [found.id for found in job.get_outputs("12")] == [output.id]
    assert job.get_outputs("11") == []
    saved = output.to_file(tmp_path / output.name)
    assert (output.type, output.content_type, output.job_id) == ("image", "image/png", job.id)
    assert output.size_bytes == saved.stat().st_size
    with Image.open(saved) as made:
        assert made.convert("RGB").getpixel((1, 1)) == (0, 255, 255)
    assert output.to_bytes(range=(0, 3)) == saved.read_bytes()[:4]
    assert httpx.get(output.get_download_url().url).content == saved.read_bytes()

    graph = client.jobs.get(job.id).get_workflow()
    assert (graph.format, graph.graph["12"]) == ("api", inverting()["12"])
    assert [item.id for item in client.list_jobs(metadata={"client": "acme"})] == [job.id]
    assert list(client.list_jobs(metadata={"client": "other"})) == []
    assert (job.metadata, client.jobs.get(job.id).metadata) == ({"client": "acme", "batch": "7"},) * 2

    # What the job made is an asset, too: the next one takes it by its id.
    flow.set_input("10", "image", client.assets.get(output.id))
    again = client.run(flow)
    with Image.open(BytesIO(again.outputs[0].to_bytes())) as back:
        assert back.convert("RGB").getpixel((1, 1)) == (255, 0, 0)


def test_the_example_of_the_documentation_does_what_it_says(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "photo.png").write_bytes(picture("green"))
    (tmp_path / "workflow_api.json").write_text(json.dumps(inverting()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMFY_BASE_URL", stack.api)
    monkeypatch.setenv("COMFY_API_KEY", KEYS["bob"])
    exec(compile(example, DOCS.name, "exec"), {})
    assert "StatusChange(status='succeeded', queue_position=None)" in capsys.readouterr().out
    assert len(list(tmp_path.glob("inverted_*.png"))) == 1


def test_the_same_bytes_are_kept_once_for_a_tenant_and_never_found_by_another(stack: Stack, connect: Connect) -> None:
    alice, bob = connect("alice"), connect("bob")
    before = files_of(stack, "alice")
    first, second = (alice.assets.from_bytes(picture("blue"), filename=name) for name in ("a.png", "b.png"))
    assert first.commit() == second.commit()
    assert (first.created_new, second.created_new) == (True, False)
    assert len(files_of(stack, "alice")) == len(before) + 1
    assert httpx.get(first.get_download_url().url).content == picture("blue")

    with pytest.raises(NotFound):
        bob.assets.get(str(first.id))
    own = bob.assets.from_bytes(picture("blue"))
    own.commit()
    assert own.created_new is True
    bob.assets.delete(str(own.id))
    with pytest.raises(NotFound):
        bob.assets.get(str(own.id))
    renewed = bob.assets.from_bytes(picture("blue"))
    renewed.commit()
    assert renewed.created_new is True
    assert httpx.get(renewed.get_download_url().url).content == picture("blue")
    assert alice.assets.get(str(first.id)).hash == first.hash


async def test_one_key_is_one_job_which_waits_where_its_address_says_until_it_is_cancelled(
    stack: Stack, connect: Connect
) -> None:
    connect(runtime=IDLE)  # sets the address
    async with AsyncComfy(api_key=KEYS["alice"]) as client:
        key = unique("key")
        flow = client.workflows.from_json(dict(diffusion()))
        job = await client.submit(flow, idempotency_key=key)
        record = Record.model_validate_json(stack.deployment.object(record_key(TaskRef(job.id, "alice"))))
        assert (record.current.runtime, job.status) == (IDLE, "queued")
        assert (await client.submit(flow, idempotency_key=key)).id == job.id
        flow.set_input("3", "seed", 6)
        with pytest.raises(IdempotencyKeyReuse):
            await client.submit(flow, idempotency_key=key)

        assert (await job.cancel()).status == "canceled"
        assert (await job.cancel()).status == "canceled"
        assert [event async for event in job.events()] == [StatusChange("canceled")]
        flow.set_input("3", "seed", 5)
        assert (await client.submit(flow, idempotency_key=key)).status == "canceled"
        assert [item.id async for item in client.list_jobs(limit=1)] == [job.id]


def test_what_goes_wrong_is_the_sdks_own_error(stack: Stack, connect: Connect) -> None:
    client = connect()

    def submit(graph: dict[str, Any]) -> Any:
        return client.submit(client.workflows.from_json(graph))

    with pytest.raises(Unauthorized):
        connect("nobody").jobs.get("any")
    with pytest.raises(NotFound):
        client.jobs.get("never-submitted")
    with pytest.raises(InvalidWorkflow, match=r"workflow\.1\.class_type"):
        submit({"1": {"inputs": {}}})
    with pytest.raises(MissingAsset):
        submit(inverting() | {"10": {"class_type": "LoadImage", "inputs": {"image": _asset("0" * 8)}}})
    with pytest.raises(ComfyError) as refused:
        client.submit(client.workflows.from_json(dict(inverting())), metadata={"two words": "x"})
    assert (refused.value.code, refused.value.http_status) == ("metadata_invalid", 422)
    with pytest.raises(NotFound, match="spare-comfy0"):
        connect(runtime="nowhere").run(client.workflows.from_json(dict(inverting())))

    with pytest.raises(JobFailed) as failed:
        client.run(
            client.workflows.from_json(inverting() | {"10": {"class_type": "LoadImage", "inputs": {"image": "no.png"}}})
        )
    assert failed.value.error is not None
    assert "no.png" in failed.value.error.message


def _asset(wanted: str) -> dict[str, Any]:
    return {"__type": "core/ASSET", "info": {"id": wanted}}
