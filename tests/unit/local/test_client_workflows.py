"""The client takes a workflow in any form, and has the API convert what is not in API form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from darkroom import Darkroom, RefusedError
from local.client.show import show_fields
from local.client.workflows import FileError, convert, is_any_workflow, read_file

WORKFLOW: dict[str, Any] = {"6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a dog"}}}
EDITORS: dict[str, Any] = {"nodes": [], "links": [], "version": 0.4}


class Answering:
    """An API that answers, or refuses."""

    def __init__(self, answer: dict[str, Any] | None) -> None:
        self.answer = answer
        self.asked: list[tuple[bytes, str]] = []

    def convert(self, workflow: bytes, *, runtime: str) -> dict[str, Any]:
        self.asked.append((workflow, runtime))
        if self.answer is None:
            raise RefusedError("there is no workflow in it")
        return self.answer


def written(folder: Path, data: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "is_workflow"),
    [
        (json.dumps(WORKFLOW).encode(), True),
        (json.dumps(EDITORS).encode(), True),
        (b"\xef\xbb\xbf" + json.dumps({"prompt": WORKFLOW}).encode(), True),
        (b"\x89PNG\r\n\x1a\n", True),
        (b"\0\0\0\x18ftypisom", True),
        (b'{"task": {"metadata": {}}}', False),
        (b'{"prompt": "a dog"}', False),
    ],
)
def test_a_workflow_is_told_from_a_request(data: bytes, is_workflow: bool, tmp_path: Path) -> None:
    assert is_any_workflow(read_file(written(tmp_path, data))[1]) is is_workflow


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "is not JSON: .* in line 1"),
        (b"\xfe\xff\0a", "neither UTF-8 text nor a picture"),
        (b"[" * 99_999, "nested"),
    ],
)
def test_what_is_neither_is_refused_by_its_name(data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=f"file .*{says}"):
        read_file(written(tmp_path, data))
    with pytest.raises(FileError, match="missing cannot be read: No such file"):
        read_file(tmp_path / "missing")


def test_api_form_passes_though_it_cannot_be_checked() -> None:
    assert convert(cast("Darkroom", Answering(None)), "comfy", b"{}", WORKFLOW).content is WORKFLOW


def test_anything_else_is_converted_or_refused() -> None:
    api = Answering({"content": WORKFLOW, "fields": [{}], "warnings": ["the runtime has no node X"]})
    converted = convert(cast("Darkroom", api), "comfy", b"\x89PNG", None)
    assert (converted.content, converted.fields, converted.warnings) == (WORKFLOW, [{}], ["the runtime has no node X"])
    assert convert(cast("Darkroom", api), "comfy", b"{}", EDITORS).content == WORKFLOW
    assert api.asked == [(b"\x89PNG", "comfy"), (b"{}", "comfy")]
    with pytest.raises(RefusedError):
        convert(cast("Darkroom", Answering(None)), "comfy", b"{}", EDITORS)


def test_what_can_be_set_is_shown_with_its_place(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    fields: list[dict[str, Any]] = [
        {"node": "8:1", "input": "text", "label": "Positive: text", "type": "text", "default": "a\nfox " * 30},
        {"node": "3", "input": "steps", "label": "S", "type": "integer", "default": 4, "minimum": 1, "maximum": 9},
        {"node": "3", "input": "sampler_name", "label": "S", "type": "choice", "default": "x", "choices": ["x", "y"]},
        {"node": "10", "input": "image", "label": "L", "type": "file", "media": "image", "default": "me.png"},
    ]
    show_fields(fields)
    shown = capsys.readouterr().out
    for words in ("8:1.text", "a fox a fox", "integer 1…9", "x, y", "image (--input)"):
        assert words in shown
