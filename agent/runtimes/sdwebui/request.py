"""Turns a task's content into the body that SD Web UI takes."""

from __future__ import annotations

from typing import Any, Final

from agent.errors import PermanentError
from contract.task import TaskType, requested_checkpoint

ROUTES: Final[dict[TaskType, str]] = {
    TaskType.TEXT_TO_IMAGE: "/sdapi/v1/txt2img",
    TaskType.IMAGE_TO_IMAGE: "/sdapi/v1/img2img",
    TaskType.EXTRA_SINGLE_IMAGE: "/sdapi/v1/extra-single-image",
    TaskType.EXTRA_BATCH_IMAGES: "/sdapi/v1/extra-batch-images",
}
"""Where each type of task goes."""

GENERATING: Final = frozenset({TaskType.TEXT_TO_IMAGE, TaskType.IMAGE_TO_IMAGE})
"""The types that use a checkpoint."""

_NEEDS: Final = {
    TaskType.IMAGE_TO_IMAGE: "init_images",
    TaskType.EXTRA_SINGLE_IMAGE: "image",
    TaskType.EXTRA_BATCH_IMAGES: "imageList",
}

ROUTING_FIELDS: Final = frozenset(
    {
        "task",
        "sd_model_checkpoint",
        "id_task",
        "uid",
        "save_dir",
        "image_link",
        "need_sync",
        "runtime",
        "prefix",
        "context",
    }
)
"""What v1alpha1 puts into `alwayson_scripts` although it is no script. The server answers 422 to a script it lacks."""


def request_body(task_type: TaskType, content: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Returns the body for the server (links still in it) and the checkpoint that it asks for.

    The checkpoint leaves `override_settings`: there the server ignores a name it does not know and uses whatever is
    loaded, with status 200. It is switched by `/options` instead, which says so.

    Raises:
        PermanentError: the image that the task is about is missing.
    """
    body = dict(content)
    checkpoint = requested_checkpoint(content)
    scripts = body.get("alwayson_scripts")
    if isinstance(scripts, dict):
        link = scripts.get("image_link")
        body["alwayson_scripts"] = {name: value for name, value in scripts.items() if name not in ROUTING_FIELDS}
        if task_type is TaskType.IMAGE_TO_IMAGE and link:
            body["init_images"] = link if isinstance(link, list) else [link]
    settings = body.get("override_settings")
    if isinstance(settings, dict):
        body["override_settings"] = {key: value for key, value in settings.items() if key != "sd_model_checkpoint"}
    if task_type in GENERATING:
        # The answer is the only way out for the images: nobody reads the server's own disk.
        body["send_images"] = True
    if (field := _NEEDS.get(task_type)) and not body.get(field):
        # The server's own word for an empty list is "list index out of range", with status 500.
        raise PermanentError("invalid_content", f"{field}: a task of type {task_type.value} needs an image here")
    return body, checkpoint
