"""What a run's span says of it in the words of OpenTelemetry's conventions for generative AI: never a prompt.

The conventions are version 1.41.0 of open-telemetry/semantic-conventions (docs/gen-ai/gen-ai-spans.md, status:
development). They know no operation of making images; `generate_content` is theirs for any content.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from contract.task import RuntimeType, TaskType, requested_checkpoint

_PROVIDERS: Final = {RuntimeType.OPENAI: "openai_compatible"}
"""`openai` is the company's own service; the others are called as their types are."""

_MODELS: Final = ("ckpt_name", "unet_name", "model_name")
"""Inputs of ComfyUI's loaders that name what makes the picture."""

_SEEDS: Final = ("seed", "noise_seed")
_LARGEST: Final = 2**63 - 1
"""OpenTelemetry's whole numbers have 64 bits with a sign; ComfyUI's seeds have no sign."""

Attributes = dict[str, str | int]


def attributes_of(runtime: RuntimeType, task_type: TaskType, content: dict[str, Any]) -> Attributes:
    """Returns the attributes of a run's span.

    Args:
        runtime: the type of the server.
        task_type: what is asked of it.
        content: the task's.
    """
    found: Attributes = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": _PROVIDERS.get(runtime, runtime.value),
        "gen_ai.output.type": "image",
        "darkroom.tasktype": task_type.value,
    }
    if model := _model(runtime, content):
        found["gen_ai.request.model"] = model[:255]
    if (seed := _only(_seeds(runtime, content))) is not None:
        found["gen_ai.request.seed"] = seed
    count = _count(runtime, content)
    if count > 1:
        found["gen_ai.request.choice.count"] = count
    return found


def _model(runtime: RuntimeType, content: dict[str, Any]) -> str:
    if runtime is RuntimeType.COMFYUI:
        names = {value for name in _MODELS for value in _inputs(content, name) if isinstance(value, str)}
        return _only(sorted(names)) or ""
    named = requested_checkpoint(content) or content.get("model")
    return named if isinstance(named, str) else ""


def _seeds(runtime: RuntimeType, content: dict[str, Any]) -> list[int]:
    values: Iterator[Any]
    if runtime is RuntimeType.COMFYUI:
        values = (value for name in _SEEDS for value in _inputs(content, name))
    else:
        values = iter([content.get("seed")])
    # SD Web UI draws one where it is -1.
    return sorted({value for value in values if type(value) is int and 0 <= value <= _LARGEST})


def _count(runtime: RuntimeType, content: dict[str, Any]) -> int:
    if runtime is RuntimeType.SDWEBUI:
        factors = [content.get(name, 1) for name in ("batch_size", "n_iter")]
        return factors[0] * factors[1] if all(type(factor) is int for factor in factors) else 1
    count = content.get("n") if runtime is RuntimeType.OPENAI else 1
    return count if type(count) is int else 1


def _inputs(content: dict[str, Any], name: str) -> Iterator[Any]:
    """Yields an input's values in all nodes of a workflow."""
    nodes = content.get("prompt", content)
    for node in nodes.values() if isinstance(nodes, dict) else ():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if isinstance(inputs, dict) and name in inputs:
            yield inputs[name]


def _only[T](values: list[T]) -> T | None:
    """Returns the one value that there is; of several, none is that of the run."""
    return values[0] if len(values) == 1 else None
