"""The Python client and the command against a real API, agents and fakes; the examples of docs/client.md run."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from contract.objects import split_s3_url
from darkroom import AsyncDarkroom, Darkroom, NotReachableError, RefusedError, TaskFailedError
from local.client.__main__ import make_app
from tests.support.deployment import Deployment
from tests.support.serving import ThreadedServer
from tests.support.stack import Stack, unique
from tests.support.waiting import eventually, free_port

ROOT = Path(__file__).parents[3]
EXAMPLES: list[str] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text("utf-8"), re.DOTALL)
FAILS = "[[fault:error:status=422]]"


@pytest.fixture(scope="module")
def stack(module_deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(module_deployment, tmp_path_factory.mktemp("stack")) as made:
        made.start_api()
        pods = [made.start_pod(runtime, ready=False) for runtime in ("sdruntime", "comfyruntime")]
        for pod in pods:
            pod.wait_ready()
        yield made
        assert made.traces() == {}


@pytest.fixture
def client(stack: Stack) -> Iterator[Darkroom]:
    with Darkroom(stack.api) as made:
        yield made


@pytest.fixture
def darkroom(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, api: str = "") -> Result:
        environment = {"DARKROOM_API_URL": api or stack.api, "COLUMNS": "200"}
        return CliRunner().invoke(make_app(), list(arguments), env=environment, prog_name="darkroom")

    return call


def test_a_task_is_submitted_waited_for_and_its_files_saved(client: Darkroom, tmp_path: Path) -> None:
    name = unique("sync")
    task = client.submit({"prompt": "A dog"}, runtime="sdruntime", task_id=name, context={"a": 1})
    assert (task.id, task.ended) == (name, False)
    done = client.wait(task, seconds=30).must_succeed()
    assert [path.suffix for path in client.files(done, tmp_path / "new")] == [".png"]
    assert done.view["context"] == {"a": 1}
    assert client.submit({"prompt": "A cat"}, runtime="sdruntime", wait=30).succeeded
    listed = next(client.list(id_prefix=name))
    assert (listed.id, listed.status) == (name, "succeeded")
    with pytest.raises(RefusedError) as ended:
        client.cancel(name)
    assert (ended.value.status, ended.value.code) == (409, "already_ended")


def test_the_events_of_all_tasks_begin_with_what_is_unfinished(client: Darkroom) -> None:
    waiting = client.submit({"prompt": "never runs"}, runtime="dynamicruntime")
    for state in client.events(seconds=30):
        if state.id == waiting.id:
            break
    assert state.status == "queued"
    assert client.cancel(waiting).status == "cancelled"
    with pytest.raises(TaskFailedError, match="cancelled"):
        client.wait(waiting, seconds=10).must_succeed()
    forever = client.submit({"prompt": "x"}, runtime="dynamicruntime")
    with pytest.raises(TimeoutError, match=r"has not ended in 0\.5 s"):
        client.wait(forever, seconds=0.5)
    client.cancel(forever)


async def test_the_awaited_client_does_the_same(stack: Stack, tmp_path: Path) -> None:
    async with AsyncDarkroom(stack.api) as client:
        picture = await client.upload(ROOT / "local" / "sample.png")
        assert picture.startswith("s3://")
        assert (await client.upload(b"\x89PNG\r\n\x1a\n", name="x.png")).endswith(".png")
        content = {"prompt": "A fox", "init_images": [picture]}
        task = await client.submit(content, runtime="sdruntime", tasktype="image-to-image")
        states = [state.status async for state in client.events(task)]
        assert states[-1] == "succeeded"
        paths = await client.files(await client.wait(task), tmp_path)
        assert [path.suffix for path in paths] == [".png"]
        assert [found.id async for found in client.list(id_prefix=task.id)] == [task.id]
        assert {runtime["name"] for runtime in await client.runtimes()} >= {"sdruntime", "comfyruntime"}
        assert await client.dead_letters("sdruntime") == []
        with pytest.raises(RefusedError, match="there is no task 'nobody'"):
            await client.get("nobody")
    async with AsyncDarkroom(f"http://127.0.0.1:{free_port()}") as nowhere:
        with pytest.raises(NotReachableError, match="no API answers at"):
            await nowhere.runtimes()


async def test_a_large_file_goes_in_parts_and_progress_is_told(
    stack: Stack, client: Darkroom, darkroom: Callable[..., Result], tmp_path: Path
) -> None:
    part, whole = 8 * 1024 * 1024, 9 * 1024 * 1024
    data = bytes(range(256)) * (whole // 256)
    (tmp_path / "film.mp4").write_bytes(data)
    told: list[tuple[int, int]] = []

    def progress(sent: int, of: int) -> None:
        told.append((sent, of))

    async with AsyncDarkroom(stack.api) as awaited:
        places = [
            await asyncio.to_thread(client.upload, tmp_path / "film.mp4", progress=progress),
            await awaited.upload(data, name="film.mp4", progress=progress),
            darkroom("upload", "film.mp4").stdout.strip(),
        ]
    assert told == [(part, whole), (whole, whole)] * 2
    for place in places:
        assert stack.deployment.object(split_s3_url(place)[1]) == data


def test_a_part_is_sent_again_and_one_that_never_arrives_is_given_up() -> None:
    answers = [503, 403, 200, 200, 400]
    calls: list[str] = []

    async def application() -> web.Application:
        async def answer(request: web.Request) -> web.Response:
            calls.append(f"{request.method} {request.path}")
            if request.method == "PUT":
                assert "x-api-key" not in request.headers, "the key is the API's"
                await request.read()
                return web.Response(status=answers.pop(0))
            number = int(request.path.rpartition("/")[2]) if "/parts/" in request.path else 0
            size = 8 * 1024 * 1024 if number == 1 else 5
            url = f"http://{request.host}/s3/{number}"
            parts = {"upload": "x", "parts": 2, "part_bytes": 8 * 1024 * 1024}
            return web.json_response(parts | {"number": number, "bytes": size, "url": url, "s3": "s3://b/k"})

        made = web.Application(client_max_size=2**25)
        made.router.add_route("*", "/{path:.*}", answer)
        return made

    with ThreadedServer(application) as server, Darkroom(server.url, key="k") as client:
        assert client.upload(bytes(8 * 1024 * 1024 + 5)) == "s3://b/k"
        assert [call for call in calls if "s3" in call] == ["PUT /s3/1"] * 3 + ["PUT /s3/2"]
        assert calls[-1] == "POST /v1/inputs/uploads/x/complete"
        with pytest.raises(RefusedError, match="S3 refuses part 1: status 400"):
            client.upload(bytes(8 * 1024 * 1024 + 5))
        assert calls[-1] == "DELETE /v1/inputs/uploads/x"


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_each_example_of_the_page_runs(
    stack: Stack, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    workflow = json.loads((ROOT / "tests" / "seeds" / "v1alpha2-pipeline.json").read_text())["task"]["content"]
    workflow |= {"10": {"class_type": "LoadImage", "inputs": {"image": "example.png"}}}
    Path("workflow_api.json").write_text(json.dumps(workflow))
    shutil.copy(ROOT / "local" / "sample.png", "cat.png")

    exec(compile(example.replace("http://127.0.0.1:8000", stack.api), "docs/client.md", "exec"), {})

    assert re.search(r"\.png|succeeded", capsys.readouterr().out)


def test_the_command_submits_lists_watches_and_tells_by_its_status(darkroom: Callable[..., Result]) -> None:
    one, two, bad = unique("one"), unique("two"), unique("bad")
    done = darkroom("submit", "--prompt", "A dog", "--id", one)
    assert (done.exit_code, done.output.splitlines()[0]) == (0, f"accepted: {one}")
    assert list(Path("images").glob("*.png"))
    assert json.loads(darkroom("submit", "--prompt", "A cat", "--id", two, "--no-wait", "--json").output)["id"] == two
    assert darkroom("submit", "--prompt", FAILS, "--id", bad, "--no-wait").exit_code == 0

    watched = darkroom("watch", one, two, bad)
    assert watched.exit_code == 1
    assert all(f"{name} succeeded: 1 image" in watched.output for name in (one, two))
    assert f"{bad} failed: " in watched.output

    lines = darkroom("list", "--json", "--since", "10m", "--limit", "3").output.splitlines()
    assert {json.loads(line)["id"] for line in lines} == {one, two, bad}
    table = darkroom("list", "-s", "failed,cancelled", "--id-prefix", bad).output
    assert bad in table
    assert one not in table
    assert json.loads(darkroom("status", one, "--json").output)["status"] == "succeeded"
    assert "sdruntime" in darkroom("runtimes").output
    refused = darkroom("cancel", one)
    assert (refused.exit_code, "already ended" in refused.output) == (2, True)


def test_a_task_that_has_ended_runs_again_as_it_was_or_changed(
    client: Darkroom, darkroom: Callable[..., Result]
) -> None:
    bad = client.submit({"prompt": FAILS}, runtime="sdruntime", wait=30)
    assert bad.status == "failed"
    again = client.retry(bad, content={"prompt": "A dog"})
    assert (again.id, again.submission != bad.submission) == (bad.id, True)
    assert client.wait(again, seconds=30).succeeded

    done = darkroom("retry", bad.id)
    assert (done.exit_code, done.output.splitlines()[0]) == (0, f"accepted: {bad.id}")
    assert f"{bad.id} succeeded: 1 image" in done.output
    refused = darkroom("retry", "nobody")
    assert (refused.exit_code, "nobody" in refused.output) == (2, True)


def test_the_command_sends_dead_letters_back(darkroom: Callable[..., Result], stack: Stack) -> None:
    place = stack.deployment
    name = place.clients.sqs.send_message(
        QueueUrl=place.dead_letter_url("dynamicruntime"),
        MessageBody="no json",
        MessageAttributes={"reason": {"DataType": "String", "StringValue": "unreadable: no json"}},
    )["MessageId"]
    letters = ("dead-letters", "-r", "dynamicruntime")
    assert "unreadable: no json" in darkroom(*letters).output
    assert json.loads(darkroom(*letters, "--json").output)["message_id"] == name
    assert (darkroom(*letters, "--redrive", "nobody").exit_code, darkroom(*letters, "--all").exit_code) == (1, 2)
    sent = darkroom(*letters, "--redrive", "--all")
    assert (sent.exit_code, sent.output) == (0, f"sent back: {name}\n")
    assert eventually(lambda: darkroom(*letters, "--json").output == "")
    place.clients.sqs.purge_queue(QueueUrl=place.queue_url("dynamicruntime"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "--status", "done"], "--status 'done': there is queued, running"),
        (["list", "--since", "yesterday"], "--since 'yesterday': write how long ago"),
        (["list", "--runtme", "x"], "No such option: --runtme"),
        (["submit", "--steps", "many", "--prompt", "x"], "Invalid value for '--steps'"),
        (["submit"], "give either a file with a request, or --prompt"),
        (["get", "nobody"], "there is no task 'nobody'"),
        (["dead-letters", "--redrive", "--delete"], "give either --redrive or --delete"),
        (["upload", "nothing.png"], "nothing.png cannot be read"),
        (["up"], "there is no checkout of Darkroom here or above"),
    ],
)
def test_what_cannot_be_is_told_in_the_users_words(
    darkroom: Callable[..., Result], arguments: list[str], says: str
) -> None:
    result = darkroom(*arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_without_an_api_the_command_says_how_to_start_one(darkroom: Callable[..., Result]) -> None:
    result = darkroom("list", api=f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 3
    assert "start one with `uvx nox -s up`" in result.output


@pytest.mark.parametrize("command", ["submit", "list", "watch", "retry", "status", "upload", "dead-letters"])
def test_each_command_shows_an_example(darkroom: Callable[..., Result], command: str) -> None:
    assert f"darkroom {command}" in darkroom(command, "--help").output.partition("Example")[2]


def test_the_usage_is_asked_for_by_client_and_command(client: Darkroom, darkroom: Callable[..., Result]) -> None:
    # These agents know of no price.
    nothing = {"tasks": 0, "gpu_seconds": 0, "usd": 0, "unpriced_tasks": 0}
    found = client.usage(by=["runtime", "tag:team"], since="2026-01-01", until="2026-01-31")
    assert (found["by"], found["rows"], found["total"]) == (["runtime", "tag:team"], [], nothing)
    told = darkroom("usage", "--by", "key", "--since", "2d")
    assert told.exit_code == 0, told.output
    assert ["total", "0", "0.0", "0.000000"] in [line.split() for line in told.stdout.splitlines()]
    assert "tag:NAME" in darkroom("usage", "--by", "colour").output
