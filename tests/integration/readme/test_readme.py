"""The README's requests, run as they stand there against a stack that was started as it says there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.folders import state_folder
from tests.support.processes import Process
from tests.support.waiting import eventually, free_range

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


@dataclass(frozen=True)
class Stack:
    """The stack that `uvx nox -s up` starts, on ports of its own."""

    api: str
    sink: str


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("up")
    base = free_range(12)
    environment = {"DARKROOM_HOME": str(state_folder())}
    process = Process(
        "up",
        "local",
        folder=folder,
        environment=environment,
        arguments=["up", "--port-base", str(base), "--latency", "0", "--state", str(folder / "up.json")],
    )
    try:
        eventually(lambda: "ready after" in process.log.read_text(), within=60)
        yield Stack(f"http://127.0.0.1:{base}", f"http://127.0.0.1:{base + 1}")
    finally:
        process.stop()


def shell(stack: Stack, block: str) -> Any:
    """Runs a block of the README with the ports of this stack, and returns the JSON that it prints."""
    moved = block.replace("127.0.0.1:8000", stack.api.removeprefix("http://"))
    moved = moved.replace("127.0.0.1:8001", stack.sink.removeprefix("http://"))
    done = subprocess.run(["bash", "-c", moved], capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


def block(start: str) -> str:
    """Returns the README's block that begins like this."""
    return next(text for text in BLOCKS if text.startswith(start))


@pytest.fixture(scope="module")
def submitted(up: Stack) -> Any:
    return shell(up, block("curl -s http://127.0.0.1:8000/v1alpha2"))


def test_the_request_is_answered_as_the_readme_says(submitted: Any) -> None:
    assert json.dumps(submitted) in README


def test_the_callback_arrives_as_the_readme_says(up: Stack, submitted: Any) -> None:
    (shown,) = next(
        json.loads(text) for text in re.findall(r"```json\n(.*?)```", README, re.DOTALL) if '"image_url"' in text
    )
    (callback,) = eventually(lambda: shell(up, block("curl -s 'http://127.0.0.1:8001/callbacks")), within=20)
    assert list(shown) == list(callback)
    four = re.compile(r"test-t2i-\w{4}")
    assert four.sub("test-t2i-abcd", json.dumps(callback["image_url"])) == json.dumps(shown["image_url"])
    assert callback["context"] == shown["context"]


def test_the_task_tells_how_it_stands(up: Stack, submitted: Any) -> None:
    def succeeded() -> Any:
        record = shell(up, block("curl -s http://127.0.0.1:8000/v1/tasks"))
        return record if record["status"] == "succeeded" else None

    assert eventually(succeeded, within=20)["images"][0]["url"].startswith("http")


def test_the_terminal_client_saves_the_images(up: Stack, tmp_path: Path) -> None:
    words = shlex.split(block("uvx nox -s client"))
    assert words[:5] == ["uvx", "nox", "-s", "client", "--"]
    done = subprocess.run(
        [sys.executable, "-m", "local.client", *words[5:]],
        cwd=tmp_path,
        env=os.environ | {"DARKROOM_API_URL": up.api, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.png")), done.stdout


def test_the_terminal_client_runs_a_workflow_with_a_picture_that_it_uploads(up: Stack, tmp_path: Path) -> None:
    words = shlex.split(block("uvx --from . darkroom"))
    workflow = json.loads((ROOT / "tests" / "seeds" / "v1alpha2-pipeline.json").read_text())["task"]["content"]
    workflow |= {
        "10": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "11": {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}},
    }
    workflow["3"]["inputs"]["latent_image"] = ["11", 0]
    (tmp_path / "workflow_api.json").write_text(json.dumps(workflow))
    shutil.copy(ROOT / "local" / "sample.png", tmp_path / "cat.png")

    done = subprocess.run(
        [sys.executable, "-m", "local.client", *words[4:]],
        cwd=tmp_path,
        env=os.environ | {"DARKROOM_API_URL": up.api, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    [picture] = (tmp_path / "images").glob("*.png")
    assert "a fox" in picture.read_bytes().decode("latin-1")
