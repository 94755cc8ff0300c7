"""What can be set about a fake runtime, from the command line or from the environment."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split_on_commas(value: object) -> object:
    """Lets ``a,b`` stand for a list; what is a list already stays, its items split too."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    if isinstance(value, list | tuple):
        return [part for item in value for part in (str(item).split(",")) if part.strip()]
    return value


def _one_or_many(value: object) -> object:
    """Takes faults apart: by semicolons, and by commas where a name follows and not another option (`key=value`).

    The command line's reader joins what a repeated option brings by commas.
    """
    if isinstance(value, str):
        return [item.strip() for item in re.split(r";|,(?=\s*[a-z-]+\s*(?:[:,;]|$))", value) if item.strip()]
    return value


CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split_on_commas)]
SemicolonSeparated = Annotated[list[str], NoDecode, BeforeValidator(_one_or_many)]


class Settings(BaseSettings):
    """A fake Stable Diffusion runtime. It plays one GPU and speaks SD Web UI's, ComfyUI's, InvokeAI's or OpenAI's API.

    Every option can also be an environment variable: --seconds-per-task is FAKE_RUNTIME_SECONDS_PER_TASK.
    """

    model_config = SettingsConfigDict(
        env_prefix="FAKE_RUNTIME_",
        cli_prog_name="python -m fake_runtime",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        env_ignore_empty=True,
        extra="forbid",
    )

    type: Literal["sdwebui", "comfyui", "invokeai", "openai"] = Field("sdwebui", description="Whose API to speak")
    flavour: Literal["", "sdnext", "sd-server", "vllm-omni", "sglang"] = Field(
        "",
        description="Which server that speaks it: sdwebui: A1111's if not given, sdnext or sd-server; "
        "openai: vllm-omni if not given, sglang or sd-server",
    )
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in a container")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    allowed_hosts: str = Field(
        "",
        description="Host names to answer to besides localhost and IP addresses, with commas between them; '*': any; "
        "empty: no others when listening on a loopback address, otherwise any",
    )
    latency: float = Field(1.0, ge=0, description="Factor on all modelled times; 0 answers at once")
    seconds_per_task: float | None = Field(
        None, ge=0, description="Each task takes exactly this long, whatever it asks for; models load at once"
    )
    models: CommaSeparated = Field(
        ["v1-5-pruned-emaonly.safetensors", "sd_xl_base_1.0.safetensors", "sd_xl_turbo_1.0.safetensors"],
        min_length=1,
        description="Checkpoints on offer; SD Web UI has the first one loaded from the start",
    )
    vram_gib: float = Field(24.0, gt=0, description="Video memory of the GPU; 24 is an A10G's")
    fault: SemicolonSeparated = Field(
        [], description="A fault from the start, NAME[:key=value,...]; repeatable (';' between them in the environment)"
    )
    boot_seconds: float = Field(0.0, ge=0, description="Wait before listening, times latency")
    unknown_sampler_status: Literal["200", "404"] = Field(
        "200",
        description="SD Web UI: 404 refuses an unknown sampler, as up to 1.8; later the first one takes its place",
    )
    api_auth: str | None = Field(None, description="SD Web UI: USER:PASSWORD that callers must send")
    scripts: CommaSeparated = Field(
        ["controlnet", "adetailer"], description="SD Web UI: always-on scripts beside the built-in ones"
    )
    any_model: bool = Field(
        True, description="ComfyUI: any model that a workflow names counts as there; otherwise those of --models alone"
    )
    comfyui_version: Literal["0.3.64", "0.33", "0.38"] = Field(
        "0.33", description="Which ComfyUI to be: of October 2025, of August 2026, or with assets, as since about 0.38"
    )
    catalogue: Path | None = Field(
        None,
        description="ComfyUI: the nodes of a real server, as its /object_info tells them (JSON, gzip or not); "
        "those of ComfyUI 0.33.0 if not given",
    )
    directory: Path | None = Field(
        None, description="ComfyUI, InvokeAI: where their files lie; a temporary folder if not given"
    )
    keep_outputs: int = Field(1000, ge=1, description="ComfyUI: output files kept; the oldest beyond them are deleted")
    previews: bool = Field(False, description="ComfyUI: send preview images over the WebSocket")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
    log_format: Literal["json", "console"] = Field("json", description="One JSON object a line, or lines for people")
