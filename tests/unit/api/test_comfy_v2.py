"""What v2 makes of tasks, errors, keys, forms and workflows; tests/integration/e2e has Comfy's own SDK."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from comfy_low.models import Job, JobStatus
from comfy_low.transport import job_labels
from hypothesis import given
from hypothesis import strategies as st

from api.comfy_v2.assets import FRESH, KEPT, Asset, asset_id, checked_hash, is_asset_id
from api.comfy_v2.errors import spoken
from api.comfy_v2.forms import MOST_BESIDES, Form
from api.comfy_v2.jobs import STATUSES, job_of, progress_of, status_of, summary_of
from api.comfy_v2.keys import with_key
from api.comfy_v2.labels import checked_labels, has_all, parse_filters
from api.comfy_v2.outputs import kind_of, name_of, nodes_of, output_id
from api.comfy_v2.paths import is_ours, job_urls
from api.comfy_v2.references import pointer, references, resolved
from api.comfy_v2.submitting import understood
from api.errors import ApiError, InvalidRequestError, UnavailableError, unknown_task
from contract.config import Config, parse_config
from contract.documents import encode
from contract.inputs import path_of
from contract.record import Failure, Record, Status, Submission, Timings
from contract.task import TaskType
from contract.topology import EXPIRY

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 30, tzinfo=UTC)
ONE = f"blake3:{'1f' * 32}"


def record(status: Status = Status.QUEUED, **more: Any) -> Record:
    current = Submission(
        submission="s",
        runtime="comfy",
        tasktype=TaskType.PIPELINE,
        prefix="output",
        submitted_at=NOW,
        status=status,
        **more,
    )
    return Record(id="j", current=current)


def test_where_it_is_off_nothing_of_it_is_imported() -> None:
    program = (
        "import sys; from api.app import create_app; from api.settings import Settings;"
        "from pathlib import Path; from contract.config import load_config;"
        "topics = {name: f'arn:aws:sns:us-east-1:0:{name}' for name in ('task_topic_arn', 'callback_topic_arn')};"
        "config = load_config(Path('config.yaml'));"
        "[(create_app(Settings(s3_bucket='b', comfy_api=on, **topics), config),"
        "print(sorted({'api.comfy_v2', 'blake3'} & sys.modules.keys()))) for on in (False, True)]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["[]", "['api.comfy_v2', 'blake3']"]


@pytest.mark.parametrize("status", list(Status))
def test_each_state_of_a_task_is_one_of_a_job_that_the_sdk_reads(status: Status) -> None:
    found = record(status, context={"client": "acme"}, error=Failure(code="x", message="y"), progress=0.5)
    document = encode(job_of(found, outputs=[], urls=job_urls("", None, "j")))
    job = Job.model_validate_json(document)
    assert job.status.value == status_of(found.current) == STATUSES[status]
    assert (job.progress is not None) == (status in {Status.RUNNING, Status.CANCELLING})
    assert JobStatus(summary_of(found)["status"]) is job.status


def test_every_word_of_v2_is_used_and_no_other() -> None:
    assert set(STATUSES.values()) == {status.value for status in JobStatus}


def test_what_nobody_brought_to_an_end_has_expired() -> None:
    found = record(Status.FAILED, error=Failure(code="expired", message="late"))
    assert status_of(found.current) == summary_of(found)["status"] == "expired"
    assert progress_of(found.current) is None


def test_a_job_tells_its_times_in_milliseconds_and_labels_that_are_strings_alone() -> None:
    timed = record(timings=Timings(queued=0.25, generation=2.0), context={"a": "b"})
    shown = job_of(timed, outputs=[], urls={})
    assert shown["metrics"] == {"queue_ms": 250, "execution_ms": 2000}
    assert job_labels(shown["metadata"]) == {"a": "b"}
    assert [job_of(record(context=value), outputs=[], urls={})["metadata"] for value in ({"a": 1}, "x", None)] == [
        {}
    ] * 3


@pytest.mark.parametrize(
    ("error", "status", "code", "details"),
    [
        (unknown_task("a"), 404, "not_found", {"id": "a"}),
        (ApiError(409, "idempotency_conflict", "used"), 422, "idempotency_key_reuse", None),
        (InvalidRequestError("a", "is odd"), 400, "invalid_request", {"fields": [{"field": "a", "message": "is odd"}]}),
        (UnavailableError("later"), 503, "unavailable", None),
    ],
)  # fmt: skip
def test_errors_are_told_in_v2s_words(error: ApiError, status: int, code: str, details: Any) -> None:
    told = spoken(error)
    assert (told.status, told.code, told.details, told.headers) == (status, code, details, error.headers)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer abc")], b"abc"),
        ([(b"authorization", b"bearer  abc ")], b"abc"),
        ([(b"authorization", b"Basic abc")], None),
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], None),
        ([(b"x-api-key", b"own"), (b"authorization", b"Bearer abc")], b"own"),
        ([], None),
    ],
)
def test_a_bearer_token_is_the_key_where_there_is_no_other(
    headers: list[tuple[bytes, bytes]], key: bytes | None
) -> None:
    assert [value for name, value in with_key(headers) if name == b"x-api-key"] == ([key] if key is not None else [])


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/api/v2/jobs", True),
        ("/deployment/comfy/api/v2/jobs", True),
        ("/deployment/a/b/api/v2/jobs", False),
        ("/v1/tasks", False),
        ("/v1/api/v2/jobs", False),
        ("/api/v2", False),
    ],
)
def test_tokens_count_on_v2s_paths_alone(path: str, *, ours: bool) -> None:
    assert is_ours(path) is ours


def test_links_keep_the_prefix_by_which_the_client_came() -> None:
    assert job_urls("/prod", "comfy", "a b")["events"] == "/prod/deployment/comfy/api/v2/jobs/a%20b/events"
    assert job_urls("", None, "a")["self"] == "/api/v2/jobs/a"


@given(st.binary(min_size=32, max_size=32))
def test_an_assets_id_is_a_uuid_that_follows_from_its_hash(digest: bytes) -> None:
    found = asset_id(f"blake3:{digest.hex()}")
    assert is_asset_id(found)
    assert (UUID(found).version, UUID(found).variant) == (8, "specified in RFC 4122")
    assert asset_id(f"blake3:{digest[:15].hex()}{'0' * 34}") != found or digest[15] == 0


@pytest.mark.parametrize(
    "text", ["", "blake3:", "sha256:" + "0" * 64, "blake3:" + "g" * 64, "blake3:" + "0" * 63, None, 1]
)
def test_what_is_no_hash_is_refused(text: Any) -> None:
    with pytest.raises(ApiError, match="64 hexadecimal"):
        checked_hash(text)
    assert checked_hash(ONE.upper().replace("BLAKE3", "Blake3")) == ONE


def test_a_file_is_to_be_sent_again_before_it_could_go_under_a_task_that_names_it() -> None:
    asset = Asset(hash=ONE, key="k", size=1, content_type="image/png", file_path="a", created_at=NOW)
    assert FRESH + timedelta(seconds=EXPIRY) == KEPT
    assert asset.is_fresh(NOW + FRESH - timedelta(seconds=1))
    assert not asset.is_fresh(NOW + FRESH)
    assert asset.is_there(NOW + FRESH)
    assert not asset.is_there(NOW + KEPT)
    gone = asset.model_copy(update={"deleted": True})
    assert not gone.is_fresh(NOW)
    assert not gone.is_there(NOW)


def form_of(*parts: tuple[str, str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name.encode(), more.encode(), data)
        for name, more, data in parts
    ) + end  # fmt: skip


async def read(body: bytes, size: int, content_type: str = "multipart/form-data; boundary=b") -> tuple[bytes, Form]:
    async def stream() -> AsyncIterator[bytes]:
        for begin in range(0, len(body), size):
            yield body[begin : begin + size]

    form = Form(stream(), content_type)
    data = b"".join([piece async for piece in await form.file()])
    await form.close()
    return data, form


FILE = '; filename="photo.png"\r\nContent-Type: image/png'


@given(data=st.binary(max_size=300) | st.just(b"\r\n--b\r\n--bb--\r\n\r\n"[:6] * 20), size=st.integers(1, 500))
async def test_a_form_comes_out_as_it_was_however_it_is_cut(data: bytes, size: int) -> None:
    # No part may hold the boundary itself (RFC 7578, section 4.1).
    data = data.replace(b"--b", b"--c")
    for place in (0, 1, 2):
        parts = [("content_type", "", b"image/webp"), ("file_path", "", "Füchse.png".encode())]
        parts.insert(place, ("file", FILE, data))
        found, form = await read(form_of(*parts), size)
        assert found == data
        assert form.fields == {"content_type": "image/webp", "file_path": "Füchse.png"}
        assert (form.file_name, form.file_type) == ("photo.png", "image/png")


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"x", "image/png", "must be multipart/form-data"),
        (b"x", "multipart/form-data", "must be multipart/form-data"),
        (b"x", "multipart/form-data; boundary=b", "is no form"),
        (b"", "multipart/form-data; boundary=b", "no part named file"),
        (form_of(("file_path", "", b"a")), "multipart/form-data; boundary=b", "no part named file"),
        (form_of(("file", FILE, b"abc"), end=b""), "multipart/form-data; boundary=b", "no whole form"),
        (form_of(("file", FILE, b"a"), ("file", FILE, b"b")), "multipart/form-data; boundary=b", "two files"),
        (form_of(("a", "", bytes(MOST_BESIDES)), ("file", FILE, b"a")), "multipart/form-data; boundary=b", "beside"),
    ],
)
async def test_what_is_no_upload_is_refused_with_what_is_wrong(body: bytes, content_type: str, words: str) -> None:
    with pytest.raises(ApiError, match=words) as refused:
        await read(body, 1000, content_type)
    assert refused.value.status in {413, 422}


def asset_at(wanted: Any) -> dict[str, Any]:
    return {"__type": "core/ASSET", "info": wanted}


def test_assets_are_found_wherever_they_stand_and_are_replaced_there() -> None:
    flow = {"1": {"inputs": {"image": asset_at({"id": "a"}), "x": {"m/n~": asset_at({"id": "b"})}, "y": [1, "z"]}}}
    places = references(flow)
    assert places == {("1", "inputs", "image"): "a", ("1", "inputs", "x", "m/n~"): "b"}
    assert [path_of(pointer(path)) for path in places] == list(places)
    done = resolved(flow, dict.fromkeys(places, "s3://b/k"))
    assert done == {"1": {"inputs": {"image": "s3://b/k", "x": {"m/n~": "s3://b/k"}, "y": [1, "z"]}}}
    for info in ({}, None, {"id": 1}, {"id": ""}):
        with pytest.raises(ApiError, match=r"no info\.id"):
            references({"1": {"inputs": {"image": asset_at(info)}}})


@pytest.mark.parametrize(
    "labels",
    [
        {"two words": "x"}, {"": "x"}, {"a" * 41: "x"}, {"a": 1}, {"a": "x\n"}, {"a": "\u202e"}, {"a": "ü" * 129},
        {str(number): "" for number in range(17)}, "text", [],
    ],
)  # fmt: skip
def test_labels_beyond_v2s_rules_are_refused(labels: Any) -> None:
    with pytest.raises(ApiError) as refused:
        checked_labels(labels)
    assert (refused.value.status, refused.value.code) == (422, "metadata_invalid")


def test_labels_are_asked_for_by_name_and_value() -> None:
    filters = parse_filters([("metadata[client]", "acme"), ("limit", "5")])
    assert filters == {"client": "acme"}
    assert has_all({"client": "acme", "more": ""}, filters)
    assert not has_all({"client": "Acme"}, filters)
    for wrong in ([("metadata[]", "x")], [(f"metadata[{name}]", "x") for name in "abcd"]):
        with pytest.raises(ApiError) as refused:
            parse_filters(wrong)
        assert (refused.value.status, refused.value.code) == (400, "invalid_metadata_filter")


def test_files_are_of_the_nodes_that_name_them() -> None:
    answer = {
        "one": {
            "outputs": {
                "9": {"images": [{"filename": "a_00001_.png", "subfolder": ""}, {"filename": "a_00002_.png"}]},
                "10": {"gifs": [{"filename": "a_00001_.png", "subfolder": "x"}], "text": ["hello"]},
            }
        },
        "two": {"outputs": {"11": {"audio": [{"filename": "é" * 200 + ".flac"}]}}},
    }
    names = ["a_00001_.png", "a_00002_.png", "a_00001_.png", ("é" * 200 + ".flac")[-100:], "picture.png"]
    assert nodes_of(answer, names) == ["9", "9", "10", "11", ""]
    wrong: list[Any] = [None, [], {"one": 1}, {"one": {"outputs": [1]}}, {"one": {"outputs": {"9": {"images": [1]}}}}]
    for garbled in wrong:
        assert nodes_of(garbled, ["a"]) == [""]


def test_outputs_have_names_and_kinds() -> None:
    assert name_of('inline; filename="a_1_.png"') == "a_1_.png"
    assert name_of("inline; filename=\"F_.png\"; filename*=UTF-8''F%C3%BC.png") in {"Fü.png", "F_.png"}
    assert name_of("") == ""
    endings = {"png": "image", "mp4": "video", "flac": "audio", "txt": "text", "latent": "latent", "glb": "file"}
    assert {ending: kind_of(f"s3://b/o/j/j-abcd-1.{ending}") for ending in endings} == endings
    assert output_id("s3://b/o/a b#/a b#-abcd-1.png") == "a%20b%23-abcd-1.png"


@pytest.fixture(scope="module")
def config() -> Config:
    return parse_config(
        "modelsRuntime:\n- {name: sd, type: sdwebui, dynamicModel: true}\n- {name: one, type: comfyui}\n"
        "- {name: two, type: comfyui}\n"
    )


FLOW = {"1": {"class_type": "LoadImage", "inputs": {"image": asset_at({"id": "a"})}}}


def with_inputs(**inputs: Any) -> dict[str, Any]:
    return {"workflow": {"1": {"class_type": "A", "inputs": inputs}}}


async def understand(config: Config, document: Any, deployment: str | None = None) -> tuple[Any, Any]:
    async def find(wanted: str) -> str | None:
        return "s3://b/.inputs/a.png" if wanted == "a" else None

    return await understood(bytearray(encode(document)), deployment=deployment, config=config, find=find)


@pytest.mark.parametrize(("deployment", "runtime"), [(None, "one"), ("two", "two")])
async def test_a_submission_is_a_task_of_v1(config: Config, deployment: str | None, runtime: str) -> None:
    recognised, task = await understand(config, {"workflow": FLOW, "metadata": {"a": "b"}}, deployment)
    assert recognised == {"runtime": runtime, "workflow": FLOW, "extra_data": None, "metadata": {"a": "b"}}
    assert (task.runtime.name, task.task_type, task.prefix, task.context) == (runtime, "pipeline", "output", {"a": "b"})
    assert task.content == {"1": {"class_type": "LoadImage", "inputs": {"image": "s3://b/.inputs/a.png"}}}
    assert task.inputs.fetch == ("/1/inputs/image",)


async def test_the_key_of_partner_nodes_goes_beside_the_workflow(config: Config) -> None:
    _, task = await understand(config, {"workflow": FLOW, "extra_data": {"api_key_comfy_org": "k"}})
    assert task.content["extra_data"] == {"api_key_comfy_org": "k"}
    assert task.inputs.fetch == ("/prompt/1/inputs/image",)


@pytest.mark.parametrize(
    ("document", "deployment", "status", "code"),
    [
        ([], None, 422, "invalid_workflow"),
        ({}, None, 422, "invalid_workflow"),
        ({"workflow": {}}, None, 422, "invalid_workflow"),
        ({"workflow": {"nodes": [], "links": []}}, None, 422, "workflow_format_ui"),
        (with_inputs(x=[asset_at({"id": "a"})]), None, 422, "invalid_workflow"),
        ({"workflow": {"1": asset_at({"id": "a"})}}, None, 422, "invalid_workflow"),
        (with_inputs(x=asset_at({"id": "z"})), None, 422, "missing_asset"),
        (with_inputs(**{f"x{n}": asset_at({"id": "a"}) for n in range(51)}), None, 422, "invalid_workflow"),
        ({"workflow": FLOW, "webhook_url": "https://x"}, None, 400, "invalid_request"),
        ({"workflow": FLOW, "extra_data": {"other": "x"}}, None, 400, "invalid_request"),
        ({"workflow": FLOW, "metadata": "a label"}, None, 422, "metadata_invalid"),
        ({"workflow": FLOW}, "three", 404, "not_found"),
        ({"workflow": FLOW}, "sd", 422, "invalid_request"),
    ],
)  # fmt: skip
async def test_what_cannot_be_a_job_is_refused(
    config: Config, document: Any, deployment: str | None, status: int, code: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await understand(config, document, deployment)
    assert (refused.value.status, refused.value.code) == (status, code)
