"""SD Web UI without a server: what is sent, what its answers mean, which checkpoint is meant."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.documents import encode_json
from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes.http import Reply
from agent.runtimes.sdwebui.answer import read_answer
from agent.runtimes.sdwebui.checkpoints import describe_choice, find_checkpoint, read_checkpoints
from agent.runtimes.sdwebui.failures import failure_of
from agent.runtimes.sdwebui.links import localise
from agent.runtimes.sdwebui.request import request_body
from contract.inputs import InputRules
from contract.task import TaskType
from tests.unit.agent.runtime_support import Links, png

LINK = "https://huggingface.co/cat.png"

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["loc", "msg", "type"]) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.dictionaries(st.sampled_from(["error", "detail", "errors", "body"]), VALUES).map(
    lambda body: json.dumps(body).encode()
)


def handler_body(error: str = "HTTPException", detail: str = "", errors: str = "") -> bytes:
    return json.dumps({"error": error, "detail": detail, "body": "", "errors": errors}).encode()


class TestRequest:
    def test_routing_fields_of_v1alpha1_are_stripped_and_scripts_stay(self) -> None:
        content = {
            "alwayson_scripts": {
                "task": "text-to-image",
                "sd_model_checkpoint": "a.safetensors",
                "id_task": "1",
                "uid": "2",
                "save_dir": "outputs",
                "need_sync": False,
                "controlnet": {"args": []},
            },
            "prompt": "A dog",
        }
        body, checkpoint = request_body(TaskType.TEXT_TO_IMAGE, content)
        assert body == {"alwayson_scripts": {"controlnet": {"args": []}}, "prompt": "A dog", "send_images": True}
        assert checkpoint == "a.safetensors"

    def test_image_link_becomes_the_initial_image(self) -> None:
        body, _ = request_body(TaskType.IMAGE_TO_IMAGE, {"alwayson_scripts": {"image_link": LINK}})
        assert body["init_images"] == [LINK]

    def test_the_checkpoint_leaves_the_overrides_where_it_would_be_ignored_silently(self) -> None:
        content = {"override_settings": {"sd_model_checkpoint": "b", "CLIP_stop_at_last_layers": 2}}
        body, checkpoint = request_body(TaskType.TEXT_TO_IMAGE, content)
        assert body["override_settings"] == {"CLIP_stop_at_last_layers": 2}
        assert checkpoint == "b"
        assert "sd_model_checkpoint" in content["override_settings"], "the message itself stays as it was"

    def test_upscaling_is_sent_as_it_is(self) -> None:
        content = {"upscaling_resize": 4, "image": LINK}
        assert request_body(TaskType.EXTRA_SINGLE_IMAGE, content) == (content, None)

    async def test_links_become_base64_everywhere_but_in_prompts(self) -> None:
        inputs = Links(cat=png(1), dog=png(2))
        body = await localise(
            {
                "prompt": "https://example.com/cat.png",
                "negative_prompt": "https://example.com/cat.png",
                "init_images": [LINK, "iVBORw0KGgo="],
                "mask": "s3://b/dog.png",
                "imageList": [{"data": LINK, "name": "cat"}],
                "alwayson_scripts": {"adetailer": {"args": [{"ad_prompt": "http://words/cat"}, LINK]}},
            },
            inputs,
            tenant="",
        )
        cat, dog = base64.b64encode(png(1)).decode(), base64.b64encode(png(2)).decode()
        assert body == {
            "prompt": "https://example.com/cat.png",
            "negative_prompt": "https://example.com/cat.png",
            "init_images": [cat, "iVBORw0KGgo="],
            "mask": dog,
            "imageList": [{"data": cat, "name": "cat"}],
            "alwayson_scripts": {"adetailer": {"args": [{"ad_prompt": "http://words/cat"}, cat]}},
        }
        assert inputs.asked == [LINK, "s3://b/dog.png"]

    async def test_a_request_may_say_otherwise_of_one_value(self) -> None:
        body = {"alwayson_scripts": {"mine": {"args": [LINK, LINK, {"image_url": LINK, "name": LINK}]}}}
        rules = InputRules(keep=("/alwayson_scripts/mine/args/1",), fetch=("/alwayson_scripts/mine/args/2/image_url",))
        cat = base64.b64encode(png(1)).decode()
        assert await localise(body, Links(cat=png(1)), tenant="", rules=rules) == {
            "alwayson_scripts": {"mine": {"args": [cat, LINK, {"image_url": cat, "name": LINK}]}}
        }

    async def test_words_names_and_settings_of_scripts_are_left_alone(self) -> None:
        body = {
            "imageList": [{"data": "iVBORw0KGgo=", "name": "https://host.example/a.png"}],
            "override_settings": {"some_endpoint": "http://127.0.0.1:9000"},
            "alwayson_scripts": {"wildcards": {"args": [{"wildcard_text": "https://x y", "callback_url": LINK}]}},
        }
        assert await localise(body, Links(), tenant="") is body

    @pytest.mark.parametrize("link", ["http://127.0.0.1/a dog.png", " http://127.0.0.1/a\nb", "http://", "FILE:/etc/x"])
    async def test_whatever_the_server_would_take_for_a_link_is_one(self, link: str) -> None:
        inputs = Links()
        await localise({"init_images": [link], "prompt": link}, inputs, tenant="")
        assert inputs.asked == [link]


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "body", "kind", "code", "words"),
        [
            (404, handler_body(detail="Sampler not found"), PermanentError, "rejected_by_runtime", "Sampler not found"),
            (400, handler_body(detail="Sampler not found"), PermanentError, "rejected_by_runtime", "Sampler not found"),
            (500, handler_body(detail="Invalid encoded image"), PermanentError, "invalid_image", "encoded image"),
            (404, handler_body(detail="Init image not found"), PermanentError, "invalid_image", "Init image"),
            (
                500,
                handler_body("OutOfMemoryError", errors="CUDA out of memory. Tried to allocate 20 GiB"),
                TransientError,
                "out_of_memory",
                "smaller",
            ),
            (
                500,
                handler_body("RuntimeError", errors="model 'nope' not found"),
                PermanentError,
                "unknown_checkpoint",
                "'nope'",
            ),
            (422, handler_body(detail="Script 'x' not found"), PermanentError, "rejected_by_runtime", "Script 'x'"),
            (
                500,
                handler_body("Exception", errors="could not find upscaler named 4x-nope"),
                PermanentError,
                "rejected_by_runtime",
                "4x-nope",
            ),
            (
                422,
                b'{"detail":[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error"}]}',
                PermanentError,
                "rejected_by_runtime",
                "steps: value is not a valid integer",
            ),
            (
                401,
                handler_body(detail="Not authenticated"),
                RuntimeUnavailableError,
                "runtime_unauthorized",
                "API_BASE",
            ),
            (404, b'{"detail":"Not Found"}', RuntimeUnavailableError, "runtime_without_api", "--api"),
            (405, b'{"detail":"Method Not Allowed"}', RuntimeUnavailableError, "runtime_without_api", "--api"),
            (500, handler_body("RuntimeError", errors="boom"), TransientError, "runtime_error", "boom"),
            (500, b"Internal Server Error", TransientError, "runtime_error", "500"),
            (502, b"<html>Bad Gateway</html>", TransientError, "runtime_error", "502"),
            (429, b"", TransientError, "rate_limited", "429"),
        ],
    )
    def test_each_answer_says_whose_fault_it_is(
        self, status: int, body: bytes, kind: type[TaskError], code: str, words: str
    ) -> None:
        failure = failure_of(status, body)
        assert (type(failure), failure.code) == (kind, code)
        assert words in failure.message

    @given(st.integers(201, 599), st.binary(max_size=200) | BODIES)
    def test_no_body_breaks_the_reading(self, status: int, body: bytes) -> None:
        assert len(failure_of(status, body).message) < 800

    def test_a_long_reason_is_cut(self) -> None:
        assert len(failure_of(500, handler_body(errors="x" * 10_000)).message) < 700


class TestCheckpoints:
    KNOWN = read_checkpoints(
        [
            {
                "title": "v1-5-pruned-emaonly.safetensors [6ce0161689]",
                "model_name": "v1-5-pruned-emaonly",
                "hash": "6ce0161689",
                "sha256": "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
                "filename": "/models/Stable-diffusion/v1-5-pruned-emaonly.safetensors",
                "config": None,
            },
            {
                "title": "xl/base.safetensors",
                "model_name": "xl_base",
                "hash": None,
                "sha256": None,
                "filename": "C:\\models\\xl\\base.safetensors",
            },
            "noise",
        ]
    )

    @pytest.mark.parametrize(
        "name",
        [
            "v1-5-pruned-emaonly.safetensors [6ce0161689]",
            "v1-5-pruned-emaonly.safetensors",
            "v1-5-pruned-emaonly",
            "6ce0161689",
        ],
    )
    def test_a_checkpoint_has_several_names(self, name: str) -> None:
        assert find_checkpoint(name, self.KNOWN) is self.KNOWN[0]

    @pytest.mark.parametrize("name", ["xl/base.safetensors", "base.safetensors", "xl_base", "base"])
    def test_one_in_a_folder_is_found_by_its_file(self, name: str) -> None:
        assert find_checkpoint(name, self.KNOWN) is self.KNOWN[1]

    @pytest.mark.parametrize("name", ["v1-5", "", "safetensors", "V1-5-pruned-emaonly"])
    def test_a_part_of_a_name_is_none(self, name: str) -> None:
        assert find_checkpoint(name, self.KNOWN) is None

    def test_the_choice_is_described(self) -> None:
        assert describe_choice("v1-5-pruned-emaonl.safetensors", self.KNOWN) == (
            "did you mean 'v1-5-pruned-emaonly.safetensors'? "
            "available: v1-5-pruned-emaonly.safetensors, xl/base.safetensors"
        )


class TestAnswers:
    async def test_images_keep_their_order_and_the_answer_its_bytes(self) -> None:
        encoded = [base64.b64encode(png(size)).decode() for size in (1, 2)]
        raw = json.dumps({"images": [encoded[0], f"data:image/png;base64,{encoded[1]}"], "info": "{}"}).encode()
        answer, model = await read_answer(Reply(200, raw))
        assert [output.data for output in answer.outputs] == [png(1), png(2)]
        assert answer.raw == raw
        assert model is None

    async def test_the_model_is_read_from_the_info_text(self) -> None:
        raw = json.dumps({"images": ["AAAA"], "info": json.dumps({"sd_model_name": "v1-5"})}).encode()
        assert (await read_answer(Reply(200, raw)))[1] == "v1-5"

    async def test_the_model_is_read_beside_numbers_that_only_python_writes(self) -> None:
        info = json.dumps({"sd_model_name": "v1-5", "extra_generation_params": {"ratio": float("nan")}})
        raw = json.dumps({"images": ["AAAA"], "info": info}).encode()
        assert (await read_answer(Reply(200, raw)))[1] == "v1-5"

    async def test_large_images_are_read_as_well(self) -> None:
        large = png(pad=500_000)
        raw = json.dumps({"html_info": "", "image": base64.b64encode(large).decode()}).encode()
        answer, _ = await read_answer(Reply(200, raw))
        assert answer.outputs[0].data == large

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            b"[]",
            b"{}",
            b'{"images": null}',
            b'{"images": []}',
            b'{"images": [5]}',
            b'{"images": ["%%%"]}',
            b'{"images": ["data:image/png;base64,"]}',
        ],
    )
    async def test_garbage_with_status_200_is_worth_another_try(self, body: bytes) -> None:
        with pytest.raises(TransientError):
            await read_answer(Reply(200, body))


class TestEncoding:
    async def test_huge_numbers_and_half_characters_reach_the_server_which_may_judge_them(self) -> None:
        document = {"seed": 2**70, "prompt": "\ud800"}
        assert json.loads(await encode_json(document)) == document

    async def test_a_content_without_bottom_is_refused(self) -> None:
        content: list[object] = []
        for _ in range(200_000):
            content = [content]
        with pytest.raises(PermanentError, match="nested"):
            await encode_json(content)
