"""Finds in a request, and in an answer, what content credentials may tell of how a file was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

MOST: Final = 16
"""Models, seeds or prompts that are told of one task."""

MOST_TEXT: Final = 2000
"""Characters of one of them."""

_MODELS: Final = frozenset({"ckpt_name", "unet_name", "model_name", "model", "checkpoint", "sd_model_checkpoint"})
_SEEDS: Final = frozenset({"seed", "noise_seed"})
_PROMPTS: Final = frozenset({"prompt", "text", "text_g", "text_l", "clip_l", "t5xxl", "positive_prompt"})
_DEEPEST: Final = 32


@dataclass(frozen=True)
class Facts:
    """How a task's files were made."""

    models: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    prompts: tuple[str, ...] = ()
    workflow: str = ""
    """SHA-256, in hexadecimal; see `facts_of_request`."""

    def joined(self, other: Facts) -> Facts:
        """Returns both; of seeds the other's, where it has some: a server tells which ones it drew."""
        return Facts(
            models=_first(self.models + other.models),
            seeds=other.seeds or self.seeds,
            prompts=_first(self.prompts + other.prompts),
            workflow=self.workflow or other.workflow,
        )


def facts_of_request(content: dict[str, Any]) -> Facts:
    """Returns what a task's content tells, whichever server it is for.

    The hash is of ComfyUI's graph (`prompt`) or, where there is none, of the whole content: JSON in UTF-8, its keys
    sorted, without spaces (Python's `json.dumps(…, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`).
    """
    graph = content.get("prompt")
    workflow = graph if isinstance(graph, dict) else content
    text = json.dumps(workflow, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    found = list(_named(workflow))
    return Facts(
        models=_first(_model(value) for name, value in found if name in _MODELS),
        seeds=_seeds(value for name, value in found if name in _SEEDS),
        prompts=_first(value for name, value in found if name in _PROMPTS),
        workflow=digest,
    )


def facts_of_answer(answer: Any) -> Facts:
    """Returns what SD Web UI's answer tells in its `info`: which seeds it has drawn, and the checkpoint's name."""
    try:
        info = json.loads(answer["info"])
        model, seeds = info.get("sd_model_name"), info.get("all_seeds") or [info.get("seed")]
        return Facts(models=_first([model]), seeds=_seeds(seeds))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return Facts()


def _named(value: Any, deep: int = 0) -> Iterator[tuple[str, Any]]:
    """Yields every name of a document with its value."""
    if deep > _DEEPEST:
        return
    if isinstance(value, dict):
        for name, item in value.items():
            yield name, item
            yield from _named(item, deep + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item, deep + 1)


def _model(value: Any) -> Any:
    """Returns a model's name; InvokeAI has it within an object."""
    return value.get("name") if isinstance(value, dict) else value


def _first(values: Any) -> tuple[str, ...]:
    texts = (
        value[:MOST_TEXT].encode("utf-8", "replace").decode() for value in values if isinstance(value, str) and value
    )
    return tuple(dict.fromkeys(texts))[:MOST]


def _seeds(values: Any) -> tuple[int, ...]:
    # -1 asks the server to draw one.
    found = (value for value in values if isinstance(value, int) and not isinstance(value, bool) and value >= 0)
    return tuple(dict.fromkeys(found))[:MOST]
