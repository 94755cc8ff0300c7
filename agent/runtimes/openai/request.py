"""Turns a task's content into a request of OpenAI's API, as JSON or as a form with files."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.errors import PermanentError
from agent.media import SIGNATURE_SIZE, extension_of
from agent.runtimes.base import Upload
from agent.runtimes.sdwebui.links import is_text_field as is_sdwebui_text
from agent.runtimes.sdwebui.request import ROUTING_FIELDS
from contract.openai import EDITS, GENERATIONS, VIDEOS, problems, request_of
from contract.task import TaskType, requested_checkpoint

_RENAMED: Final = {"steps": "num_inference_steps", "cfg_scale": "guidance_scale", "denoising_strength": "strength"}
"""SD Web UI's names, and those of vLLM-Omni, SGLang and diffusers; OpenAI itself has none for these."""

_TRANSLATED: Final = frozenset(
    {
        *("alwayson_scripts", "override_settings", "override_settings_restore_afterwards"),
        *("send_images", "save_images", "batch_size", "n_iter", "width", "height", "seed", "init_images"),
        *_RENAMED,
    }
)
"""Fields of the content that are no fields of the request."""

_SIDE: Final = 512
"""Pixels of the side that a content does not name while it names the other: SD Web UI's own default."""

_FILES: Final = {EDITS: ("image", "image[]", "mask"), VIDEOS: ("input_reference",)}
"""Fields that the server takes as files, by path."""

_WORDS: Final = frozenset({"user", "model", "instructions", "style"})


@dataclass(frozen=True)
class Request:
    """A request, before its links are fetched."""

    path: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Form:
    """A request with files."""

    fields: dict[str, str]
    files: list[Upload] = field(default_factory=list)
    """Each one's name is the form's field, a slash, and the file's name."""


def is_text_field(name: str) -> bool:
    """Tells whether a field holds words. What ends in `url` is fetched here: the server would open it itself."""
    name = name.lower()
    return name in _WORDS or (is_sdwebui_text(name) and not name.endswith(("url", "uri")))


def request_for(task_type: TaskType, content: dict[str, Any]) -> Request:
    """Returns the request of a task, its links still in it.

    Raises:
        PermanentError: the content is none for such a server.
    """
    if task_type is TaskType.PIPELINE:
        for place, words in problems(content):
            raise _refused(place or "the content", words)
        path, body = request_of(content)
        return Request(path, _answered_in_json(path, body))
    images = _images_of(content) if task_type is TaskType.IMAGE_TO_IMAGE else []
    body = _translated(content)
    if not isinstance(body.get("prompt"), str) or not body["prompt"].strip():
        raise _refused("prompt", "is required: it says what is wanted")
    if task_type is not TaskType.IMAGE_TO_IMAGE:
        return Request(GENERATIONS, _answered_in_json(GENERATIONS, body))
    if not images:
        raise _refused("init_images", "a task of type image-to-image needs an image here")
    return Request(EDITS, _answered_in_json(EDITS, {**body, "image": images}))


def form_of(request: Request) -> Form | None:
    """Returns the form of a request whose links are fetched; None when it goes as JSON.

    Edits are always a form, as OpenAI has them; videos are one when they bring a file.

    Raises:
        PermanentError: something that should be a file is none.
    """
    names = _FILES.get(request.path, ())
    files = [upload for name in names for upload in _uploads(name, request.body.get(name))]
    if request.path != EDITS and not files:
        return None
    return Form(fields_of(request.body, without=names), files)


def fields_of(body: Mapping[str, Any], *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Returns a JSON object as the fields of a form: what is no text as JSON, nulls left out."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in body.items()
        if name not in without and value is not None
    }


def _translated(content: dict[str, Any]) -> dict[str, Any]:
    scripts = content.get("alwayson_scripts")
    if isinstance(scripts, dict) and (real := sorted(set(scripts) - ROUTING_FIELDS)):
        raise _refused("alwayson_scripts", f"such a server has no scripts; leave out {', '.join(real)[:200]}")
    body = {
        **{name: value for name, value in content.items() if name not in _TRANSLATED},
        **{new: content[old] for old, new in _RENAMED.items() if content.get(old) is not None and new not in content},
    }
    if body.get("negative_prompt") == "":
        del body["negative_prompt"]
    if (model := requested_checkpoint(content)) and "model" not in body:
        body["model"] = model
    width, height = content.get("width"), content.get("height")
    if (width or height) and "size" not in body:
        body["size"] = f"{width or _SIDE}x{height or _SIDE}"
    if ("batch_size" in content or "n_iter" in content) and "n" not in body:
        body["n"] = _count(content, "batch_size") * _count(content, "n_iter")
    if content.get("seed") not in {None, -1}:
        body["seed"] = content["seed"]
    return body


def _count(content: dict[str, Any], name: str) -> int:
    value = content.get(name)
    if value is None:
        return 1
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _refused(name, f"must be a whole number from 1; found {str(value)[:80]!r}")
    return value


def _answered_in_json(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Returns the body of a request whose answer brings the pictures with it, in one piece."""
    if path == VIDEOS:
        return body
    kept = {name: value for name, value in body.items() if name not in {"stream", "partial_images"}}
    return {**kept, "response_format": "b64_json"}


def _images_of(content: dict[str, Any]) -> list[Any]:
    scripts = content.get("alwayson_scripts")
    link = scripts.get("image_link") if isinstance(scripts, dict) else None
    found = link or content.get("init_images") or content.get("image") or []
    return found if isinstance(found, list) else [found]


def _uploads(name: str, value: Any) -> list[Upload]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    if name == "image" and len(items) > 1:
        name = "image[]"
    return [_upload(name, item, number) for number, item in enumerate(items, 1)]


def _upload(name: str, value: Any, number: int) -> Upload:
    text = value if isinstance(value, str) else ""
    text = text.partition(",")[2] if text.startswith("data:") else text
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise _refused(name, f"file {number} is no link and no base64") from error
    if not data:
        raise _refused(name, f"file {number} must be a link or base64; it is empty")
    return Upload(f"{name}/{name.removesuffix('[]')}-{number}.{extension_of(data[:SIGNATURE_SIZE])}", data)


def _refused(place: str, words: str) -> PermanentError:
    return PermanentError("invalid_content", f"{place}: {words}")
