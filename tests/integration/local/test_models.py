"""Models go into a real bucket and come out of it whole: interrupted, repeated, refused, damaged, hostile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from local.commands import app
from local.models.bucket import ModelBucket
from local.models.parts import SMALLEST, checksum, cut
from local.models.pull import DamagedError, Puller
from local.models.pull import Outcome as Pulled
from local.models.push import DifferentError, Outcome, Push, Pusher
from tests.support.deployment import Deployment
from tests.support.models import model_bytes
from tests.support.processes import ROOT
from tests.support.proxy import Call, FaultProxy

KEY = "Stable-diffusion/v1-5-pruned-emaonly.safetensors"
WHOLE = model_bytes("model.diffusion_model.x", (bytes(range(251)) * (SMALLEST // 251 + 1))[:SMALLEST])
"""Two parts: the second holds as many bytes as the header."""
LONGER = model_bytes("model.diffusion_model.x", WHOLE + WHOLE[:SMALLEST])
"""Three parts."""


class Quiet:
    """A progress that shows nothing; `watch` is called with each key that has advanced."""

    def __init__(self, watch: Callable[[str], None] = lambda key: None) -> None:
        self.watch = watch

    def begin(self, key: str, doing: str, total: int) -> None:
        pass

    def advance(self, key: str, count: int) -> None:
        self.watch(key)

    def end(self, key: str) -> None:
        pass


@dataclass
class Sent:
    """The parts that a client has sent, seen on its own wire."""

    numbers: list[int] = field(default_factory=list)

    def see(self, params: dict[str, Any], **_: Any) -> None:
        self.numbers.append(int(params["PartNumber"]))


@dataclass
class Bench:
    """A bucket of its own, and the client that the bucket is used with."""

    bucket: ModelBucket
    client: Any
    folder: Path

    def file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def push(self, content: bytes, key: str = KEY, *, replace: bool = False, jobs: int = 2) -> Outcome | Exception:
        path = self.file(Path(key).name, content)
        pusher = Pusher(self.bucket, Quiet(), jobs=jobs, replace=replace)
        ((_, outcome),) = pusher.push([Push(path, key, len(content))])
        return outcome

    def pull(self, into: Path, watch: Callable[[str], None] = lambda key: None) -> list[Pulled | Exception]:
        models = [model for model in self.bucket.models() if model.key == KEY]
        return [outcome for _, outcome in Puller(self.bucket, into, Quiet(watch), jobs=2).pull(models)]


@pytest.fixture
def bench(module_deployment: Deployment, tmp_path: Path) -> Bench:
    client = module_deployment.clients.s3
    name = module_deployment.place.model_bucket
    bucket = ModelBucket(client, name)
    for model in bucket.models():
        client.delete_object(Bucket=name, Key=model.key)
    for upload in bucket.unfinished():
        bucket.abort(upload)
    return Bench(bucket, client, tmp_path / "files")


def run(bench: Bench, deployment: Deployment, *words: str) -> tuple[int, str]:
    """Runs `python -m local models …` on the bench's bucket; returns exit status and output."""
    done = CliRunner().invoke(
        app,
        ["models", *words, "--bucket", bench.bucket.name, "--endpoint-url", deployment.clients.endpoint],
        env={"COLUMNS": "300"},
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_a_model_goes_in_once_and_comes_out_whole(bench: Bench, tmp_path: Path) -> None:
    assert bench.push(WHOLE) == Outcome.SENT
    assert bench.push(WHOLE) == Outcome.UNCHANGED
    assert bench.pull(tmp_path / "into") == [Pulled.FETCHED]
    assert (tmp_path / "into" / KEY).read_bytes() == WHOLE
    assert bench.pull(tmp_path / "into") == [Pulled.UNCHANGED]


def test_a_killed_push_goes_on_with_the_parts_that_are_there(bench: Bench, module_deployment: Deployment) -> None:
    path = bench.file(Path(KEY).name, LONGER)

    def second_part(call: Call) -> bool:
        return call.operation == "PutObject" and sum(seen.operation == "PutObject" for seen in proxy.calls) == 2

    with FaultProxy(module_deployment.clients.endpoint) as proxy:
        gate = proxy.hold(second_part)
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "local", "models", "push", str(path), "--jobs=1", "--folder=Stable-diffusion"),
                *(f"--bucket={bench.bucket.name}", f"--endpoint-url={proxy.url}"),
            ],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        ) as process:
            gate.wait()
            process.kill()
    (upload,) = bench.bucket.unfinished(KEY)
    assert list(bench.bucket.sent_parts(upload)) == [1]
    sent = Sent()
    bench.client.meta.events.register("provide-client-params.s3.UploadPart", sent.see)
    try:
        assert bench.push(LONGER) == Outcome.RESUMED
    finally:
        bench.client.meta.events.unregister("provide-client-params.s3.UploadPart", sent.see)
    assert sorted(sent.numbers) == [2, 3]
    assert bench.push(LONGER) == Outcome.UNCHANGED
    assert bench.bucket.unfinished() == []


