"""The fake takes any workflow of ComfyUI's own nodes: it is driven by what a real server told of them."""

import asyncio
import gzip
import io
import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from api.workflows.editor import convert
from contract.catalogue import pack, unpack
from fake_runtime.comfyui.catalogue import DEFAULT, CatalogueError, node_classes, read_catalogue
from fake_runtime.comfyui.nodes import NODE_CLASSES
from fake_runtime.comfyui.record import fetch, strip, write
from tests.support.workflows import Workflow
from tests.unit.fake_runtime.support import serving

CATALOGUE = read_catalogue(DEFAULT)
TEMPLATES = resources.files("comfyui_workflow_templates_json") / "templates"
DRAWN = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}
LOADERS = {"LoadImage", "LoadImageMask", "LoadImageOutput", "LoadAudio", "LoadVideo", "Load3D", "Load3DAdvanced"}

NOT_TAKEN = {
    "image_anima_lllite_image_inpainting": "its mask is a file that the editor keeps in its temporary folder",
}
"""Official templates that need ComfyUI's own nodes alone, and are refused all the same."""


def templates() -> dict[str, dict[str, Any]]:
    """The official templates that need ComfyUI's own nodes alone."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(TEMPLATES.iterdir(), key=lambda item: item.name):
        document = json.loads(path.read_text(encoding="utf-8")) if path.name.endswith(".json") else None
        if isinstance(document, dict) and "nodes" in document and classes_of(document) <= CATALOGUE.keys() | DRAWN:
            found[path.name.removesuffix(".json")] = document
    return found


def classes_of(document: dict[str, Any]) -> set[str]:
    subgraphs = {item["id"]: item for item in (document.get("definitions") or {}).get("subgraphs") or ()}

    def walk(nodes: list[dict[str, Any]]) -> set[str]:
        inside = [walk(subgraphs[node["type"]]["nodes"]) for node in nodes if node["type"] in subgraphs]
        return {node["type"] for node in nodes if node["type"] not in subgraphs}.union(*inside)

    return walk(document["nodes"])


def bring_inputs(folder: Path, prompt: dict[str, Any]) -> None:
    """Puts the files that a template loads into the input folder."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    for node in prompt.values():
        for value in node["inputs"].values():
            if node["class_type"] in LOADERS and isinstance(value, str) and "." in value:
                path = folder / "input" / value.partition(" [")[0]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(buffer.getvalue())


async def test_official_templates_of_core_nodes_run_to_their_end(tmp_path: Path) -> None:
    """Every tenth of them; EVERY_TEMPLATE=1 runs them all, in half a minute."""
    every = templates()
    asked_for = [*every][:: 1 if os.environ.get("EVERY_TEMPLATE") else 10]
    refused, failed = set(), {}
    async with serving(tmp_path, type="comfyui", any_model=True) as server:
        for name in asked_for:
            prompt = convert(every[name], CATALOGUE).nodes
            bring_inputs(tmp_path, prompt)
            status, answer = await server.send("POST", "/prompt", json={"prompt": prompt})
            if status != 200 or answer["node_errors"]:
                refused.add(name)
                continue
            entry = await server.finished(answer["prompt_id"])
            if entry["status"]["status_str"] != "success" or not any(entry["outputs"].values()):
                failed[name] = entry["status"]["messages"][-1]
    assert failed == {}
    assert refused == NOT_TAKEN.keys() & set(asked_for)
    taken = f"of the {len(every)} official templates that need core nodes alone, {len(every) - len(NOT_TAKEN)} run"
    assert taken in (Path(__file__).parents[3] / "fake_runtime" / "README.md").read_text(encoding="utf-8")


def image() -> Workflow:
    return Workflow().node("1", "EmptyImage", width=64, height=48, batch_size=1, color=0)


@pytest.mark.parametrize(
    ("nodes", "ending", "head"),
    [
        (
            image().node("2", "SaveWEBM", images=["1", 0], filename_prefix="v", codec="vp9", fps=24.0, crf=32.0),
            "webm",
            b"\x1aE\xdf\xa3",
        ),
        (
            Workflow()
            .node("1", "EmptyAudio", duration=1.0, sample_rate=44100, channels=2)
            .node("2", "SaveAudioMP3", audio=["1", 0], filename_prefix="a", quality="V0"),
            "mp3",
            b"\xff\xfb",
        ),
        (
            Workflow()
            .node("1", "EmptyAudio", duration=1.0, sample_rate=44100, channels=2)
            .node("2", "SaveAudioOpus", audio=["1", 0], filename_prefix="a", quality="128k"),
            "opus",
            b"OggS",
        ),
        (
            Workflow()
            .node("1", "EmptyLatentImage", width=64, height=64, batch_size=1)
            .node("2", "SaveLatent", samples=["1", 0], filename_prefix="l"),
            "latent",
            b"",
        ),
        (Workflow().node("2", "SaveText", text="a fox", filename_prefix="t", format="txt"), "txt", b"a fox"),
        (Workflow().node("2", "SaveText", text="{}", filename_prefix="t", format="json"), "json", b"{}"),
    ],
)
async def test_output_nodes_write_true_files_of_their_kind(
    nodes: Workflow, ending: str, head: bytes, tmp_path: Path
) -> None:
    async with serving(tmp_path, type="comfyui") as server:
        entry = await server.run(nodes)
    assert entry["status"]["status_str"] == "success"
    (file,) = [item for items in entry["outputs"]["2"].values() for item in items if isinstance(item, dict)]
    assert file["filename"].endswith(f".{ending}")
    assert (tmp_path / "output" / file["filename"]).read_bytes().startswith(head)


