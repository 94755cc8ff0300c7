"""Content credentials and the operator's check from end to end: marked in S3, or refused and never stored."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import c2pa
import pytest
from aiohttp import web
from PIL import Image

from contract.objects import split_s3_url
from contract.outputs import OutputCheck, OutputRules
from contract.record import Status
from local.harness.signer import make_signer
from tests.support.serving import ThreadedServer
from tests.support.stack import Stack, unique, workflow

REFUSED = unique("refused")
SEEN: dict[str, tuple[str, bytes]] = {}


async def judge(request: web.Request) -> web.Response:
    """Notes the media type and the bytes of each task's file, and refuses one task."""
    form = await request.post()
    task, file = json.loads(str(form["task"])), form["file"]
    assert isinstance(file, web.FileField)
    SEEN[task["id"]] = (file.content_type, file.file.read())
    return web.json_response({"allow": task["id"] != REFUSED, "reason": "it shows a logo"})


@pytest.fixture(scope="module")
def moderation() -> Iterator[str]:
    async def application() -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/check", judge)
        return app

    with ThreadedServer(application) as server:
        yield f"{server.url}/check"


def test_what_the_check_lets_pass_is_stored_marked_and_what_it_refuses_never_is(
    stack: Stack, comfy_runtime: str, moderation: str
) -> None:
    rules = OutputRules(content_credentials=True, check=OutputCheck(url=moderation))
    stack.start_pod(comfy_runtime, OUTPUTS=rules.as_json(), CREDENTIALS_SIGNER=make_signer())
    task_id = unique("marked")
    for each in (REFUSED, task_id):
        metadata = {"id": each, "runtime": comfy_runtime, "tasktype": "pipeline", "prefix": "output"}
        answer = stack.post("/v1/tasks", {"task": {"metadata": metadata, "content": {"prompt": workflow(each)}}})
        assert answer.status_code == 202, answer.text

    made = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    (key,) = [split_s3_url(url)[1] for url in made.image_url]
    data = stack.deployment.object(key)
    media_type, unmarked = SEEN[task_id]
    reader = c2pa.Reader(media_type, io.BytesIO(data))
    assert (media_type, reader.get_validation_state()) == ("image/png", "Valid")
    assert "trainedAlgorithmicMedia" in reader.json()
    assert Image.open(io.BytesIO(data)).info == Image.open(io.BytesIO(unmarked)).info
    with pytest.raises(c2pa.C2paError.ManifestNotFound):
        c2pa.Reader(media_type, io.BytesIO(unmarked))

    refused = stack.wait_ended_once(REFUSED, Status.FAILED)
    assert (refused.attempts, refused.image_url, refused.output_url) == (1, [], "")
    assert refused.error is not None
    assert (refused.error.code, refused.error.message) == (
        "output_refused",
        "the result was refused before it was stored: it shows a logo",
    )
