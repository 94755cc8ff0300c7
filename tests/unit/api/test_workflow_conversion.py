"""The editor's form becomes what its "Export (API)" makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.workflows.editor import BYPASSED, MUTED, convert
from api.workflows.errors import WorkflowError
from api.workflows.understanding import UnknownNodesError, understand
from contract.catalogue import CatalogueError, pack, unpack
from tests.support.editor import INPUTS, Drawing
from tests.support.workflows import CHECKPOINT, diffusion

TOLD: dict[str, Any] = {
    "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [[CHECKPOINT, "other.safetensors"]]}}},
    "CLIPTextEncode": {"input": {"required": {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}}},
    "EmptyLatentImage": {
        "input": {
            "required": {
                "width": ["INT", {"default": 512, "min": 16, "max": 16384, "step": 8}],
                "height": ["INT", {"default": 512}],
                "batch_size": ["INT", {"default": 1}],
            }
        }
    },
    "KSampler": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {"control_after_generate": True, "min": 0, "max": 2**64 - 1}],
                "steps": ["INT", {"default": 20}],
                "cfg": ["FLOAT", {"default": 8.0}],
                "sampler_name": [["euler", "dpmpp_2m"]],
                "scheduler": ["COMBO", {"options": ["normal", "karras"]}],
                "positive": ["CONDITIONING"],
                "negative": ["CONDITIONING"],
                "latent_image": ["LATENT"],
                "denoise": ["FLOAT", {"default": 1.0, "max": 2**70}],
            }
        }
    },
    "VAEDecode": {"input": {"required": {"samples": ["LATENT"], "vae": ["VAE"]}}},
    "ImageInvert": {"input": {"required": {"image": ["IMAGE"]}}},
    "LoadImage": {"input": {"required": {"image": [["me.png"], {"image_upload": True}]}}},
    "SaveImage": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}},
        "output_node": True,
    },
    "SaveVideo": {
        "input": {
            "required": {
                "format": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {"options": [{"key": "mp4", "inputs": {"required": {"crf": ["INT", {"default": 23}]}}}]},
                ],
                "rate": ["FLOAT,INT", {"default": 25.0, "widgetType": "FLOAT"}],
            }
        },
        "output_node": True,
    },
}
CATALOGUE = unpack(pack(TOLD))


def inputs_of(drawing: Drawing, node: str) -> dict[str, Any]:
    return dict(convert(drawing, CATALOGUE).nodes[node]["inputs"])


def drawn() -> Drawing:
    """The default workflow, as the editor draws it."""
    return (
        Drawing()
        .node(4, "CheckpointLoaderSimple", CHECKPOINT)
        .node(6, "CLIPTextEncode", "a cat", links={"clip": (4, 1)}, title="Positive")
        .node(7, "CLIPTextEncode", "ugly", links={"clip": (4, 1)})
        .node(5, "EmptyLatentImage", 64, 64, 1)
        .node(
            3,
            "KSampler",
            *(5, "randomize", 4, 8, "euler", "normal", 1),
            links={"model": (4, 0), "positive": (6, 0), "negative": (7, 0), "latent_image": (5, 0)},
        )
        .node(8, "VAEDecode", links={"samples": (3, 0), "vae": (4, 2)})
        .node(9, "SaveImage", "ComfyUI", links={"images": (8, 0)})
        .node(10, "Note", "for people")
    )


def test_values_get_their_names_and_the_control_of_a_seed_is_none() -> None:
    nodes = convert(drawn(), CATALOGUE).nodes
    assert {
        key: {"class_type": node["class_type"], "inputs": node["inputs"]} for key, node in nodes.items()
    } == diffusion()
    assert nodes["6"]["_meta"] == {"title": "Positive"}


@pytest.mark.parametrize("mode", [MUTED, BYPASSED])
def test_a_node_that_does_not_run_is_left_out_and_a_bypassed_one_passes_on(mode: int) -> None:
    drawing = (
        Drawing()
        .node(1, "LoadImage", "me.png", "image")
        .node(2, "ImageInvert", links={"image": (1, 0, "IMAGE")}, outputs=("IMAGE",), mode=mode)
        .node(3, "SaveImage", "x", links={"images": (2, 0, "IMAGE")})
    )
    assert inputs_of(drawing, "3").get("images") == (["1", 0] if mode == BYPASSED else None)
    assert "2" not in convert(drawing, CATALOGUE).nodes


def test_reroutes_get_and_set_nodes_and_primitives_leave_no_trace() -> None:
    drawing = (
        Drawing()
        .node(1, "LoadImage", "me.png", "image")
        .node(2, "SetNode", "picture", links={"IMAGE": (1, 0)})
        .node(3, "GetNode", "picture")
        .node(4, "Reroute", links={"": (3, 0)})
        .node(5, "PrimitiveNode", "prefix", "fixed")
        .node(6, "SaveImage", "old", links={"filename_prefix": (5, 0), "images": (4, 0)}, widgets=("filename_prefix",))
    )
    nodes = convert(drawing, CATALOGUE).nodes
    assert nodes.keys() == {"1", "6"}
    assert nodes["6"]["inputs"] == {"images": ["1", 0], "filename_prefix": "prefix"}


def test_anything_everywhere_is_connected() -> None:
    drawing = Drawing().node(1, "LoadImage", "me.png").node(2, "Anything Everywhere", links={"any": (1, 0)})
    drawing.node(3, "SaveImage", "x", links={"images": (99, 0)})
    drawing["nodes"][-1]["inputs"][0]["link"] = None
    drawing["extra"]["ue_links"] = [{"downstream": 3, "downstream_slot": 0, "upstream": "1", "upstream_slot": 0}]
    assert inputs_of(drawing, "3")["images"] == ["1", 0]


def with_subgraph(*values: Any, properties: dict[str, Any] | None = None) -> Drawing:
    """A subgraph with a prompt and a picture in, which it gives out again, used once."""
    inside = (
        Drawing()
        .node(1, "CLIPTextEncode", "inner text", links={"text": (INPUTS, 0), "clip": (2, 1)}, widgets=("text",))
        .node(2, "CheckpointLoaderSimple", CHECKPOINT)
        .node(3, "ImageInvert", links={"image": (INPUTS, 1)})
    )
    return (
        Drawing()
        .subgraph("sub", inside, inputs=("prompt", "picture"), outputs={"picture": (3, 0)})
        .node(7, "LoadImage", "me.png")
        .node(8, "sub", *values, links={"picture": (7, 0)}, properties=properties or {})
        .node(9, "SaveImage", "x", links={"images": (8, 0)})
    )


def test_a_subgraph_is_put_in_its_place() -> None:
    nodes = convert(with_subgraph(), CATALOGUE).nodes
    assert nodes["8:1"]["inputs"] == {"text": "inner text", "clip": ["8:2", 1]}
    assert nodes["8:3"]["inputs"] == {"image": ["7", 0]}
    assert nodes["9"]["inputs"]["images"] == ["8:3", 0]


@pytest.mark.parametrize(
    ("values", "properties", "place", "expected"),
    [
        (["outer text"], {}, "text", "outer text"),
        ([], {"proxyWidgets": [["1", "text"]]}, "text", "inner text"),
        (["b.safetensors", "t"], {"proxyWidgets": [["2", "ckpt_name"], ["-1", "prompt"]]}, "text", "t"),
    ],
)
def test_what_the_node_around_says_counts_more_than_what_is_inside(
    values: list[Any], properties: dict[str, Any], place: str, expected: str
) -> None:
    converted = convert(with_subgraph(*values, properties=properties), CATALOGUE)
    assert converted.nodes["8:1"]["inputs"][place] == expected
    assert ("8:1", "text") in converted.promoted
    if len(values) == 2:
        assert converted.nodes["8:2"]["inputs"]["ckpt_name"] == "b.safetensors"


def test_a_muted_subgraph_is_left_out_and_a_bypassed_one_passes_on() -> None:
    for mode, expected in ((MUTED, None), (BYPASSED, ["7", 0])):
        drawing = with_subgraph()
        drawing["nodes"][1] |= {"mode": mode, "outputs": [{"type": "*"}]}
        nodes = convert(drawing, CATALOGUE).nodes
        assert nodes.keys() == {"7", "9"}
        assert nodes["9"]["inputs"].get("images") == expected


def test_a_choice_brings_its_own_inputs_and_new_ones_have_their_defaults() -> None:
    drawing = Drawing().node(1, "SaveVideo", "mp4", 18, 30.0).node(2, "SaveVideo")
    assert inputs_of(drawing, "1") == {"format": "mp4", "format.crf": 18, "rate": 30.0}
    assert inputs_of(drawing, "2") == {"format": "mp4", "format.crf": 23, "rate": 25.0}


def test_values_by_name_are_taken_by_name_without_what_only_shows() -> None:
    drawing = Drawing().node(1, "VHS_VideoCombine", links={"images": (2, 0)}).node(2, "LoadImage", "me.png")
    drawing["nodes"][0]["widgets_values"] = {"frame_rate": 24, "crf": 19, "videopreview": {"hidden": False}}
    assert inputs_of(drawing, "1") == {"frame_rate": 24, "crf": 19, "images": ["2", 0]}


def test_a_node_that_the_runtime_lacks_is_named_with_its_pack_and_converted_by_its_own_word() -> None:
    drawing = Drawing().node(
        1,
        "Seed Everything",
        *(7, "fixed", "soft"),
        widgets=("seed", "mode"),
        properties={"cnr_id": "comfyui-seeds", "ver": "1.2"},
    )
    answer = understand(json.dumps(drawing).encode(), CATALOGUE)
    assert answer["content"]["1"]["inputs"] == {"seed": 7, "mode": "soft"}
    assert answer["warnings"] == ["the runtime has no node 'Seed Everything' (node 1); its pack is comfyui-seeds 1.2"]


def test_a_list_of_loras_gets_a_name_for_each() -> None:
    lora = {"on": True, "lora": "fox.safetensors", "strength": 1}
    drawing = Drawing().node(1, "Power Lora Loader (rgthree)", {}, {"type": "Header"}, lora, lora, {}, "")
    assert inputs_of(drawing, "1") == {"lora_1": lora, "lora_2": lora}


def fields_of(document: Any) -> dict[str, dict[str, Any]]:
    return {item["pointer"]: item for item in understand(json.dumps(document).encode(), CATALOGUE)["fields"]}


def test_fields_are_what_a_person_changes_with_bounds_and_choices() -> None:
    found = fields_of(drawn())
    assert found["/6/inputs/text"] == {
        "pointer": "/6/inputs/text",
        "node": "6",
        "input": "text",
        "label": "Positive: text",
        "type": "text",
        "role": "prompt",
        "default": "a cat",
    }
    assert found["/5/inputs/width"] | {"minimum": 16, "maximum": 16384, "step": 8} == found["/5/inputs/width"]
    assert found["/3/inputs/scheduler"]["choices"] == ["normal", "karras"]
    assert (found["/3/inputs/seed"]["role"], found["/4/inputs/ckpt_name"]["role"]) == ("seed", "model")
    assert next(iter(found)) == "/6/inputs/text"
    assert [*found][-1] == "/4/inputs/ckpt_name"
    loader = fields_of(Drawing().node(1, "LoadImage", "me.png").node(2, "SaveImage", "x", links={"images": (1, 0)}))
    assert loader["/1/inputs/image"]["type"] == "file"
    assert loader["/1/inputs/image"]["media"] == "image"


def test_what_an_author_shows_on_the_outside_of_a_subgraph_comes_first() -> None:
    assert next(iter(fields_of(with_subgraph()))) == "/8:1/inputs/text"


def test_pointers_are_escaped() -> None:
    found = fields_of({"a/b~c": {"class_type": "CLIPTextEncode", "inputs": {"text": "x", "clip": ["1", 0]}}})
    assert [*found] == ["/a~1b~0c/inputs/text"]


def test_missing_models_and_inputs_are_named_with_what_there_is() -> None:
    nodes = diffusion(checkpoint="v1-5-pruned-emaonly.ckpt")
    del nodes["8"]["inputs"]["vae"]
    warnings = understand(json.dumps(nodes).encode(), CATALOGUE)["warnings"]
    assert warnings == [
        "node 4 (CheckpointLoaderSimple): ckpt_name is 'v1-5-pruned-emaonly.ckpt', which the runtime does not have; "
        f"did you mean {CHECKPOINT!r}? it has {CHECKPOINT}, other.safetensors",
        "node 8 (VAEDecode): vae is required, and there is nothing connected or set",
    ]


def test_before_the_runtime_has_told_api_form_passes_and_the_editors_form_waits() -> None:
    answer = understand(json.dumps(diffusion("a fox")).encode(), None)
    assert answer["content"] == diffusion("a fox")
    assert "/6/inputs/text" in [item["pointer"] for item in answer["fields"]]
    assert "nothing was checked" in answer["warnings"][0]
    with pytest.raises(UnknownNodesError, match="start one"):
        understand(json.dumps(drawn()).encode(), None)


def nested(levels: int, *, width: int = 1) -> Drawing:
    """Subgraphs within each other, each with several of the next."""
    drawing = Drawing().node(1, "s0")
    for level in range(levels):
        inside = Drawing()
        for number in range(width):
            inside.node(number, f"s{level + 1}" if level + 1 < levels else "LoadImage", "me.png")
        drawing.subgraph(f"s{level}", inside, inputs=(), outputs={})
    return drawing


def circle() -> Drawing:
    return Drawing().node(1, "s").subgraph("s", Drawing().node(2, "s"), inputs=(), outputs={})


def long_way() -> Drawing:
    drawing = Drawing()
    for number in range(1, 3000):
        drawing.node(number, "Reroute", links={"": (number + 1, 0)})
    for number in range(3000, 3400):
        drawing.node(number, "SaveImage", "x", links={"images": (1, 0)})
    return drawing


def large_in_many_places() -> dict[str, Any]:
    inside = {"id": "s", "nodes": [], "links": [[number, 1, 0] for number in range(10_000)]}
    nodes = [{"id": number, "type": "s"} for number in range(100)]
    return {"nodes": nodes, "links": [], "definitions": {"subgraphs": [inside]}}


def consumer(links: int) -> dict[str, Any]:
    return {"id": 2, "type": "X", "inputs": [{"name": f"a{number}", "link": 2} for number in range(links)]}


def many_past_a_wide_one() -> dict[str, Any]:
    wide = {"id": 1, "type": "Reroute", "inputs": [{}] * 5000}
    return {"nodes": [wide, consumer(1000)], "links": [[2, 1, 0]]}


def many_values_for_many() -> dict[str, Any]:
    slots = [{"widget": {"name": f"w{number}"}} for number in range(1000)]
    drawn = {"id": 1, "type": "X", "inputs": slots, "widgets_values": [0] * 1000}
    link = {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0}
    inside = {"id": "s", "nodes": [drawn, consumer(1000)], "links": [link, [2, -10, 0]]}
    inside["inputs"] = [{"name": "a", "linkIds": [1]}]
    return {"nodes": [{"id": 1, "type": "s"}], "links": [], "definitions": {"subgraphs": [inside]}}


@pytest.mark.parametrize(
    ("drawing", "says"),
    [
        (circle(), "contains itself"),
        (nested(41), "within each other"),
        (nested(6, width=10), "more than 10000 nodes"),
        (long_way(), "too many nodes that only pass"),
        (large_in_many_places(), "comes to too much"),
        (many_past_a_wide_one(), "comes to too much"),
        (many_values_for_many(), "comes to too much"),
        (Drawing().node(1, "workflow>mine"), "group node"),
        ({"nodes": [{"id": [], "type": "X"}], "links": []}, "a number or a text"),
        ({"nodes": [{"id": 1}], "links": []}, "no object with a type"),
        ({"nodes": [{"id": 1, "type": "Note"}], "links": []}, "nothing in the workflow runs"),
        ({"nodes": [], "links": [[1]]}, "the editor does not write"),
    ],
)
def test_what_is_hostile_or_odd_is_refused_in_words(drawing: dict[str, Any], says: str) -> None:
    with pytest.raises(WorkflowError, match=says):
        understand(json.dumps(drawing).encode(), CATALOGUE)


def test_links_in_a_circle_lead_to_nothing() -> None:
    drawing = Drawing().node(1, "Reroute", links={"": (2, 0)}).node(2, "Reroute", links={"": (1, 0)})
    drawing.node(3, "SaveImage", "x", links={"images": (1, 0)})
    assert inputs_of(drawing, "3") == {"filename_prefix": "x"}


ids = st.integers(-20, 5) | st.sampled_from(["1", "-10", "s", "x"])
odd = st.recursive(
    st.none() | st.booleans() | ids | st.text(max_size=3) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
slots = st.lists(
    st.fixed_dictionaries(
        {},
        optional={"name": st.sampled_from(["image", "images", "text"]) | odd, "link": ids | odd, "type": odd}
        | {"widget": st.just({"name": "text"}) | odd},
    ),
    max_size=3,
)
nodes = st.fixed_dictionaries(
    {"id": ids, "type": st.sampled_from([*TOLD, "Reroute", "SetNode", "GetNode", "PrimitiveNode", "s", "t", "Note"])},
    optional={
        "mode": st.sampled_from([0, 2, 4]) | odd,
        "inputs": slots | odd,
        "outputs": slots | odd,
        "widgets_values": st.lists(odd, max_size=5) | odd,
        "properties": st.just({"proxyWidgets": [["1", "text"], ["-1", "a"]]}) | odd,
    },
)
links = st.lists(
    st.tuples(ids, ids, st.integers(-1, 3), ids, st.integers(0, 3), st.just("*")).map(list)
    | st.fixed_dictionaries(
        {
            "id": ids,
            "origin_id": ids,
            "origin_slot": st.integers(-1, 3),
            "target_id": ids,
            "target_slot": st.integers(0, 2),
        }
    ),
    max_size=6,
)
graphs = st.fixed_dictionaries({"nodes": st.lists(nodes, max_size=5), "links": links | odd})
subgraphs = st.builds(
    lambda graph, kind, inputs: {**graph, "id": kind, "inputs": inputs},
    graphs,
    st.sampled_from(["s", "t"]),
    st.lists(
        st.fixed_dictionaries({"name": st.sampled_from(["image", "a"]), "linkIds": st.lists(ids, max_size=3) | odd})
    ),
)


@given(graphs, st.lists(subgraphs, max_size=2), st.fixed_dictionaries({"ue_links": st.lists(odd, max_size=2)}) | odd)
def test_any_shape_is_converted_or_refused_in_words(
    graph: dict[str, Any], definitions: list[dict[str, Any]], extra: Any
) -> None:
    document = {**graph, "definitions": {"subgraphs": definitions}, "extra": extra}
    try:
        answer = understand(json.dumps(document).encode(), CATALOGUE)
    except WorkflowError:
        return
    for item in answer["fields"]:
        assert answer["content"][item["node"]]["inputs"][item["input"]] == item["default"]
    for node in answer["content"].values():
        assert node["class_type"] not in {
            "Reroute",
            "SetNode",
            "GetNode",
            "PrimitiveNode",
            "s" if definitions else "",
        } or (node["class_type"] == "s" and not any(item["id"] == "s" for item in definitions))


def test_a_catalogue_comes_back_without_prose_and_without_the_names_of_uploaded_files() -> None:
    told = {"A": {"input": {"required": {"text": ["STRING", {"tooltip": "words"}]}}, "description": "words"}, "B": None}
    assert dict(unpack(pack(told))) == {"A": {"input": {"required": {"text": ["STRING", {}]}}}}
    assert CATALOGUE["LoadImage"]["input"]["required"]["image"] == [[], {"image_upload": True}]
    assert pack(TOLD) == pack(dict(reversed(TOLD.items())))


@pytest.mark.parametrize("packed", [b"", b"nonsense", pack(TOLD)[:-9], pack({"A": {"input": {}}})[:20]])
def test_what_is_no_catalogue_is_refused(packed: bytes) -> None:
    with pytest.raises(CatalogueError):
        unpack(packed)


def test_what_is_too_large_for_a_catalogue_is_refused_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(TOLD)
    monkeypatch.setattr("contract.catalogue.MOST_BYTES", 1000)
    for call in (lambda: pack(TOLD), lambda: unpack(packed)):
        with pytest.raises(CatalogueError, match="bytes"):
            call()
