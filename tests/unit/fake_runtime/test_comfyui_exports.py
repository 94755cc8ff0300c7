"""Workflows as people publish them become tasks, and the fake runs them to their end."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api.workflows.understanding import understand
from contract.catalogue import pack, unpack
from fake_runtime.comfyui.catalogue import DEFAULT, read_catalogue
from tests.support.exports import CUSTOM, every, with_link
from tests.unit.fake_runtime.support import serving

TOLD = read_catalogue(DEFAULT) | CUSTOM
CATALOGUE = unpack(pack(TOLD))
EXPORTS = {name: (document, endings) for name, document, endings in every()}


@pytest.mark.parametrize("name", EXPORTS)
async def test_an_export_of_today_is_converted_and_run(name: str, tmp_path: Path) -> None:
    document, endings = EXPORTS[name]
    document = with_link(document, "cat.png", "clip.mp4")
    answer = understand(json.dumps(document).encode(), CATALOGUE)
    recorded = tmp_path / "catalogue.json.gz"
    recorded.write_bytes(gzip.compress(json.dumps(TOLD).encode()))
    picture = io.BytesIO()
    Image.new("RGBA", (64, 64)).save(picture, "PNG")
    (tmp_path / "input").mkdir()
    for file in ("cat.png", "clip.mp4"):
        (tmp_path / "input" / file).write_bytes(picture.getvalue())
    async with serving(tmp_path, type="comfyui", catalogue=recorded, any_model=True) as server:
        status, accepted = await server.send("POST", "/prompt", json={"prompt": answer["content"]})
        assert (status, accepted.get("node_errors")) == (200, {}), accepted
        entry = await server.finished(accepted["prompt_id"])
    assert entry["status"]["status_str"] == "success", entry["status"]
    # Of the server that was recorded: its folder of VAEs was not empty to it.
    assert [warning for warning in answer["warnings"] if "vae_name" not in warning] == []
    assert {file.rpartition(".")[2] for file in names(entry["outputs"])} == endings


def names(outputs: dict[str, dict[str, list[Any]]]) -> list[str]:
    return [
        item["filename"]
        for node in outputs.values()
        for items in node.values()
        for item in items
        if isinstance(item, dict) and item.get("type") == "output"
    ]