def test_parts_of_another_file_are_sent_again(bench: Bench) -> None:
    upload_id = bench.bucket.begin(KEY)
    parts = cut(len(WHOLE))
    wrong = bytes(parts[0].length)
    bench.bucket.send(KEY, upload_id, 1, wrong, checksum(wrong))
    assert bench.push(WHOLE) == Outcome.RESUMED
    assert bench.push(WHOLE) == Outcome.UNCHANGED


def test_an_upload_that_was_cut_otherwise_is_thrown_away(bench: Bench) -> None:
    upload_id = bench.bucket.begin(KEY)
    bench.bucket.send(KEY, upload_id, 1, b"short", checksum(b"short"))
    assert bench.push(WHOLE) == Outcome.SENT
    assert bench.bucket.unfinished() == []


def test_another_file_is_replaced_only_when_asked(bench: Bench) -> None:
    assert bench.push(model_bytes("a", b"one")) == Outcome.SENT
    outcome = bench.push(model_bytes("a", b"two"))
    assert isinstance(outcome, DifferentError)
    assert "the bucket has other content" in str(outcome)
    assert "--replace" in str(outcome)
    assert bench.push(model_bytes("a", b"two"), replace=True) == Outcome.SENT
    bench.client.put_object(Bucket=bench.bucket.name, Key=KEY, Body=model_bytes("a", b"two"))
    outcome = bench.push(model_bytes("a", b"two"))
    assert "without a checksum to compare" in str(outcome)


def test_a_pull_that_was_interrupted_goes_on(bench: Bench, tmp_path: Path) -> None:
    bench.push(WHOLE)

    class InterruptedByTestError(Exception):
        pass

    advanced = 0

    def interrupt(key: str) -> None:
        nonlocal advanced
        advanced += 1
        if advanced == 4:
            raise InterruptedByTestError

    with pytest.raises(InterruptedByTestError):
        bench.pull(tmp_path, interrupt)
    (left,) = (tmp_path / "Stable-diffusion").iterdir()
    assert left.name.endswith(".part")
    begun = left.stat().st_size
    assert 0 < begun < len(WHOLE)
    ranges: list[str] = []
    watch = lambda params, **_: ranges.append(params["Range"])  # noqa: E731
    bench.client.meta.events.register("provide-client-params.s3.GetObject", watch)
    try:
        assert bench.pull(tmp_path) == [Pulled.FETCHED]
    finally:
        bench.client.meta.events.unregister("provide-client-params.s3.GetObject", watch)
    assert ranges == [f"bytes={begun}-"]
    assert (tmp_path / KEY).read_bytes() == WHOLE
    assert [item.name for item in (tmp_path / "Stable-diffusion").iterdir()] == [Path(KEY).name]


def test_what_came_damaged_is_thrown_away(bench: Bench, tmp_path: Path) -> None:
    bench.push(WHOLE)
    stored = bench.bucket.model(KEY)
    assert stored is not None
    draft = tmp_path / "Stable-diffusion" / f".{Path(KEY).name}.{stored.etag.strip('"')}.part"
    draft.parent.mkdir()
    draft.write_bytes(bytes(SMALLEST))
    (outcome,) = bench.pull(tmp_path)
    assert isinstance(outcome, DamagedError)
    assert list(draft.parent.iterdir()) == []


