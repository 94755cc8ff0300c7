"""A run's span says which model and seed it was, in the conventions' words, and never what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from agent.operations.gen_ai import attributes_of
from contract.task import RuntimeType, TaskType

SECRET = "a prompt that nobody else may read"
COMMON = {"gen_ai.operation.name": "generate_content", "gen_ai.output.type": "image"}


def workflow(**inputs: Any) -> dict[str, Any]:
    loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd.safetensors"}}
    text = {"class_type": "CLIPTextEncode", "inputs": {"text": SECRET}}
    return {"1": loader, "2": {"class_type": "KSampler", "inputs": inputs}, "3": text, "4": "no node"}


@pytest.mark.parametrize(
    ("runtime", "content", "wanted"),
    [
        (
            RuntimeType.SDWEBUI,
            {
                "prompt": SECRET,
                "seed": 7,
                "n_iter": 2,
                "batch_size": 3,
                "override_settings": {"sd_model_checkpoint": "v1-5.safetensors"},
            },
            {
                "gen_ai.provider.name": "sdwebui",
                "gen_ai.request.model": "v1-5.safetensors",
                "gen_ai.request.seed": 7,
                "gen_ai.request.choice.count": 6,
            },
        ),
        (RuntimeType.SDWEBUI, {"prompt": SECRET, "seed": -1, "n_iter": "x"}, {"gen_ai.provider.name": "sdwebui"}),
        (
            RuntimeType.COMFYUI,
            workflow(seed=8),
            {
                "gen_ai.provider.name": "comfyui",
                "gen_ai.request.model": "sd.safetensors",
                "gen_ai.request.seed": 8,
            },
        ),
        (
            RuntimeType.COMFYUI,
            {"prompt": workflow(noise_seed=2**63)},
            {"gen_ai.provider.name": "comfyui", "gen_ai.request.model": "sd.safetensors"},
        ),
        (
            RuntimeType.COMFYUI,
            workflow(seed=8, noise_seed=9),
            {"gen_ai.provider.name": "comfyui", "gen_ai.request.model": "sd.safetensors"},
        ),
        (
            RuntimeType.OPENAI,
            {"prompt": SECRET, "model": "flux", "n": 2, "seed": True},
            {
                "gen_ai.provider.name": "openai_compatible",
                "gen_ai.request.model": "flux",
                "gen_ai.request.choice.count": 2,
            },
        ),
        (RuntimeType.HTTP, {"prompt": SECRET, "model": ["x"]}, {"gen_ai.provider.name": "http"}),
    ],
)
def test_a_runs_span_names_model_and_seed_where_there_is_one_of_each(
    runtime: RuntimeType, content: dict[str, Any], wanted: dict[str, Any]
) -> None:
    found = attributes_of(runtime, TaskType.PIPELINE, content)
    assert found == {**COMMON, "darkroom.tasktype": "pipeline", **wanted}
    assert SECRET not in str(found)
