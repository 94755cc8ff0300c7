"""The first request that a person sends: the reference design's own, as a line to copy."""

from __future__ import annotations

import json
import shlex
from typing import Any

from contract.config import Config
from contract.task import RuntimeType


def text_to_image(runtime: str) -> dict[str, Any]:
    """Returns the reference design's v1alpha2 text-to-image request, for one runtime."""
    return {
        "task": {
            "metadata": {
                "id": "test-t2i",
                "runtime": runtime,
                "tasktype": "text-to-image",
                "prefix": "output",
                "context": "",
            },
            "content": {"alwayson_scripts": {}, "prompt": "A dog", "steps": 16, "width": 512, "height": 512},
        }
    }


def curl_line(api: str, config: Config, *, keys: str = "", shown: bool = False) -> str | None:
    """Returns a shell line that sends it; None when no runtime of the config can take it.

    Args:
        api: the API's URL.
        config: names the runtimes.
        keys: `API_KEYS`, as the API gets it.
        shown: whether its first key may be seen, such as in a terminal; otherwise its name stands there.
    """
    runtime = next((item for item in config.runtimes if item.type is RuntimeType.SDWEBUI), None)
    if runtime is None:
        return None
    body = json.dumps(text_to_image(runtime.name), separators=(",", ":"))
    name, _, key = keys.partition(",")[0].strip().partition("=")
    header = shlex.quote(f"x-api-key: {key.strip() if shown else f'KEY_OF_{name.strip()}'}")
    keyed = f" -H {header}" if key else ""
    return f"curl -s {api}/v1alpha2{keyed} -H 'Content-Type: application/json' -d {shlex.quote(body)}"
