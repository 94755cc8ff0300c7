"""A request may say of single links whether they are fetched, and is refused when it speaks of nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.inputs import InputRules, path_of, problems

NODES = {"10": {"class_type": "A", "inputs": {"url": "https://h/a.png", "size": 5, "note": "words"}}}
BODY = {"init_images": ["https://h/a.png"], "alwayson_scripts": {"x~/y": {"args": ["s3://b/k", "https://h/words"]}}}

SCRIPTS = {"alwayson_scripts": {"ControlNet": {"args": ["http://h"]}, "swap": {"args": [{"source_image": "http://h"}]}}}


def found(content: Any, runtime_type: str, **rules: list[str]) -> list[tuple[str, str]]:
    return list(problems(InputRules.model_validate(rules), content, runtime_type))


def test_a_value_is_named_by_a_json_pointer() -> None:
    assert path_of("/alwayson_scripts/x~0~1y/args/0") == ("alwayson_scripts", "x~/y", "args", "0")
    assert found(NODES, "comfyui", fetch=["/10/inputs/url"]) == []
    assert found({"prompt": NODES}, "comfyui", keep=["/prompt/10/inputs/url"]) == []
    assert (
        found(BODY, "sdwebui", fetch=["/alwayson_scripts/x~0~1y/args/0"], keep=["/alwayson_scripts/x~0~1y/args/1"])
        == []
    )


@pytest.mark.parametrize(
    ("content", "runtime_type", "rules", "place", "words"),
    [
        (NODES, "comfyui", {"fetch": ["/11/inputs/url"]}, "fetch.0", "names nothing in the content"),
        (NODES, "comfyui", {"keep": ["/10/inputs/url", "/10/inputs/no"]}, "keep.1", "names nothing in the content"),
        (NODES, "comfyui", {"fetch": ["/10/inputs/size"]}, "fetch.0", "names no text"),
        (NODES, "comfyui", {"fetch": ["/10/inputs/note"]}, "fetch.0", "names no http, https or s3 link"),
        (NODES, "comfyui", {"keep": ["/10/class_type"]}, "keep.0", "names no input of a node"),
        (NODES, "comfyui", {"keep": ["/10/inputs/url"], "fetch": ["/10/inputs/url"]}, "keep", "is in fetch too"),
        (BODY, "sdwebui", {"keep": ["/init_images/0"]}, "keep.0", "SD Web UI would open the address itself"),
        (BODY, "sdwebui", {"keep": ["/init_images/00"]}, "keep.0", "names nothing in the content"),
        (SCRIPTS, "sdwebui", {"keep": ["/alwayson_scripts/ControlNet/args/0"]}, "keep.0", "would open the address"),
        (SCRIPTS, "sdwebui", {"keep": ["/alwayson_scripts/swap/args/0/source_image"]}, "keep.0", "would open"),
        (BODY, "http", {"fetch": ["/init_images/00000001/1"]}, "fetch.0", "names nothing in the content"),
        ({"body": {"image_url": "https://h"}}, "openai", {"keep": ["/body/image_url"]}, "keep.0", "open the address"),
        ({"nodes": {"a": {"url": "https://h"}}}, "invokeai", {"keep": ["/nodes/a/url"]}, "keep.0", "for InvokeAI"),
    ],
)
def test_what_speaks_of_nothing_is_refused_by_its_place(
    content: Any, runtime_type: str, rules: dict[str, list[str]], place: str, words: str
) -> None:
    ((where, sentence),) = found(content, runtime_type, **rules)
    assert where == place
    assert words in sentence


@pytest.mark.parametrize("rules", [{"fetch": ["10/inputs"]}, {"keep": ["/~2"]}, {"fetch": ["/a"] * 51}, {"drop": []}])
def test_what_is_no_rule_is_refused(rules: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError):
        InputRules.model_validate(rules)


@given(
    st.recursive(st.none() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
    st.lists(st.lists(st.text(max_size=4) | st.sampled_from(["0", "1"]), min_size=1, max_size=4), max_size=3),
    st.sampled_from(["comfyui", "sdwebui", "invokeai", "http", "openai"]),
)
def test_any_rules_are_judged_against_any_content(content: Any, paths: list[list[str]], runtime_type: str) -> None:
    pointers = ["".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path) for path in paths]
    assert [path_of(pointer) for pointer in pointers] == [tuple(path) for path in paths]
    found(content, runtime_type, keep=pointers)
