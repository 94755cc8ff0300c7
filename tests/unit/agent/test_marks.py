"""Files leave with content credentials that C2PA's own reader validates, or their task fails by name."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import c2pa
import pytest
import pytest_asyncio
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import SecretStr

from agent.errors import PermanentError, TransientError
from agent.marks import signer as module
from agent.marks.facts import facts_of_request
from agent.marks.frames import write_frame
from agent.marks.manifest import GENERATED
from agent.marks.signer import Signer, WrongSignerError
from agent.marks.worker import Marker, SignerError
from agent.runtimes.base import Answer, Output
from contract.outputs import OutputRules, Told, Unmarked
from fake_runtime import media
from local.harness.signer import make_signer
from tests.support.stack import workflow
from tests.support.waiting import PATIENCE

PEM = make_signer()
FACTS = facts_of_request({"prompt": workflow("a dog")})


def picture(kind: str, **options: Any) -> bytes:
    written = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(written, kind, **options)
    return written.getvalue()


def comfyui_png() -> bytes:
    info = PngInfo()
    info.add_text("prompt", json.dumps(workflow("a dog")))
    info.add_text("workflow", json.dumps({"nodes": ["größer"]}))
    return picture("PNG", pnginfo=info)


def read(data: bytes, media_type: str) -> c2pa.Reader:
    return c2pa.Reader(media_type, io.BytesIO(data))


def action(data: bytes, media_type: str) -> dict[str, Any]:
    """The one action of a file's newest manifest."""
    assertions = {item["label"]: item["data"] for item in read(data, media_type).get_active_manifest()["assertions"]}
    (found,) = [item for item in assertions["c2pa.actions.v2"]["actions"] if item["action"] == "c2pa.created"]
    return {**found, "metadata": assertions.get("cawg.metadata", {})}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signer() -> AsyncIterator[Signer]:
    rules = OutputRules(content_credentials=True, tell_by_tenant={"alice": tuple(Told), "bob": ()})
    made = Signer(SecretStr(PEM), rules, runtime="ComfyUI")
    await made.start()
    yield made
    await made.close()


async def mark(signer: Signer, *files: tuple[str, bytes], raw: bytes = b"{}", tenant: str = "") -> Answer:
    answer = Answer([Output(data, name) for name, data in files], raw)
    return await signer.mark(answer, FACTS, tenant=tenant, title="task")


pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = {
    "image/png": ("a.png", comfyui_png()),
    "image/jpeg": ("a.jpg", picture("JPEG")),
    "image/webp": ("a.webp", picture("WEBP")),
    "video/mp4": ("a.mp4", media.mp4([picture("JPEG")] * 3, 8)),
}


@pytest.mark.parametrize("media_type", FILES)
async def test_a_file_says_that_a_model_made_it_and_its_signature_holds(signer: Signer, media_type: str) -> None:
    name, data = FILES[media_type]
    marked = (await mark(signer, (name, data))).outputs[0]
    assert (marked.name, len(marked.data) < len(data) + 20_000) == (name, True)

    reader = read(marked.data, media_type)
    assert reader.get_validation_state() == "Valid"
    failures = reader.get_validation_results()["activeManifest"]["failure"]
    assert [item["code"] for item in failures] == ["signingCredential.untrusted"], (
        "a test certificate, and nothing else"
    )
    told = action(marked.data, media_type)
    assert told["digitalSourceType"] == GENERATED
    assert told["softwareAgent"] == {"name": "ComfyUI"}
    assert told["parameters"] == {"darkroom.seed": ["1"], "darkroom.workflow.sha256": FACTS.workflow}
    assert told["metadata"]["Iptc4xmpExt:AISystemUsed"] == "v1-5-pruned-emaonly.safetensors"
    assert "a dog" not in json.dumps(told)


async def test_a_marked_file_that_was_changed_is_found_out(signer: Signer) -> None:
    marked = bytearray((await mark(signer, FILES["image/jpeg"])).outputs[0].data)
    marked[-40] ^= 1
    assert read(bytes(marked), "image/jpeg").get_validation_state() == "Invalid"


async def test_a_tenant_has_told_what_it_wishes_and_nothing_else(signer: Signer) -> None:
    name, data = FILES["image/png"]
    everything = action((await mark(signer, (name, data), tenant="alice")).outputs[0].data, "image/png")
    assert everything["metadata"]["Iptc4xmpExt:AIPromptInformation"] == "a dog"
    nothing = action((await mark(signer, (name, data), tenant="bob")).outputs[0].data, "image/png")
    assert (nothing.get("parameters"), nothing["metadata"]) == (None, {})
    assert nothing["digitalSourceType"] == GENERATED


async def test_what_comfyui_wrote_into_a_picture_stays(signer: Signer) -> None:
    data = comfyui_png()
    before = Image.open(io.BytesIO(data))
    after = Image.open(io.BytesIO((await mark(signer, ("a.png", data))).outputs[0].data))
    assert after.info == before.info
    assert {"prompt", "workflow"} <= set(before.info)
    assert after.tobytes() == before.tobytes()


async def test_credentials_that_a_file_has_already_are_kept_as_what_it_was_made_of(signer: Signer) -> None:
    once = (await mark(signer, FILES["image/png"])).outputs[0].data
    twice = (await mark(signer, ("a.png", once))).outputs[0].data
    reader = read(twice, "image/png")
    assert reader.get_validation_state() == "Valid"
    assert len(json.loads(reader.json())["manifests"]) == 2


