"""What the tasks of a trial ask their runtimes for."""

from __future__ import annotations

from typing import Any, Final

from contract.task import RuntimeType
from tests.chaos.plan import TaskKind
from tests.support.graphs import diffusion
from tests.support.stack import workflow

MANY_OUTPUTS: Final = 300
"""With ids and prefixes near their limits their addresses take more than the 256 KiB of a message."""

HUGE_OUTPUTS: Final = 1_100
"""S3 lists a thousand a page."""

_OUTPUTS: Final = {TaskKind.MANY: MANY_OUTPUTS, TaskKind.HUGE: HUGE_OUTPUTS}
_LARGE: Final = "a very long prompt " * 15_000


def task_type(runtime: RuntimeType) -> str:
    """Returns the task type that a trial sends to runtimes of a type."""
    return "text-to-image" if runtime in {RuntimeType.SDWEBUI, RuntimeType.OPENAI} else "pipeline"


def content_of(kind: TaskKind, request: str, runtime: RuntimeType, *, visibility: int) -> dict[str, Any]:
    """Returns the content of a task: its request, by which its runs are known, and orders for the fake runtime.

    Args:
        kind: what is special about the task.
        request: stands in its prompt.
        runtime: whose content it is.
        visibility: seconds of the agents' visibility timeout.
    """
    orders = {
        TaskKind.POISONED: "[[fault:error:status=500,body=text]]",
        TaskKind.ENDLESS: "[[fault:hang]]",
        TaskKind.LONG: f"[[fault:hang:seconds={1.5 * visibility}]]",
        TaskKind.LARGE: _LARGE,
    }
    text = f"<<{request}>> {orders.get(kind, '')}".strip()
    outputs, invalid = _OUTPUTS.get(kind, 1), kind is TaskKind.INVALID
    match runtime:
        case RuntimeType.COMFYUI:
            content = workflow(text)
            content["3"]["inputs"]["batch_size"] = outputs
            if invalid:
                content["4"]["inputs"]["sampler_name"] = "No Such Sampler"
            return content
        case RuntimeType.INVOKEAI:
            graph = diffusion(text)
            if invalid:
                graph.node("wrong", "no_such_node")
            return {"graph": graph}
        case RuntimeType.HTTP:
            return {"prompt": 5 if invalid else text, "count": outputs}
        case RuntimeType.OPENAI:
            few = min(outputs, 10)  # vLLM-Omni makes no more at once
            return {"prompt": text, "steps": 5000 if invalid else 4, "width": 64, "height": 64, "n_iter": few}
        case RuntimeType.SDWEBUI:
            # Since 1.9 SD Web UI runs its first sampler in the place of an unknown one.
            wrong = {"script_name": "No Such Script"} if invalid else {}
            return {"prompt": text, "steps": 4, "width": 64, "height": 64, "n_iter": outputs, **wrong}
