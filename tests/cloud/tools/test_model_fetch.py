"""A model that the bucket lacks is fetched from where a setting says, checked by its hash, and put into the bucket."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from cloud.aws import Aws, ToolError
from cloud.deployment.download import StoppedError, download, size_of
from cloud.deployment.models import begin_fetch, check_models, end_fetch, missing_models
from cloud.deployment.steps import Step, Work, carry_out
from cloud.reporter import Reporter
from contract.config import parse_config
from local.models.parts import checksum_of_file
from tests.cloud.tools.conftest import client
from tests.support.serving import ThreadedServer

MODEL = bytes(range(256)) * 150_000
"""Larger than two parts of an upload (16 MiB each)."""
DIGEST = hashlib.sha256(MODEL).hexdigest()
KEY = "Stable-diffusion/small.safetensors"


class ModelServer:
    """A web server with one model, which can drop connections."""

    def __init__(self) -> None:
        self.url = ""
        self.starts: list[int] = []
        """Where each request for the model began."""
        self.cuts: list[int] = []
        """After how many bytes the next answers break off."""
        self.go_on = threading.Event()
        self.go_on.set()

    async def application(self) -> web.Application:
        made = web.Application()
        made.router.add_get("/small.safetensors", self._redirect)
        made.router.add_get("/storage", self._model)
        return made

    async def _redirect(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{self.url}/storage")

    async def _model(self, request: web.Request) -> web.StreamResponse:
        asked = request.http_range
        start, stop = asked.start or 0, asked.stop or len(MODEL)
        if start >= len(MODEL):
            return web.Response(status=416)
        headers = {"Content-Length": str(stop - start)}
        if "Range" in request.headers:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(MODEL)}"
        answer = web.StreamResponse(status=206 if "Range" in request.headers else 200, headers=headers)
        await answer.prepare(request)
        if stop - start == 1:
            await answer.write(MODEL[start:stop])
            return answer
        self.starts.append(start)
        if self.cuts and (transport := request.transport) is not None:
            await answer.write(MODEL[start : start + self.cuts.pop(0)])
            transport.close()
            return answer
        for offset in range(start, stop, 2**20):
            await answer.write(MODEL[offset : min(stop, offset + 2**20)])
            await asyncio.to_thread(self.go_on.wait)
        return answer


@pytest.fixture
def server() -> Iterator[ModelServer]:
    model = ModelServer()
    with ThreadedServer(model.application) as serving:
        model.url = serving.url
        yield model


def fetch(server: ModelServer, path: Path, *, sha256: str = DIGEST) -> list[int]:
    came: list[int] = []
    download(f"{server.url}/small.safetensors", path, sha256, advance=came.append, wanted=lambda: True)
    return came


def test_a_download_goes_on_where_the_connection_broke(server: ModelServer, tmp_path: Path) -> None:
    server.cuts = [5_000_000, 7_000_000]
    came = fetch(server, tmp_path / "models/small.safetensors")
    assert (tmp_path / "models/small.safetensors").read_bytes() == MODEL
    assert came[-1] == len(MODEL)
    assert server.starts[0] == 0
    assert len(server.starts) == 3
    assert server.starts[1] > 0
    assert [item.name for item in (tmp_path / "models").iterdir()] == ["small.safetensors"]


def test_another_file_than_the_one_named_is_thrown_away(server: ModelServer, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=f"is not the file that it is to be: its SHA-256 is not {'0' * 64}"):
        fetch(server, tmp_path / "small.safetensors", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [MODEL, MODEL[:-1], b"other" * 9_000_000], ids=["whole", "nearly", "other"])
def test_what_an_earlier_run_has_left_is_used_or_refused(server: ModelServer, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "small.safetensors.part").write_bytes(left)
    if not MODEL.startswith(left):
        with pytest.raises(ToolError, match="is not the file that it is to be"):
            fetch(server, tmp_path / "small.safetensors")
    fetch(server, tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").read_bytes() == MODEL


def test_one_that_nobody_wants_any_more_is_left_for_the_next_time(server: ModelServer, tmp_path: Path) -> None:
    wanted = iter([True, True, True])
    with pytest.raises(StoppedError):
        download(
            *(f"{server.url}/storage", tmp_path / "small.safetensors", DIGEST),
            advance=lambda _: None,
            wanted=lambda: next(wanted, False),
        )
    assert (tmp_path / "small.safetensors.part").stat().st_size > 0
    fetch(server, tmp_path / "small.safetensors")
    assert server.starts[1] > 0


def test_a_file_that_is_not_there_is_named_before_anything_is_made(server: ModelServer, tmp_path: Path) -> None:
    assert size_of(f"{server.url}/small.safetensors") == len(MODEL)
    with pytest.raises(ToolError, match=r"/gone.safetensors is not to be had: the server answers 404"):
        size_of(f"{server.url}/gone.safetensors")
    with pytest.raises(ToolError, match="cannot be fetched: the server answers 404"):
        download(f"{server.url}/gone", tmp_path / "gone", DIGEST, advance=lambda _: None, wanted=lambda: True)
    with pytest.raises(ToolError, match="is not to be had"):
        size_of("http://127.0.0.1:9/small.safetensors")


def work_of(server: ModelServer, moto: str, folder: Path, *, named: bool = True) -> Work:
    source = (
        f"cloud: {{modelSources: {{small.safetensors: {{url: '{server.url}/small.safetensors', sha256: {DIGEST}}}}}}}"
    )
    config = parse_config(
        "modelBucketArn: arn:aws:s3:::models-to-fetch\n"
        "modelsRuntime: [{name: a, type: sdwebui, modelFilename: small.safetensors}]\n" + (source if named else "")
    )
    aws = Aws("us-east-1", moto)
    s3 = client("s3", moto)
    s3.create_bucket(Bucket="models-to-fetch")
    s3.delete_object(Bucket="models-to-fetch", Key=KEY)
    return Work(aws, config, Reporter(), folder / "blue-us-east-1", fetch_models=True)


def test_it_comes_into_the_bucket_beside_the_other_steps(
    server: ModelServer, moto: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = work_of(server, moto, tmp_path)
    server.go_on.clear()
    steps = [
        Step("models", "models", str, check_models),
        Step("fetch", "fetch", str, begin_fetch),
        # It has begun, and cannot end before this step has.
        Step("stacks", "stacks", str, lambda _: server.go_on.set()),
        Step("there", "there", str, end_fetch),
    ]
    carry_out(steps, work)
    assert f"small.safetensors (38.4 MB) comes from {server.url}/small.safetensors" in capsys.readouterr().out
    found = client("s3", moto).get_object(Bucket="models-to-fetch", Key=KEY, ChecksumMode="ENABLED")
    assert found["Body"].read() == MODEL
    assert not list((tmp_path / "models").iterdir()), "4 GB are not kept"
    # `models push` knows it again.
    (tmp_path / "small.safetensors").write_bytes(MODEL)
    assert found["ChecksumSHA256"] == checksum_of_file(tmp_path / "small.safetensors", len(MODEL), lambda _: None)
    assert missing_models(work) == []
    carry_out(steps, work)
    assert len(server.starts) == 1, "what is there is not fetched again"


def test_a_step_that_fails_ends_the_download_and_the_next_run_goes_on(
    server: ModelServer, moto: str, tmp_path: Path
) -> None:
    def fail(_: Work) -> None:
        raise ToolError("the tool is broken today")

    work = work_of(server, moto, tmp_path)
    begin = Step("fetch", "fetch", str, begin_fetch)
    server.go_on.clear()
    with pytest.raises(ToolError, match="broken today"):
        carry_out([begin, Step("stacks", "stacks", str, fail)], work)
    server.go_on.set()
    assert missing_models(work) == ["small.safetensors"]
    carry_out([begin, Step("there", "there", str, end_fetch)], work)
    assert missing_models(work) == []


def test_one_whose_address_nobody_knows_is_asked_for(server: ModelServer, moto: str, tmp_path: Path) -> None:
    work = work_of(server, moto, tmp_path, named=False)
    with pytest.raises(ToolError, match=r"needs url and sha256 of small.safetensors in cloud.modelSources"):
        check_models(work)
    work.fetch_models = False
    with pytest.raises(
        ToolError, match=r"models -- push small.safetensors --folder Stable-diffusion --bucket models-to"
    ):
        check_models(work)
    work.without_models = True
    check_models(work)
