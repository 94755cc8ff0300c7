"""Which cases belong to which type of runtime, and who asks them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from contract.task import RuntimeType
from tests.conformance import comfyui, http_runtime, invokeai, openai, sdwebui
from tests.conformance.case import Case
from tests.conformance.comfyui.client import ComfyUi
from tests.conformance.http_runtime.client import HttpRuntime
from tests.conformance.invokeai.client import InvokeAi
from tests.conformance.openai.client import OpenAi
from tests.conformance.sdwebui.client import SdWebUi
from tests.conformance.server import Server


@dataclass(frozen=True)
class Suite:
    """The cases of one type of runtime.

    Attributes:
        cases: in the order in which they are asked.
        client: makes what the cases' checks take; with the arguments of `Server`.
        version: asks the server what it is.
    """

    cases: tuple[Case, ...]
    client: type[Server]
    version: Callable[[Any], Awaitable[str]]


async def _comfyui_version(server: ComfyUi) -> str:
    stats = await server.get("/system_stats")
    device = stats["devices"][0]["name"] if stats.get("devices") else "no device"
    return f"ComfyUI {stats['system'].get('comfyui_version', '')} on {device}"


async def _http_version(server: HttpRuntime) -> str:
    about = await server.get("/health")
    return f"a runtime of one's own, {about.get('name', 'without a name')}"


async def _invokeai_version(server: InvokeAi) -> str:
    return f"InvokeAI {(await server.get('/api/v1/app/version'))['version']}"


async def _openai_version(server: OpenAi) -> str:
    model = (await server.get("/v1/models"))["data"][0]
    return f"a server of OpenAI's image API, by {model.get('owned_by') or 'nobody'}, with {model['id']}"


async def _sdwebui_version(server: SdWebUi) -> str:
    options = await server.get("/sdapi/v1/options")
    return f"{await _sdwebui_kind(server)} with {options.get('sd_model_checkpoint') or 'no checkpoint'}"


async def _sdwebui_kind(server: SdWebUi) -> str:
    """Returns which of the servers that speak SD Web UI's API it is, by what tells them apart."""
    interrupted = (await server.call("interrupt", {})).status
    if interrupted == 204:
        return "SD.Next (it speaks SD Web UI's API, and differs from it)"
    if interrupted in {404, 405}:
        return "sd-server of stable-diffusion.cpp (it speaks a part of SD Web UI's API)"
    lists = (await server.send("GET", "/sdapi/v1/hypernetworks")).status == 200
    return "SD Web UI" if lists else "Forge Neo or another descendant of SD Web UI"


SUITES: Final[dict[RuntimeType, Suite]] = {
    RuntimeType.SDWEBUI: Suite(sdwebui.CASES, SdWebUi, _sdwebui_version),
    RuntimeType.COMFYUI: Suite(comfyui.CASES, ComfyUi, _comfyui_version),
    RuntimeType.INVOKEAI: Suite(invokeai.CASES, InvokeAi, _invokeai_version),
    RuntimeType.HTTP: Suite(http_runtime.CASES, HttpRuntime, _http_version),
    RuntimeType.OPENAI: Suite(openai.CASES, OpenAi, _openai_version),
}