async def test_other_files_are_left_as_they_are(signer: Signer) -> None:
    others = [("a.gif", picture("GIF")), ("a.txt", b"words"), ("a.avif", picture("AVIF"))]
    answer = await mark(signer, *others)
    assert [(output.name, output.data) for output in answer.outputs] == others


async def test_a_picture_is_marked_whatever_its_workflow_calls_it(signer: Signer) -> None:
    (output,) = (await mark(signer, ("notes.txt", picture("PNG")))).outputs
    assert read(output.data, "image/png").get_validation_state() == "Valid"


async def test_the_answer_that_is_stored_beside_the_files_holds_them_marked_too(signer: Signer) -> None:
    plain = picture("PNG")
    text = base64.b64encode(plain).decode()
    raw = {"images": [text, f"data:image/png;base64,{text}"], "info": json.dumps({"all_seeds": [7, 8]}), "ü": 1.5}
    answer = await mark(signer, ("", plain), raw=json.dumps(raw).encode())
    stored = json.loads(answer.raw)
    marked = base64.b64encode(answer.outputs[0].data).decode()
    assert stored == {**raw, "images": [marked, f"data:image/png;base64,{marked}"]}
    assert action(answer.outputs[0].data, "image/png")["parameters"]["darkroom.seed"] == ["7", "8"], "as it drew them"


async def test_a_file_that_cannot_be_marked_fails_its_task_and_the_next_one_is_marked(signer: Signer) -> None:
    for broken in (picture("PNG")[:60], b"no film"):
        with pytest.raises(PermanentError, match=r"file 2 .* cannot get content credentials") as caught:
            await mark(signer, FILES["image/jpeg"], ("a.mp4" if broken == b"no film" else "a.png", broken))
        assert caught.value.code == "credentials_failed"
    await mark(signer, FILES["image/jpeg"])


async def test_it_is_delivered_with_a_warning_where_the_operator_says_so() -> None:
    signer = Signer(SecretStr(PEM), OutputRules(content_credentials=True, unmarked=Unmarked.DELIVER), runtime="x")
    try:
        broken = picture("PNG")[:60]
        answer = await mark(signer, ("a.png", broken), FILES["image/jpeg"])
        assert answer.outputs[0].data == broken
        assert read(answer.outputs[1].data, "image/jpeg").get_validation_state() == "Valid"
        assert [warning[:18] for warning in answer.warnings] == ["file 1 (image/png)"]
    finally:
        await signer.close()


async def test_a_process_that_dies_is_started_again_and_a_second_death_is_the_tasks(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signer._process is not None
    signer._process.kill()
    await mark(signer, FILES["image/jpeg"])

    monkeypatch.setattr(module, "_SECONDS", -1.0)  # each is ended for taking too long
    with pytest.raises(TransientError, match="has ended"):
        await mark(signer, FILES["image/jpeg"])
    monkeypatch.undo()
    await mark(signer, FILES["image/jpeg"])


async def test_a_certificate_that_has_run_out_since_the_start_is_told_of_as_such() -> None:
    signer = Signer(SecretStr(PEM), OutputRules(content_credentials=True), runtime="a server")
    await signer.start()
    try:
        assert signer._process is not None
        signer._process.kill()
        signer._pem = SecretStr(make_signer(days=-1))
        for _ in range(2):
            with pytest.raises(TransientError, match="not valid at time of signing"):
                await mark(signer, FILES["image/jpeg"])
    finally:
        await signer.close()


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        ("no PEM", "found 0 and 0"),
        (PEM.partition("-----BEGIN CERTIFICATE")[0], "found 1 and 0"),
        (make_signer(days=-1), "cannot sign by it: .*not valid at time of signing"),
        (PEM.replace(PEM[PEM.index("-----BEGIN CERT") : PEM.rindex("-----BEGIN CERT")], ""), "self-signed"),
        (make_signer().partition("-----BEGIN CERT")[0] + PEM[PEM.index("-----BEGIN CERT") :], "cannot sign by it"),
        (PEM.replace("PRIVATE KEY-----\nM", "PRIVATE KEY-----\nN", 1), "its private key cannot be read"),
    ],
    ids=["none", "no certificate", "expired", "self-signed", "of another key", "garbled"],
)
async def test_a_signer_that_cannot_sign_is_refused(pem: str, words: str) -> None:
    with pytest.raises(SignerError, match=words) as caught:
        Marker(pem)
    assert "PRIVATE" not in str(caught.value)


def last_words() -> tuple[bytes, int]:
    """What a process writes, and ends with, whose agent is gone before it answers."""
    with subprocess.Popen(
        [sys.executable, "-m", "agent.marks.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        write_frame(process.stdin, {"signer": "no PEM"}, [])
        process.stdout.close()
        return process.stderr.read(), process.wait(PATIENCE)


async def test_it_ends_in_silence_when_its_agent_is_killed_in_the_middle() -> None:
    assert last_words() == (b"", 0)


async def test_it_is_refused_at_the_start() -> None:
    signer = Signer(SecretStr("no PEM"), OutputRules(content_credentials=True), runtime="x")
    with pytest.raises(WrongSignerError, match="found 0 and 0"):
        await signer.start()
    await signer.close()
