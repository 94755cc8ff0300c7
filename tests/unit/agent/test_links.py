"""Links are found wherever they stand alone, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import PermanentError
from agent.inputs.links import find_links, is_link, replace_links

never = lambda _: False  # noqa: E731 - a predicate
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["http://a/b", "s3://b/k"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "text",
    [
        "http://a/b.png",
        "HTTPS://A/b",
        "s3://bucket/key",
        "s3://bucket/a photo.png",
        " https://a/b\n",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "ftp://a/b",
        "gopher://a/_x",
        "https://a/b and more",
        "http://a/b\nc",
        "https://",
    ],
)
def test_a_text_that_is_an_address_is_a_link(text: str) -> None:
    assert is_link(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a dog",
        "see https://a/b",
        "ftp://a/b and more",
        "data:image/png;base64,AAAA",
        "iVBORw0KGgo=",
        "//a/b",
        "C:/pictures/a.png",
        "R-ESRGAN 4x+",
        "<lora:detail:0.5>",
    ],
)
def test_other_texts_are_none(text: str) -> None:
    assert not is_link(text)


def test_links_are_found_in_lists_and_objects_each_once() -> None:
    content = {
        "init_images": ["https://a/1", "https://a/2"],
        "alwayson_scripts": {"controlnet": {"args": [{"image": "s3://b/k", "prompt": "http://words"}]}},
        "mask": "https://a/1",
    }
    assert find_links(content, is_text=lambda name: name == "prompt") == ["https://a/1", "https://a/2", "s3://b/k"]


def test_replacing_leaves_the_rest_and_the_original_alone() -> None:
    content: dict[str, Any] = {"a": ["http://x/1", 5, None], "prompt": "http://x/1", "b": {"c": "text"}}
    changed = replace_links(content, {"http://x/1": "R"}, is_text=lambda name: name == "prompt")
    assert changed == {"a": ["R", 5, None], "prompt": "http://x/1", "b": {"c": "text"}}
    assert content["a"][0] == "http://x/1"


@given(json_values)
def test_after_replacing_no_link_is_left(content: Any) -> None:
    links = find_links(content, is_text=never)
    changed = replace_links(content, dict.fromkeys(links, "x"), is_text=never)
    assert find_links(changed, is_text=never) == []
    if not links:
        assert changed == content


def test_a_bottomless_content_is_refused_not_crashed_on() -> None:
    content: Any = "http://a/b"
    for _ in range(5000):
        content = [content]
    with pytest.raises(PermanentError, match="nested"):
        find_links(content, is_text=never)