def test_wrong_files_are_refused_and_the_others_go_in(bench: Bench, module_deployment: Deployment) -> None:
    bench.file("tree/good.safetensors", model_bytes("a.lora_up.weight"))
    bench.file("tree/cut.safetensors", model_bytes("a.lora_up.weight", b"12345678")[:-1])
    bench.file("tree/old.ckpt", b"PK\x03\x04")
    status, output = run(bench, module_deployment, "push", str(bench.folder / "tree"))
    assert status == 1
    assert "Lora/good.safetensors: sent" in output
    assert "cut.safetensors: it is cut off: 1 bytes are missing at its end" in output
    assert "old.ckpt: is a pickle" in output
    assert [model.key for model in bench.bucket.models()] == ["Lora/good.safetensors"]
    ckpt = str(bench.folder / "tree/old.ckpt")
    assert run(bench, module_deployment, "push", ckpt, "--allow-pickle", "-f", "stable-diffusion")[0] == 0
    assert "Stable-diffusion/old.ckpt" in run(bench, module_deployment, "list")[1]


def test_check_names_each_fault_of_the_bucket(bench: Bench, module_deployment: Deployment) -> None:
    bench.push(model_bytes("a", b"sound"), "Lora/sound.safetensors")
    for key, content in {
        "Lora/cut.safetensors": model_bytes("a", b"12345678")[:-2],
        "VAE/pickle.safetensors": b"PK\x03\x04" + bytes(20),
        "checkpoints/x.safetensors": model_bytes("a"),
        "Lora/tiny.safetensors": b"x",
        "Lora/notes.txt": b"kept beside",
    }.items():
        bench.client.put_object(Bucket=bench.bucket.name, Key=key, Body=content)
    status, output = run(bench, module_deployment, "check", "--config", str(ROOT / "config.yaml"))
    assert status == 1
    told = dict(line.split(": ", 1) for line in output.splitlines())
    assert set(told) == {
        "Lora/cut.safetensors",
        "VAE/pickle.safetensors",
        "checkpoints/x.safetensors",
        "Lora/tiny.safetensors",
        KEY,
    }
    assert "2 bytes are missing" in told["Lora/cut.safetensors"]
    assert "pickle" in told["VAE/pickle.safetensors"]
    assert "sdruntime holds it" in told[KEY]


def test_keys_that_would_leave_the_folder_are_not_fetched(
    bench: Bench, module_deployment: Deployment, tmp_path: Path
) -> None:
    for key in ("Lora/../../evil.safetensors", "evil.safetensors", "Lora/good.safetensors"):
        bench.client.put_object(Bucket=bench.bucket.name, Key=key, Body=model_bytes("a"))
    into = tmp_path / "deep" / "into"
    status, output = run(bench, module_deployment, "pull", "--into", str(into))
    assert status == 0
    assert output.count("left out") == 2
    assert [item.relative_to(into).as_posix() for item in into.rglob("*") if item.is_file()] == [
        "Lora/good.safetensors"
    ]
    assert not list(tmp_path.rglob("evil*"))


def test_a_dry_run_fetches_nothing(bench: Bench, module_deployment: Deployment, tmp_path: Path) -> None:
    bench.push(model_bytes("a"), "Lora/a.safetensors")
    status, output = run(bench, module_deployment, "pull", "--dry-run", "--into", str(tmp_path / "into"))
    assert (status, output.strip()) == (0, "Lora/a.safetensors: would be fetched (68 bytes)")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["push", "nowhere.safetensors"], 2, "nowhere.safetensors: is not there"),
        (["push", ".", "--folder", "loras"], 2, "'loras' is no folder of the model bucket"),
        (["list", "--bucket", "no-such-bucket"], 3, "there is no such bucket; name another with --bucket"),
        (["list", "--endpoint-url", "http://127.0.0.1:9"], 3, "Could not connect to the endpoint URL"),
        (["list", "--profile", "nobody"], 3, "The config profile (nobody) could not be found"),
        (["list", "--config", "nowhere.yaml"], 2, "nowhere.yaml: cannot be read"),
    ],
)
def test_what_is_wrongly_called_is_answered_in_one_line(
    words: list[str], status: int, says: str, localstack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", localstack)
    done = CliRunner().invoke(app, ["models", *words], env={"CONFIG_FILE": str(ROOT / "config.yaml")})
    assert done.exit_code == status, done.output
    assert says in " ".join(done.output.split())
    assert len(done.output.splitlines()) == 1
