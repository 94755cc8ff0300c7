"""`--set` and `--input` change what the user names, and say what there is where he is wrong."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from local.client.changes import ChangeError, change, content_of, from_workflow, is_editors, is_workflow, split
from local.client.requests import route_of
from local.client.running import running_api

WORKFLOW: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "cfg": 8.0, "model": ["4", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a dog", "clip": ["4", 1]}},
    "10": {"class_type": "LoadImage", "inputs": {"image": "example.png", "model.mode": "x"}},
}
SEED = Path(__file__).parents[2] / "seeds" / "v1alpha2-pipeline.json"


def changed(content: Any, typed: str) -> Any:
    content = copy.deepcopy(content)
    change(content, *split(typed, "--set"), "--set")
    return content


def test_a_workflow_is_known_by_its_nodes_and_becomes_a_request() -> None:
    request = from_workflow(WORKFLOW, runtime="comfyruntime")

    assert is_workflow(WORKFLOW)
    assert not is_workflow(request)
    assert route_of(request) == "/v1/tasks"
    assert content_of(request) is WORKFLOW
    assert is_workflow(content_of(json.loads(SEED.read_text())))
    assert is_editors({"nodes": [], "links": [], "version": 0.4})


@pytest.mark.parametrize(
    ("typed", "node", "name", "value"),
    [
        ("6.text=a fox = 2 foxes", "6", "text", "a fox = 2 foxes"),
        ("6.text=7", "6", "text", "7"),
        ("3.seed=7", "3", "seed", 7),
        ("3.cfg=4.5", "3", "cfg", 4.5),
        ('3.model=["5", 0]', "3", "model", ["5", 0]),
        ("10.model.mode=y", "10", "model.mode", "y"),
    ],
)
def test_a_text_stays_one_and_anything_else_is_read_as_json(typed: str, node: str, name: str, value: Any) -> None:
    assert changed(WORKFLOW, typed)[node]["inputs"][name] == value


def test_other_requests_are_changed_by_keys_and_indexes_and_may_get_new_keys() -> None:
    content = {"prompt": "a dog", "init_images": ["x"], "override_settings": {}}
    assert changed(content, "init_images.0=s3://b/k")["init_images"] == ["s3://b/k"]
    assert changed(content, "override_settings.eta=0.5")["override_settings"] == {"eta": 0.5}
    assert changed(content, "seed=7")["seed"] == 7


@pytest.mark.parametrize(
    ("content", "typed", "says"),
    [
        (WORKFLOW, "66.text=x", "--set 66.text: there is no node '66'; did you mean '6'"),
        (
            WORKFLOW,
            "6.txt=x",
            r"--set 6.txt: there is no input of node 6 \(CLIPTextEncode\) 'txt'; did you mean 'text'",
        ),
        (WORKFLOW, "6.text", "--set '6.text': write it as PLACE=VALUE"),
        ({"init_images": ["x"]}, "init_images.1=y", "there is no index '1'"),
        ({"a": 1}, "a.b=2", "a is 1, which holds nothing"),
        ({"a": 1}, "b.c=2", "there is no key 'b'"),
    ],
)
def test_a_place_that_is_not_there_is_named_as_it_was_typed(content: Any, typed: str, says: str) -> None:
    with pytest.raises(ChangeError, match=says):
        changed(content, typed)


def test_a_file_is_uploaded_only_once_its_place_is_known() -> None:
    def upload() -> str:
        raise AssertionError("uploaded")

    with pytest.raises(ChangeError, match=r"--input 10\.imag:"):
        change(copy.deepcopy(WORKFLOW), "10.imag", upload, "--input")


def test_the_api_of_a_running_up_is_found_from_any_folder_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DARKROOM_HOME", raising=False)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    state = tmp_path / ".darkroom" / "up.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"pid": os.getpid(), "api": "http://127.0.0.1:1"}))
    assert running_api(below) == "http://127.0.0.1:1"
    state.write_text(json.dumps({"pid": 2**22 + 1, "api": "http://127.0.0.1:1"}))
    assert running_api(below) is None
