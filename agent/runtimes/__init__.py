"""The servers that an agent can drive, behind one protocol."""

from __future__ import annotations

import aiohttp

from agent.inputs import InputSource
from agent.runtimes.allowance import MOST_BYTES
from agent.runtimes.base import Answer, Output, Prepared, Runtime, Upload
from agent.runtimes.comfyui.adapter import ComfyUi
from agent.runtimes.http import open_session
from agent.runtimes.http_runtime.adapter import HttpRuntime
from agent.runtimes.invokeai.adapter import InvokeAi
from agent.runtimes.openai.adapter import OpenAi
from agent.runtimes.sdwebui.adapter import SdWebUi
from contract.task import RuntimeType

__all__ = ["Answer", "Output", "Prepared", "Runtime", "Upload", "make_runtime", "open_session"]


def make_runtime(
    runtime_type: RuntimeType,
    base_url: str,
    session: aiohttp.ClientSession,
    inputs: InputSource,
    dynamic_model: bool,
    *,
    most_bytes: int = MOST_BYTES,
) -> Runtime:
    """Returns the adapter for a type of runtime; use it with a session of `open_session`."""
    match runtime_type:
        case RuntimeType.SDWEBUI:
            return SdWebUi(session, base_url, inputs, dynamic_model=dynamic_model, most_bytes=most_bytes)
        case RuntimeType.COMFYUI:
            return ComfyUi(session, base_url, inputs, most_bytes=most_bytes)
        case RuntimeType.INVOKEAI:
            return InvokeAi(session, base_url, inputs, most_bytes=most_bytes)
        case RuntimeType.HTTP:
            return HttpRuntime(session, base_url, inputs, most_bytes=most_bytes)
        case RuntimeType.OPENAI:
            return OpenAi(session, base_url, inputs, most_bytes=most_bytes)
