"""ComfyUI without a server: workflows, events, files, and what errors mean."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes.comfyui.events import Ending, Watch
from agent.runtimes.comfyui.failures import (
    failure_of,
    failure_of_execution,
    failure_of_nodes,
    may_lack_input,
    without_paths,
)
from agent.runtimes.comfyui.files import FileReference, has_output, output_files
from agent.runtimes.comfyui.inputs import candidates, file_inputs
from agent.runtimes.comfyui.queue import Queued, read_queue
from agent.runtimes.comfyui.secrets import without_secrets
from agent.runtimes.comfyui.workflow import read_workflow, with_other_prefixes
from tests.support.workflows import Workflow, diffusion, plain

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


class TestWorkflows:
    def test_a_bare_workflow_is_taken_as_it_is(self) -> None:
        assert read_workflow(plain()).nodes == plain()

    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [
            ("extra_data", [], "extra_data: must be an object; found []"),
            ("extra_data", "x", "extra_data: must be an object; found 'x'"),
            ("partial_execution_targets", 7, "partial_execution_targets: must be a list; found 7"),
        ],
    )
    def test_what_the_server_would_fail_on_is_refused_before(self, field: str, value: Any, words: str) -> None:
        with pytest.raises(PermanentError) as caught:
            read_workflow({"prompt": plain(), field: value})
        assert caught.value.message == words

    def test_null_beside_a_workflow_is_left_out(self) -> None:
        assert read_workflow({"prompt": plain(), "extra_data": None}).extra == {}

    def test_a_wrapped_one_keeps_its_extra_data_but_not_its_place_in_the_queue(self) -> None:
        workflow = read_workflow(
            {"prompt": plain(), "extra_data": {"a": 1}, "client_id": "x", "prompt_id": "y", "front": True, "number": -1}
        )
        assert (workflow.nodes, workflow.extra) == (plain(), {"extra_data": {"a": 1}})

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ({}, "no node"),
            ({"prompt": {}}, "no node"),
            ({"nodes": [], "links": [], "version": 0.4}, r"Export \(API\)"),
            ({"1": "text"}, "node '1'"),
            ({"1": {"inputs": {}}}, "node '1'"),
            ({"1": {"class_type": 5}}, "node '1'"),
            ({"1": {"class_type": "A", "inputs": []}}, "inputs of node '1'"),
            ({"prompt": "a dog"}, "node 'prompt'"),
        ],
    )
    def test_what_is_no_workflow_is_refused_by_name(self, content: dict[str, Any], words: str) -> None:
        with pytest.raises(PermanentError, match=words):
            read_workflow(content)

    @given(st.dictionaries(st.text(max_size=6), VALUES, max_size=4))
    def test_any_content_is_read_or_refused(self, content: dict[str, Any]) -> None:
        try:
            workflow = read_workflow(content)
        except PermanentError:
            return
        file_inputs(workflow.nodes, candidates(workflow.nodes), {})

    def test_other_prefixes_make_saving_run_again(self) -> None:
        changed = with_other_prefixes(plain("sub/probe"), "ab12")
        assert changed is not None
        assert changed["3"]["inputs"]["filename_prefix"] == "sub/probe-ab12"
        assert with_other_prefixes(Workflow().node("1", "PreviewImage", images=["2", 0]), "ab12") is None


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": {"prompt_id": "P", **data}}


def watch(*events: dict[str, Any]) -> Watch:
    seen = Watch("P", frozenset({"1", "2", "3", "4"}))
    for item in events:
        seen.feed(item)
    return seen


class TestEvents:
    def test_a_run_is_followed_from_start_to_end(self) -> None:
        seen = watch(
            event("execution_start"),
            event("execution_cached", nodes=["1"]),
            event("executing", node="2"),
            event("progress", value=1, max=2, node="2"),
        )
        assert (seen.progress, seen.ending) == (0.375, None)
        seen.feed(event("executing", node="3"))
        assert seen.progress == 0.5
        seen.feed(event("executed", node="3", output={"images": [{"filename": "a.png"}]}))
        seen.feed(event("execution_success"))
        assert (seen.ending, seen.outputs) == (Ending.SUCCEEDED, {"3": {"images": [{"filename": "a.png"}]}})

    @pytest.mark.parametrize(
        ("cached", "output", "owned"),
        [
            ([], {"images": [{"filename": "a_00001_.png"}]}, True),
            (["1", "2"], {"gifs": [{"filename": "a_00012.mp4"}]}, True),
            (["1", "2", "3"], {"images": [{"filename": "a_00001_.png"}]}, False),
            ([], {"images": [{"filename": "a_00001_.png"}, {"filename": "latest.png"}]}, False),
            ([], {"images": []}, False),
            (["1"], {"text": ["words"]}, True),
        ],
    )
    def test_what_the_cache_or_the_next_prompt_may_hold_is_not_the_prompts_own(
        self, cached: list[str], output: Any, owned: bool
    ) -> None:
        seen = watch(event("execution_cached", nodes=cached), event("executed", node="3", output=output))
        assert seen.owns_outputs is owned

    def test_a_snapshot_of_all_nodes_counts_as_well(self) -> None:
        seen = watch(event("progress_state", nodes={"1": {"value": 1, "max": 1}, "2": {"value": 1, "max": 4}, "x": {}}))
        assert seen.progress == 0.3125

    def test_the_end_may_be_told_by_a_missing_node(self) -> None:
        assert watch(event("executing", node=None)).ending is Ending.SUCCEEDED

    @pytest.mark.parametrize(
        ("kind", "ending"),
        [("execution_error", Ending.FAILED), ("execution_interrupted", Ending.INTERRUPTED)],
    )
    def test_the_first_word_about_the_end_counts(self, kind: str, ending: Ending) -> None:
        assert watch(event(kind, node_id="2"), event("executing", node=None)).ending is ending

    @pytest.mark.parametrize(
        "noise",
        [
            {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "X"}},
            {"type": "executing", "data": {"node": None}},
            {"type": "executing", "data": {"node": None, "prompt_id": "other"}},
            {"type": "execution_error", "data": {"prompt_id": "other"}},
            {"type": "something_new", "data": {"prompt_id": "P"}},
            {"type": "executing"},
            {"data": {"prompt_id": "P"}},
            [],
            "text",
            None,
        ],
    )
    def test_noise_changes_nothing(self, noise: Any) -> None:
        assert watch(noise) == watch()

    @given(
        st.lists(
            st.builds(
                lambda kind, data: {"type": kind, "data": {**data, "prompt_id": "P"}},
                st.sampled_from(["executing", "progress", "progress_state", "executed", "execution_cached", "new"]),
                st.dictionaries(
                    st.sampled_from(["node", "nodes", "value", "max", "output"]), VALUES | st.sampled_from(["1", "2"])
                ),
            ),
            max_size=8,
        )
    )
    def test_no_event_breaks_the_watch_and_progress_stays_a_share(self, events: list[dict[str, Any]]) -> None:
        seen = Watch("P", frozenset({"1", "2"}))
        for item in events:
            seen.feed(item)
            assert 0 <= seen.progress <= 1

    @pytest.mark.parametrize(
        ("status", "ending"),
        [
            ({"status_str": "success", "completed": True, "messages": [["execution_success", {}]]}, Ending.SUCCEEDED),
            ({"status_str": "success", "completed": True, "messages": []}, Ending.SUCCEEDED),
            ({"status_str": "error", "messages": [["execution_interrupted", {}]]}, Ending.INTERRUPTED),
            ({"status_str": "error", "messages": [["execution_error", {"node_id": "1"}]]}, Ending.FAILED),
            ({"status_str": "error", "messages": []}, Ending.FAILED),
            (None, Ending.SUCCEEDED),
        ],
    )
    def test_the_history_tells_the_same(self, status: Any, ending: Ending) -> None:
        seen = watch()
        seen.read_history({"outputs": {"1": {"images": []}}, "status": status})
        assert (seen.ending, seen.outputs) == (ending, {"1": {"images": []}})


class TestFiles:
    def test_every_kind_of_output_counts_in_order(self) -> None:
        outputs = {
            "9": {"images": [{"filename": "a.png", "subfolder": "s", "type": "output"}], "animated": [False]},
            "8": {"gifs": [{"filename": "b.mp4", "subfolder": "", "type": "output", "format": "video/h264-mp4"}]},
            "7": {"audio": [{"filename": "c.flac", "type": "output"}], "text": ["words"]},
            "6": {"images": [{"filename": "preview.png", "type": "temp"}]},
            "5": {"videos": [{"filename": "b.mp4", "subfolder": "", "type": "output"}]},
        }
        assert output_files(outputs) == [
            FileReference("a.png", "s", "output"),
            FileReference("b.mp4", "", "output"),
            FileReference("c.flac", "", "output"),
        ]

    def test_previews_count_when_there_is_nothing_else(self) -> None:
        outputs = {"6": {"images": [{"filename": "p.png", "subfolder": "", "type": "temp"}]}}
        assert output_files(outputs) == [FileReference("p.png", "", "temp")]

    @given(st.dictionaries(st.text(max_size=3), VALUES))
    def test_no_output_breaks_the_search(self, outputs: dict[str, Any]) -> None:
        output_files(outputs)
        has_output(outputs)

    @pytest.mark.parametrize(
        ("outputs", "any_"), [({}, False), ({"3": {"images": []}}, False), ({"3": {"text": ["a"]}}, True)]
    )
    def test_an_empty_list_is_no_output(self, outputs: dict[str, Any], any_: bool) -> None:
        assert has_output(outputs) is any_


def refusal(kind: str, message: str, details: str = "", node_errors: Any = None) -> bytes:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return json.dumps({"error": error, "node_errors": node_errors or {}}).encode()


class TestFailures:
    def test_a_refusal_names_node_class_and_input_and_keeps_the_servers_paths_to_itself(self) -> None:
        node_errors = {
            "4": {
                "errors": [
                    {
                        "type": "value_not_in_list",
                        "message": "Value not in list",
                        "details": "ckpt_name: 'a.safetensors' not in []",
                        "extra_info": {"input_name": "ckpt_name", "traceback": ["File /srv/comfy/execution.py"]},
                    }
                ],
                "dependent_outputs": ["9"],
                "class_type": "CheckpointLoaderSimple",
            }
        }
        body = refusal("prompt_outputs_failed_validation", "Prompt outputs failed validation", node_errors=node_errors)
        failure = failure_of(400, body)
        assert (type(failure), failure.code) == (PermanentError, "invalid_workflow")
        assert failure.message == failure_of_nodes(node_errors).message
        assert "node '4' (CheckpointLoaderSimple): input 'ckpt_name': Value not in list" in failure.message
        assert "/srv" not in failure.message

    def test_what_a_refusal_quotes_can_be_written_into_the_record(self) -> None:
        failure = failure_of(400, refusal("invalid_prompt", "Value not in list", details="'a\ud83c' not in ['euler']"))
        assert failure.message.encode().endswith(b"Value not in list ('a?' not in ['euler'])")

    @pytest.mark.parametrize(
        ("status", "body", "kind", "words"),
        [
            (
                400,
                refusal("invalid_prompt", "Cannot execute because node X does not exist.", "Node ID '#2'"),
                PermanentError,
                "node X does not exist. (Node ID '#2')",
            ),
            (400, refusal("prompt_no_outputs", "Prompt has no outputs"), PermanentError, "Prompt has no outputs"),
            (
                400,
                refusal("prompt_outputs_failed_validation", "Prompt outputs failed validation"),
                PermanentError,
                "circle",
            ),
            (400, b"", PermanentError, "status 400"),
            (413, b"Maximum request body size 104857600 exceeded.", PermanentError, "too large"),
            (500, b"500 Internal Server Error\n\nServer got itself in trouble", TransientError, "500"),
            (503, b"", TransientError, "503"),
            (404, b"404: Not Found", RuntimeUnavailableError, "no ComfyUI"),
            (405, b"405: Method Not Allowed", RuntimeUnavailableError, "no ComfyUI"),
            (403, b"", RuntimeUnavailableError, "API_BASE_URL"),
        ],
    )
    def test_each_answer_says_whose_fault_it_is(
        self, status: int, body: bytes, kind: type[TaskError], words: str
    ) -> None:
        failure = failure_of(status, body)
        assert type(failure) is kind
        assert words in failure.message

    @pytest.mark.parametrize(
        ("exception", "message", "kind", "code"),
        [
            ("PIL.UnidentifiedImageError", "cannot identify '/srv/in/bad.png'\n", PermanentError, "node_failed"),
            ("RuntimeError", "shapes cannot be multiplied", PermanentError, "node_failed"),
            ("OSError", "image file is truncated (3 bytes not processed)", PermanentError, "node_failed"),
            ("torch.OutOfMemoryError", "Allocation on device", TransientError, "out_of_memory"),
            ("torch.cuda.OutOfMemoryError", "CUDA out of memory.", TransientError, "out_of_memory"),
            ("RuntimeError", "CUDA error: device-side assert triggered", TransientError, "gpu_error"),
            ("OSError", "[Errno 28] No space left on device", TransientError, "runtime_error"),
        ],
    )
    def test_an_exception_of_a_node_says_whose_fault_it_is(
        self, exception: str, message: str, kind: type[TaskError], code: str
    ) -> None:
        failure = failure_of_execution(
            {"node_id": "10", "node_type": "LoadImage", "exception_type": exception, "exception_message": message}
        )
        assert (type(failure), failure.code) == (kind, code)
        assert "node '10' (LoadImage)" in failure.message
        assert "/srv" not in failure.message

    @pytest.mark.parametrize(
        ("exception", "message", "lacks"),
        [
            ("FileNotFoundError", "[Errno 2] No such file or directory: '/srv/input/a.png'", True),
            ("Exception", "input file a.png does not exist", True),
            ("ValueError", "math domain error", False),
            ("torch.OutOfMemoryError", "Allocation on device", False),
        ],
    )
    def test_a_node_that_misses_a_file_says_so(self, exception: str, message: str, lacks: bool) -> None:
        failure = failure_of_execution(
            {"node_id": "1", "node_type": "Load", "exception_type": exception, "exception_message": message}
        )
        assert may_lack_input(failure) is lacks
        assert may_lack_input(failure_of_nodes({"1": {}}))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("cannot identify image file '/home/me/my in/bad.png'\n", "cannot identify image file 'bad.png'"),
            ("not a model: /models/checkpoints/a.ckpt!", "not a model: a.ckpt!"),
            (r"no C:\ComfyUI\input\a.png here", "no a.png here"),
            ("see https://host/a/b for more", "see https://host/a/b for more"),
            ("1/2 of and/or", "1/2 of and/or"),
        ],
    )
    def test_folders_of_the_server_are_left_out(self, text: str, expected: str) -> None:
        assert without_paths(text) == expected

    @given(st.text(max_size=2000))
    def test_any_text_becomes_one_short_line(self, text: str) -> None:
        line = without_paths(text)
        assert "\n" not in line
        assert len(line) <= 501

    @given(
        st.integers(300, 599),
        st.dictionaries(st.sampled_from(["error", "node_errors"]), VALUES).map(lambda body: json.dumps(body).encode()),
    )
    def test_no_body_breaks_the_reading(self, status: int, body: bytes) -> None:
        assert failure_of(status, body).message

    @given(st.dictionaries(st.sampled_from(["node_id", "exception_type", "exception_message"]), VALUES))
    def test_no_exception_breaks_the_reading(self, data: dict[str, Any]) -> None:
        assert failure_of_execution(data).message


def test_the_default_workflow_has_no_links() -> None:
    assert candidates(diffusion()) == []


class TestQueue:
    """What runs and what waits, whatever else stands in the answer."""

    def test_prompts_are_found_by_id_with_their_place_and_their_client(self) -> None:
        running = [1, "a", {}, {"client_id": "darkroom-agent-x"}, ["3"]]
        document = {"queue_running": [running], "queue_pending": [[2, "b", {}, {}, []], [3, "a", {}, {}, []]]}
        assert read_queue(document) == {"a": Queued(True, "darkroom-agent-x"), "b": Queued(False, "")}

    @given(
        st.dictionaries(st.sampled_from(["queue_running", "queue_pending"]), st.none() | st.lists(VALUES, max_size=3))
    )
    def test_no_answer_breaks_it(self, document: dict[str, Any]) -> None:
        assert isinstance(read_queue(document), dict)


class TestSecrets:
    EXTRA: Final = {
        "api_key_comfy_org": "comfyui-\u00e4-1234",
        "client_id": "me",
        "extra_pnginfo": {"workflow": {"nodes": []}},
        "mine": [{"token": "ab"}],
    }

    @pytest.mark.parametrize("ascii_only", [True, False])
    def test_secrets_of_a_request_are_hidden_in_what_is_stored(self, ascii_only: bool) -> None:
        history = {
            "p": {"prompt": [0, "p", {}, self.EXTRA, []], "outputs": {"1": {"text": ["comfyui-\u00e4-1234", "ab"]}}}
        }
        raw = without_secrets(json.dumps(history, ensure_ascii=ascii_only).encode(), self.EXTRA)
        (entry,) = json.loads(raw).values()
        assert entry["prompt"][3] == self.EXTRA | {"api_key_comfy_org": "***", "mine": [{"token": "***"}]}
        assert entry["outputs"]["1"]["text"] == ["***", "ab"], "a short word is hidden under its own name alone"

    def test_without_secrets_the_answer_stays_as_it_came(self) -> None:
        raw = b'{"a" : NaN}'
        assert without_secrets(raw, {"client_id": "x"}) is raw
        assert without_secrets(raw, None) is raw


def test_events_without_end_do_not_fill_the_memory() -> None:
    seen = Watch("P", frozenset({"1"}))
    for number in range(300):
        names = [f"{number}.{index}" for index in range(1000)]
        seen.feed({"type": "execution_cached", "data": {"prompt_id": "P", "nodes": names}}, 7000)
    assert len(seen.cached) <= 101_000
    assert seen.kept_bytes >= 700_000
