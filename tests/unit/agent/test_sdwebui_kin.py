"""The SD Web UI adapter in front of servers that only speak its API: SD.Next, and sd-server of stable-diffusion.cpp."""

from __future__ import annotations

import asyncio
import base64
import json
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from agent.errors import PermanentError, TaskError, TransientError
from agent.runtimes import Answer, Runtime
from agent.runtimes.sdwebui import adapter as module
from agent.runtimes.sdwebui.failures import failure_of
from contract.task import RuntimeType, TaskType
from tests.conformance.suites import SUITES
from tests.unit.agent.runtime_support import adapter_of, cancel, png, web_server, whole
from tests.unit.fake_runtime.support import OTHER_CHECKPOINT, serving

SMALL = {"prompt": "a dog", "width": 64, "height": 64, "steps": 4}
FIRST = "v1-5-pruned-emaonly.safetensors"
IMAGE = base64.b64encode(png()).decode()

adapter = partial(adapter_of, RuntimeType.SDWEBUI)


async def run(runtime: Runtime, content: dict[str, Any], kind: TaskType = TaskType.TEXT_TO_IMAGE) -> Answer:
    return await whole(await runtime.run(await runtime.prepare(kind, content), run_id="r", progress=lambda _: None))


def is_left(runtime: Runtime) -> bool:
    return runtime.left_running


def naming(checkpoint: str) -> dict[str, Any]:
    return {**SMALL, "override_settings": {"sd_model_checkpoint": checkpoint}}


class TestSdNext:
    async def test_it_switches_refreshes_and_is_interrupted_although_it_answers_with_204(self) -> None:
        async with serving(flavour="sdnext", seconds_per_task=1) as webui, adapter(webui.url, dynamic=True) as runtime:
            await runtime.wait_until_ready()
            assert (await run(runtime, naming(OTHER_CHECKPOINT))).outputs
            with pytest.raises(PermanentError, match="does not have the checkpoint 'nope'"):
                await run(runtime, naming("nope"))
            running = asyncio.create_task(run(runtime, {**SMALL, "steps": 50}))
            await webui.running()
            await cancel(running)
            assert not is_left(runtime)
            assert webui.gpu.records[-1].outcome == "interrupted"

    async def test_it_is_restarted_by_its_own_route(self) -> None:
        async with serving(flavour="sdnext") as webui, adapter(webui.url) as runtime:
            assert await runtime.restart()

    @pytest.mark.parametrize(
        ("content", "kind", "code"),
        [
            ({**SMALL, "width": -64}, PermanentError, "rejected_by_runtime"),
            ({**SMALL, "prompt": "[[fault:out-of-memory]]"}, TransientError, "out_of_memory"),
            ({**SMALL, "prompt": "[[fault:zero-images]]"}, TransientError, "no_images"),
            ({**SMALL, "sampler_name": "No Such Sampler"}, PermanentError, "rejected_by_runtime"),
        ],
    )
    async def test_a_failed_run_fails_although_it_is_answered_with_200(
        self, content: dict[str, Any], kind: type[TaskError], code: str
    ) -> None:
        async with serving(flavour="sdnext") as webui, adapter(webui.url) as runtime:
            with pytest.raises(kind) as caught:
                await run(runtime, content)
            assert caught.value.code == code

    @pytest.mark.parametrize(
        ("info", "said"),
        [
            ("Model not loaded", "Model not loaded"),
            (json.dumps({"error": "VAE is missing"}), "VAE is missing"),
            (json.dumps({"prompt": "a dog"}), "its log says why"),
            ("", "its log says why"),
            (None, "its log says why"),
        ],
    )
    async def test_the_reason_of_an_answer_without_images_is_told(self, info: object, said: str) -> None:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return web.json_response({"images": [], "parameters": {}, "info": info})

        async with web_server(answer) as url, adapter(url) as runtime:
            with pytest.raises(TransientError, match=said) as caught:
                await run(runtime, SMALL)
            assert caught.value.code == "no_images"

    async def test_a_picture_that_its_rate_limit_takes_names_the_option_that_ends_that(self) -> None:
        async with serving(flavour="sdnext", faults=["error:status=429"]) as webui, adapter(webui.url) as runtime:
            with pytest.raises(TransientError, match="server_rate_limit to 0") as caught:
                await run(runtime, SMALL)
            assert caught.value.code == "rate_limited"

    async def test_an_upscale_that_it_cannot_answer_is_not_tried_again(self) -> None:
        async with serving(flavour="sdnext") as webui, adapter(webui.url) as runtime:
            with pytest.raises(PermanentError, match="html_info"):
                await run(runtime, {"image": IMAGE, "upscaler_1": "Lanczos"}, TaskType.EXTRA_SINGLE_IMAGE)


class TestSdServer:
    async def test_it_makes_pictures_with_the_checkpoint_that_is_named_with_or_without_its_ending(self) -> None:
        async with serving(flavour="sd-server") as webui, adapter(webui.url) as runtime:
            await runtime.wait_until_ready()
            for content in (SMALL, naming(FIRST), naming(FIRST.removesuffix(".safetensors"))):
                assert (await run(runtime, content)).outputs

    async def test_it_has_one_checkpoint_and_another_is_refused(self) -> None:
        async with serving(flavour="sd-server") as webui, adapter(webui.url, dynamic=True) as runtime:
            with pytest.raises(PermanentError, match=f"does not have the checkpoint {OTHER_CHECKPOINT!r}"):
                await run(runtime, naming(OTHER_CHECKPOINT))

    async def test_a_run_that_it_cannot_stop_is_waited_for_and_no_other_one_is_made_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "INTERRUPT_GRACE", 0.1)
        async with serving(flavour="sd-server", seconds_per_task=1) as webui, adapter(webui.url) as runtime:
            running = asyncio.create_task(run(runtime, SMALL))
            await webui.running()
            await cancel(running)
            assert is_left(runtime)
            async with asyncio.timeout(20):
                await runtime.wait_until_ready()
            assert not is_left(runtime)
            assert (await run(runtime, SMALL)).outputs
            assert [record.outcome for record in webui.gpu.records] == ["succeeded", "succeeded"]

    def test_a_value_of_the_wrong_type_fails_the_task_at_once_in_its_words(self) -> None:
        said = "[json.exception.type_error.302] type must be number, but is string"  # as 97d2990 answers
        error = failure_of(500, json.dumps({"error": "server_error", "message": said}).encode())
        assert isinstance(error, PermanentError)
        assert said in error.message
        other = failure_of(500, json.dumps({"error": "server_error", "message": "generate_image failed"}).encode())
        assert isinstance(other, TransientError)

    @pytest.mark.parametrize("kind", [TaskType.EXTRA_SINGLE_IMAGE, TaskType.EXTRA_BATCH_IMAGES])
    async def test_what_it_has_no_route_for_fails_the_task_at_once(self, kind: TaskType) -> None:
        content = {"image": IMAGE, "imageList": [{"data": IMAGE, "name": "a"}]}
        async with serving(flavour="sd-server") as webui, adapter(webui.url) as runtime:
            with pytest.raises(PermanentError):
                await run(runtime, content, kind)
            assert not await runtime.restart()


@pytest.mark.parametrize(
    ("flavour", "kind"), [("", "SD Web UI with v1-5"), ("sdnext", "SD.Next"), ("sd-server", "sd-server")]
)
async def test_the_conformance_suite_says_which_kind_it_met(flavour: str, kind: str) -> None:
    suite = SUITES[RuntimeType.SDWEBUI]
    async with serving(flavour=flavour) as webui:
        assert (await suite.version(suite.client(webui.session, webui.url))).startswith(kind)
