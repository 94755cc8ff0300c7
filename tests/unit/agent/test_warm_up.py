"""The first prompt of a runtime: read from a setting, run, and never in the way for ever."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import RuntimeUnavailableError
from agent.operations import warm_up as module
from agent.operations.warm_up import WarmUp, WarmUpRequest, WarmUpState, read_warm_up
from agent.runtimes import make_runtime, open_session
from contract.task import RuntimeType, TaskType
from tests.unit.agent.fake_process import fake_process
from tests.unit.agent.runtime_support import Links
from tests.unit.fake_runtime.support import Server, serving

REQUEST = WarmUpRequest(tasktype=TaskType.TEXT_TO_IMAGE, content={"prompt": "warm", "width": 64, "height": 64})


def test_the_setting_is_json_or_a_file_that_holds_it(tmp_path: Path) -> None:
    text = json.dumps({"tasktype": "text-to-image", "content": {"prompt": "warm", "width": 64, "height": 64}})
    (tmp_path / "first.json").write_text(text)
    assert read_warm_up(text) == read_warm_up(str(tmp_path / "first.json")) == REQUEST


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no-such-file.json", "neither JSON nor a file"),
        ("{}", "tasktype: Field required"),
        ('{"tasktype": "dance", "content": {"a": 1}}', "tasktype"),
        ('{"tasktype": "text-to-image", "content": {}}', "content"),
        ('{"tasktype": "text-to-image", "prompt": "x"}', "content: Field required"),
        ("{", "Invalid JSON"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        read_warm_up(text)
    assert "\n" not in str(error.value)


@given(st.text())
def test_whatever_is_set_gives_a_request_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(read_warm_up("{" + text), WarmUpRequest)


async def warm(webui: Server, warm_up: WarmUp) -> None:
    async with open_session() as session:
        await warm_up.run(make_runtime(RuntimeType.SDWEBUI, webui.url, session, Links(), dynamic_model=False))


async def test_the_prompt_is_run_once() -> None:
    warm_up = WarmUp(REQUEST, timeout=20)
    async with serving(type="sdwebui") as webui:
        await warm(webui, warm_up)
        assert [job["prompt"] for job in await webui.jobs()] == ["warm"]
    assert (warm_up.state, warm_up.error) == (WarmUpState.DONE, "")


async def test_what_may_pass_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE", 0.0)
    warm_up = WarmUp(REQUEST, timeout=20)
    async with serving(type="sdwebui") as webui:
        await webui.order("error", count=2)
        await warm(webui, warm_up)
    assert warm_up.state is WarmUpState.DONE


@pytest.mark.parametrize(("fault", "runs"), [("error", module.TRIES), ("out-of-memory", module.TRIES)])
async def test_what_does_not_pass_is_given_up(fault: str, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE", 0.0)
    warm_up = WarmUp(REQUEST, timeout=20)
    async with serving(type="sdwebui", faults=[f"{fault}:count=forever"]) as webui:
        await warm(webui, warm_up)
    assert warm_up.state is WarmUpState.FAILED
    assert warm_up.error


async def test_a_wrong_prompt_is_not_tried_again() -> None:
    content = {**REQUEST.content, "script_name": "No Such Script"}
    warm_up = WarmUp(WarmUpRequest(tasktype=TaskType.TEXT_TO_IMAGE, content=content), timeout=20)
    async with serving(type="sdwebui") as webui:
        await warm(webui, warm_up)
    assert warm_up.state is WarmUpState.FAILED
    assert "No Such Script" in warm_up.error


async def test_one_that_takes_too_long_is_interrupted_and_given_up() -> None:
    warm_up = WarmUp(REQUEST, timeout=0.3)
    async with serving(type="sdwebui", seconds_per_task=30) as webui:
        await warm(webui, warm_up)
        assert [job["outcome"] for job in await webui.jobs()] == ["interrupted"]
    assert warm_up.error == "it took longer than 0.3 s and was interrupted"


async def test_an_agent_that_ends_meanwhile_interrupts_it() -> None:
    async with serving(type="sdwebui", seconds_per_task=30) as webui:
        warming = asyncio.create_task(warm(webui, WarmUp(REQUEST, timeout=20)))
        await webui.running()
        warming.cancel()
        await asyncio.wait({warming}, timeout=3)
        assert warming.cancelled()
        assert [job["outcome"] for job in await webui.jobs()] == ["interrupted"]


async def test_a_prompt_that_kills_each_runtime_is_left_out_in_the_end() -> None:
    warm_up = WarmUp(REQUEST, timeout=20)
    with fake_process("--type", "sdwebui", "--latency", "0", "--fault", "exit-in-the-middle:count=forever") as process:
        async with open_session() as session:
            runtime = make_runtime(RuntimeType.SDWEBUI, process.url, session, Links(), dynamic_model=False)
            for _ in range(module.TRIES):
                process.start()
                async with asyncio.timeout(20):
                    await runtime.wait_until_ready()
                with pytest.raises(RuntimeUnavailableError):
                    await warm_up.run(runtime)
                await process.gone()
            await warm_up.run(runtime)
    assert warm_up.state is WarmUpState.FAILED
