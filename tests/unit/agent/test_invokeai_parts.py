"""InvokeAI without a server: graphs, sessions, and what errors mean."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes.invokeai.failures import failure_of, failure_of_item
from agent.runtimes.invokeai.graph import graph_links, image_names, read_graph, with_names, with_uploads
from agent.runtimes.invokeai.session import failed_node, last_images, made_images
from tests.support.graphs import Graph, of_image, plain
from tests.unit.agent.runtime_support import png

LINK = "https://host.example/a.png"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["graph", "batch", "nodes", "edges", "type", "image_name", "session", "results", "errors", "data", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


class TestGraphs:
    def test_a_graph_is_taken_bare_and_wrapped(self) -> None:
        for content in (plain(), {"graph": plain()}, {"batch": {"graph": plain()}}):
            assert read_graph(content) == {"graph": plain()}

    def test_a_workflow_stays_and_a_place_in_the_queue_does_not(self) -> None:
        batch = {"graph": plain(), "workflow": {"name": "w"}, "origin": "o", "runs": 5, "batch_id": "b"}
        assert read_graph({"prepend": True, "batch": batch}) == {"graph": plain(), "workflow": {"name": "w"}}

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ({}, "no nodes"),
            ({"graph": {"nodes": {}}}, "no nodes"),
            ({"nodes": [], "edges": []}, "the editor's own format"),
            ({"batch": 3}, "batch must be an object"),
            ({"nodes": {"a": {"id": "a"}}}, "node 'a' is no object with a type"),
            ({"batch": {"graph": plain(), "data": [[{"node_path": "a"}]]}}, "batch.data is not taken"),
        ],
    )
    def test_what_is_no_graph_is_refused_with_the_way_out(self, content: dict[str, Any], words: str) -> None:
        with pytest.raises(PermanentError) as caught:
            read_graph(content)
        assert (caught.value.code, words in caught.value.message) == ("invalid_workflow", True)

    def test_links_count_in_the_place_of_an_images_name_only(self) -> None:
        graph = of_image(LINK).node("text", "string", value=LINK)
        graph.node("many", "image_collection", images=[{"image_name": LINK}, {"image_name": "kept.png"}])
        assert graph_links(graph) == [LINK]
        assert image_names(graph) == [LINK, "kept.png"]
        renamed = with_names(graph, {LINK: "new.png"})
        assert image_names(renamed) == ["new.png", "kept.png"]
        assert renamed["nodes"]["text"] == graph["nodes"]["text"]

    def test_the_same_bytes_are_uploaded_once(self) -> None:
        graph = of_image(LINK).node("b", "img_blur", image={"image_name": f"{LINK}?2"})
        renamed, uploads = with_uploads(graph, {LINK: png(), f"{LINK}?2": png()})
        assert [upload.data for upload in uploads] == [png()]
        assert image_names(renamed) == [uploads[0].name]
        assert uploads[0].name.endswith(".png")

    def test_what_is_nested_without_end_is_refused(self) -> None:
        deep: Any = {}
        for _ in range(200):
            deep = {"a": deep}
        with pytest.raises(PermanentError, match="nested"):
            graph_links(deep)

    @settings(max_examples=30)
    @given(VALUES)
    def test_whatever_comes_is_a_graph_or_refused(self, value: Any) -> None:
        with suppress(PermanentError):
            batch = read_graph(value if isinstance(value, dict) else {"graph": value})
            assert batch["graph"]["nodes"]
            assert with_names(batch, {}) == batch


def item_of(**session: Any) -> dict[str, Any]:
    return {"session": session}


class TestSessions:
    def test_images_come_once_in_the_order_of_their_making(self) -> None:
        results = {
            "p1": {"type": "image_output", "image": {"image_name": "a.png"}},
            "p2": {"type": "collect_output", "collection": [{"image_name": "b.png"}, {"image_name": "a.png"}]},
        }
        assert made_images(item_of(results=results)) == ["a.png", "b.png"]

    def test_the_last_nodes_are_those_from_which_no_edge_leads_on(self) -> None:
        graph = Graph().node("a", "blank_image").node("b", "img_blur").edge("a", "image", "b")
        results = {name: {"image": {"image_name": f"{name}.png"}} for name in ("p1", "p2")}
        item = item_of(graph=graph, results=results, prepared_source_mapping={"p1": "a", "p2": "b"})
        assert last_images(item) == ["p2.png"]

    def test_a_failure_names_the_node_of_the_graph(self) -> None:
        item = item_of(
            errors={"p": "ValueError: no"},
            prepared_source_mapping={"p": "a"},
            execution_graph={"nodes": {"p": {"type": "blank_image"}}},
        )
        assert failed_node(item) == ("a", "blank_image")

    @settings(max_examples=30)
    @given(VALUES)
    def test_whatever_the_server_says_is_read(self, value: Any) -> None:
        item = value if isinstance(value, dict) else {"session": value}
        assert isinstance(made_images(item), list)
        assert isinstance(last_images(item), list)
        assert len(failed_node(item)) == 2


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "kind", "code"),
        [
            (401, RuntimeUnavailableError, "runtime_unauthorized"),
            (404, RuntimeUnavailableError, "runtime_without_api"),
            (405, RuntimeUnavailableError, "runtime_without_api"),
            (409, TransientError, "runtime_error"),
            (413, PermanentError, "input_too_large"),
            (422, PermanentError, "invalid_workflow"),
            (429, TransientError, "runtime_error"),
            (500, TransientError, "runtime_error"),
        ],
    )
    def test_statuses_are_told_apart(self, status: int, kind: type[TaskError], code: str) -> None:
        error = failure_of(status, b'{"detail": "Not Found"}')
        assert (type(error), error.code) == (kind, code)

    def test_the_faults_of_a_graph_are_named_by_their_places_and_not_with_the_graph(self) -> None:
        place = ["body", "batch", "graph", "nodes", "a"]
        faults = [
            {"type": "union_tag_invalid", "loc": place, "msg": "very long", "input": "secret", "ctx": {"tag": "x"}},
            {"type": "missing", "loc": [*place, "width"], "msg": "Field required", "input": "secret"},
            *[{"loc": place[:3], "msg": "Value error, no"}] * 5,
        ]
        message = failure_of(422, json.dumps({"detail": faults}).encode()).message
        assert "a: there is no node of type 'x'; a.width: Field required; no" in message
        assert message.endswith("and 2 more faults")
        assert "secret" not in message

    @pytest.mark.parametrize(
        ("kind", "said", "error"),
        [
            ("OutOfMemoryError", "CUDA out of memory.", TransientError),
            ("RuntimeError", "CUDA error: an illegal memory access", TransientError),
            ("OSError", "No space left on device", TransientError),
            ("ValueError", "cannot read /srv/invokeai/models/a.safetensors", PermanentError),
        ],
    )
    def test_a_nodes_failure_says_whose_fault_it_is_and_no_path(
        self, kind: str, said: str, error: type[TaskError]
    ) -> None:
        item = {"error_type": kind, "error_message": said, "error_traceback": '  File "/srv/secret.py"'}
        failure = failure_of_item(item)
        assert type(failure) is error
        assert "InvokeAI" in failure.message or "GPU" in failure.message
        assert "/srv" not in failure.message

    @settings(max_examples=30)
    @example(404, b'{"detail": []}')
    @example(422, b'{"detail": [{"loc": [[]]}]}')
    @given(
        st.integers(400, 599), st.binary(max_size=40) | VALUES.map(lambda value: json.dumps({"detail": value}).encode())
    )
    def test_every_answer_has_a_meaning(self, status: int, body: bytes) -> None:
        assert failure_of(status, body).message

    @settings(max_examples=30)
    @given(VALUES)
    def test_every_failed_item_has_a_meaning(self, value: Any) -> None:
        assert failure_of_item(value if isinstance(value, dict) else {"session": value}).message