async def test_what_a_server_tells_is_recorded_and_means_the_same(tmp_path: Path) -> None:
    async with serving(tmp_path, type="comfyui") as server:
        catalogue = await asyncio.to_thread(fetch, server.url)
    path = tmp_path / "recorded" / "catalogue.json.gz"
    assert write(path, catalogue) < 100_000
    assert read_catalogue(path) == catalogue
    again = node_classes(catalogue, NODE_CLASSES)
    for name, made in node_classes(CATALOGUE, NODE_CLASSES).items():
        assert (again[name].outputs, again[name].output_node) == (made.outputs, made.output_node)
        assert again[name].required.keys() == made.required.keys()


def test_prose_is_left_out_of_a_recording_and_choices_are_not() -> None:
    entry = {
        "input": {"required": {"mode": [["a", "b"], {"tooltip": "words", "default": "a"}]}},
        "description": "words",
        "output": ["IMAGE"],
        "output_tooltips": ["words"],
    }
    assert strip({"A": entry, "B": None}) == {
        "A": {"input": {"required": {"mode": [["a", "b"], {"default": "a"}]}}, "output": ["IMAGE"]}
    }


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ([["me.png"], {"image_upload": True}], [[], {"image_upload": True}]),
        (["COMBO", {"options": ["me.mp4"], "video_upload": True}], ["COMBO", {"options": [], "video_upload": True}]),
        ([["me.glb"], {"mesh_upload": True, "tooltip": "words"}], [[], {"mesh_upload": True}]),
    ],
)
def test_names_of_uploaded_files_are_left_out_of_a_recording_and_of_what_an_agent_writes(
    told: list[Any], kept: list[Any]
) -> None:
    server = {"A": {"input": {"required": {"file": told}}}}
    assert strip(server) == dict(unpack(pack(server))) == {"A": {"input": {"required": {"file": kept}}}}


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://127.0.0.1:1"])
def test_what_cannot_be_recorded_is_said(url: str) -> None:
    with pytest.raises(SystemExit, match="record: "):
        fetch(url)


async def test_a_recorded_server_is_played_back_with_its_custom_nodes(tmp_path: Path) -> None:
    recorded = tmp_path / "mine.json.gz"
    mine = {
        "input": {"required": {"images": ["IMAGE"], "mode": [["soft", "hard"], {"default": "soft"}]}},
        "output": [],
        "output_node": True,
        "name": "My Saver",
    }
    recorded.write_bytes(gzip.compress(json.dumps({"My Saver": mine, "EmptyImage": CATALOGUE["EmptyImage"]}).encode()))
    async with serving(tmp_path, type="comfyui", catalogue=recorded) as server:
        told = await server.get("/object_info/My Saver")
        entry = await server.run(image().node("2", "My Saver", images=["1", 0], mode="hard"))
        status, refused = await server.send(
            "POST", "/prompt", json={"prompt": image().node("2", "My Saver", images=["1", 0], mode="loud")}
        )
    assert told["My Saver"]["input"]["required"]["mode"] == [["soft", "hard"], {"default": "soft"}]
    assert [file["filename"].rpartition(".")[2] for file in entry["outputs"]["2"]["images"]] == ["png"]
    assert (status, refused["node_errors"]["2"]["errors"][0]["type"]) == (400, "value_not_in_list")


@pytest.mark.parametrize("data", [b"", b"nonsense", b"[]", b'{"A": {}}', b"\x1f\x8bcut"])
def test_what_is_no_catalogue_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    with pytest.raises(CatalogueError, match=r"bad\.json"):
        read_catalogue(path)


@given(
    st.dictionaries(
        st.sampled_from(["required", "optional", "hidden"]),
        st.dictionaries(st.text(max_size=5), st.lists(st.none() | st.text() | st.lists(st.integers()), max_size=2)),
    )
)
def test_classes_are_made_of_whatever_a_server_tells_of_its_inputs(inputs: dict[str, Any]) -> None:
    (made,) = node_classes({"A": {"input": inputs}}, NODE_CLASSES).values()
    assert made.name == "A"
