"""Which values of a ComfyUI workflow are files: what the server says of its nodes, and nothing by the look of it."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import PermanentError
from agent.runtimes.comfyui.inputs import (
    KNOWN,
    Takes,
    candidates,
    classes_to_ask,
    decode,
    file_inputs,
    name_of,
    read_inputs,
)
from agent.runtimes.comfyui.workflow import with_uploads
from contract.inputs import InputRules, problems
from tests.support.workflows import Workflow
from tests.unit.agent.runtime_support import png

INFO: dict[str, Any] = {
    "LoadImageOutput": {"image": ["COMBO", {"image_folder": "output", "image_upload": True}]},
    "LoadLatent": {"latent": [[]]},
    "Load3D": {
        "model_file": ["COMBO", {"file_upload": True, "options": ["none"]}],
        "image": ["LOAD_3D", {}],
        "width": ["INT", {}],
    },
    "Painter": {"mask": ["STRING", {"image_upload": True}]},
    "LoadImageFromUrl": {"url": ["STRING", {"default": ""}]},
    "LoadImageWithNotes": {"image": [["a.png"], {"image_upload": True}], "notes": ["STRING", {"multiline": True}]},
    "CheckpointLoaderSimple": {"ckpt_name": [["a.safetensors"]]},
    "Styled": {
        "style": [
            "COMFY_DYNAMICCOMBO_V3",
            {"options": [{"key": "photo", "inputs": {"required": {"image": ["COMBO", {"image_upload": True}]}}}]},
        ]
    },
    "LLM_Node": {"instruction": ["STRING", {}], "base_url": ["STRING", {}]},
}
TOLD = {name: read_inputs({"input": {"required": inputs}}) for name, inputs in INFO.items()}
LINK = "https://host.example/a/cat%20(1).glb?sig=x"


def taken(nodes: Workflow) -> list[tuple[str, str, Takes]]:
    return [(file.node, file.name, file.takes) for file in file_inputs(nodes, candidates(nodes), TOLD)]


@pytest.mark.parametrize(
    ("class_type", "name", "takes"),
    [
        ("LoadImage", "image", Takes.PICTURE),
        ("LoadVideo", "file", Takes.FILE),
        ("LoadImageOutput", "image", Takes.OUTPUT_PICTURE),
        ("LoadImageWithNotes", "image", Takes.PICTURE),
        ("Painter", "mask", Takes.PICTURE),
        ("Load3D", "model_file", Takes.MODEL_3D),
        ("LoadLatent", "latent", Takes.CHOICE),
        ("Styled", "style.image", Takes.PICTURE),
    ],
)
@pytest.mark.parametrize("link", [LINK, "s3://bucket/cat.glb"])
def test_a_link_is_a_file_where_the_server_says_so(class_type: str, name: str, takes: Takes, link: str) -> None:
    assert taken(Workflow().node("1", class_type, **{name: link})) == [("1", name, takes)]


@pytest.mark.parametrize(
    ("class_type", "name"),
    [
        ("LoadImageFromUrl", "url"),
        ("LLM_Node", "instruction"),
        ("LLM_Node", "base_url"),
        ("LoadImageWithNotes", "notes"),
        ("CLIPTextEncode", "text"),
        ("Load3D", "no_such_input"),
        ("NoSuchClass", "image"),
    ],
)
@pytest.mark.parametrize("value", [LINK, "http://127.0.0.1:11434", "https://host.example/page summarise this"])
def test_words_stay_as_they_are_whatever_they_look_like(class_type: str, name: str, value: str) -> None:
    assert taken(Workflow().node("1", class_type, **{name: value})) == []


def test_a_request_may_say_otherwise_of_one_value() -> None:
    nodes = Workflow().node("1", "LoadImageFromUrl", url=LINK).node("2", "LoadImage", image=LINK)
    rules = InputRules(fetch=("/1/inputs/url",), keep=("/prompt/2/inputs/image",))
    assert [(file.node, file.takes) for file in file_inputs(nodes, candidates(nodes), TOLD, rules)] == [
        ("1", Takes.FILE)
    ]


def test_links_within_what_a_3d_view_has_drawn_are_fetched_and_put_in_their_places() -> None:
    view = {"image": LINK, "mask": "s3://b/mask.png", "normal": "n.png [temp]", "recording": "", "camera": {"x": LINK}}
    nodes = Workflow().node("1", "Load3D", image=view).node("2", "LLM_Node", instruction={"image": LINK})
    files = file_inputs(nodes, candidates(nodes), TOLD)
    assert [(file.node, file.name, file.takes) for file in files] == [
        ("1", "image.image", Takes.PICTURE),
        ("1", "image.mask", Takes.PICTURE),
    ]
    changed, _ = with_uploads(nodes, files, {LINK: ("a.png", png()), "s3://b/mask.png": ("m.png", png(9))})
    drawn = changed["1"]["inputs"]["image"]
    assert [drawn[key].rpartition(".")[2] for key in ("image", "mask")] == ["png", "png"]
    assert drawn["image"].startswith("darkroom/") != drawn["mask"].startswith("s3://")
    assert {key: drawn[key] for key in ("normal", "recording", "camera")} == {
        key: view[key] for key in ("normal", "recording", "camera")
    }
    kept = InputRules(fetch=("/2/inputs/instruction/image",), keep=("/prompt/1/inputs/image/mask",))
    assert [(file.node, file.name) for file in file_inputs(nodes, candidates(nodes), TOLD, kept)] == [
        ("1", "image.image"),
        ("2", "instruction.image"),
    ]
    content = {"prompt": dict(nodes)}
    assert not list(problems(InputRules(keep=("/prompt/1/inputs/image/mask",)), content, "comfyui"))
    assert list(problems(InputRules(keep=("/1/inputs/image/camera/x",)), dict(nodes), "comfyui"))


def test_a_model_by_link_is_refused_with_the_place_where_models_go() -> None:
    nodes = Workflow().node("4", "CheckpointLoaderSimple", ckpt_name="https://host.example/x.safetensors?download=true")
    with pytest.raises(PermanentError, match=r"node '4' .*'ckpt_name' names a model by a link.*docs/models.md"):
        taken(nodes)


def test_only_classes_that_hold_something_are_asked_for_and_common_ones_are_known() -> None:
    nodes = (
        Workflow().node("1", "LoadImage", image=LINK).node("2", "LoadLatent", latent=LINK).node("3", "KSampler", x=1)
    )
    assert classes_to_ask(nodes, candidates(nodes)) == {"LoadLatent"}


def test_a_workflow_cannot_make_the_agent_ask_without_end() -> None:
    nodes = Workflow()
    for number in range(101):
        nodes = nodes.node(str(number), f"C{number}", url=LINK)
    with pytest.raises(PermanentError, match="101 different classes"):
        classes_to_ask(nodes, candidates(nodes))


def test_what_is_known_by_heart_is_what_a_real_server_told() -> None:
    catalogue = {
        "LoadImage": {"image": [[], {"image_upload": True}]},
        "LoadImageMask": {"image": [[], {"image_upload": True}], "channel": [["red"]]},
        "LoadAudio": {"audio": ["COMBO", {"audio_upload": True, "options": []}]},
        "LoadVideo": {"file": ["COMBO", {"options": [], "video_upload": True}]},
        "CLIPTextEncode": {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]},
    }
    for name, inputs in catalogue.items():
        told = read_inputs({"input": {"required": inputs}})
        assert {key: takes for key, takes in told.items() if takes not in {Takes.WORDS, Takes.CHOICE}} == KNOWN[name]


def test_uploads_are_named_by_their_content_and_end_as_their_own_names_do() -> None:
    nodes = Workflow().node("1", "Load3D", model_file=LINK).node("2", "LoadImageOutput", image="s3://b/k.jpg")
    files = file_inputs(nodes, candidates(nodes), TOLD)
    contents = {LINK: (name_of(LINK), b"glTF"), "s3://b/k.jpg": (name_of("s3://b/k.jpg"), png())}
    changed, uploads = with_uploads(nodes, files, contents)
    mesh, picture = (hashlib.sha256(data).hexdigest()[:32] for data in (b"glTF", png()))
    assert [upload.name for upload in uploads] == [f"3d/{mesh}.glb", f"darkroom/{picture}.png"]
    assert changed["1"]["inputs"]["model_file"] == f"3d/{mesh}.glb"
    assert changed["2"]["inputs"]["image"] == f"darkroom/{picture}.png [input]"
    assert nodes["1"]["inputs"]["model_file"] == LINK


@pytest.mark.parametrize("head", ["data:image/png;base64,", "data:;base64,", "data:image/png;name=a.png;base64,", ""])
def test_a_picture_may_be_in_the_workflow_itself(head: str) -> None:
    nodes = Workflow().node("1", "LoadImage", image=head + base64.b64encode(png()).decode())
    (file,) = file_inputs(nodes, candidates(nodes), TOLD)
    name, data = decode(file)
    assert data == png()
    changed, _ = with_uploads(nodes, [file], {file.value: (name, data)})
    assert changed["1"]["inputs"]["image"].endswith(".png")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("data:image/png;base64,iVBORw0KGg", "no whole base64"),
        ("data:image/png;base64,aGVsbG8=", "no image, video or sound"),
    ],
)
def test_what_is_no_picture_is_refused_by_node_and_input_and_not_echoed(value: str, words: str) -> None:
    nodes = Workflow().node("7", "LoadImage", image=value)
    (file,) = file_inputs(nodes, candidates(nodes), TOLD)
    with pytest.raises(PermanentError) as refused:
        decode(file)
    assert "node '7': input 'image'" in refused.value.message
    assert words in refused.value.message
    assert value not in refused.value.message


def test_other_texts_are_no_candidates() -> None:
    # Texts that only begin as a data URI: a search that tried each way to read them would not end (and holds all up).
    heads = ["data:" + "a" * 3_000_000, "data:" + ";a" * 1_500_000, " " * 3_000_000]
    words = [
        *heads,
        "a.png",
        "sub/a.png [output]",
        "a dog",
        "x" * 500,
        "iVBORw0KGgo=",
        "see https://h/a.png",
        "data: none",
    ]
    assert candidates(Workflow().node("1", "LoadImage", **{f"i{n}": text for n, text in enumerate(words)})) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just("COMFY_DYNAMICCOMBO_V3"),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["input", "required", "options", "inputs", "image_upload", "x"]), inner)
        ),
        max_leaves=12,
    )
)
def test_whatever_a_server_tells_is_read(info: Any) -> None:
    assert json.dumps({name: str(takes) for name, takes in read_inputs(info).items()})
