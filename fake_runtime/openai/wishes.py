"""What a request asks for: read from JSON or from a form, and checked."""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, web
from PIL import Image

from fake_runtime.openai.flavours import ApiError

MAX_BODY_BYTES = 2**30
MAX_SIDE = 16384
DEFAULT_SIDE = 1024
DEFAULT_STEPS = 20
DEFAULT_SECONDS = 4
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be made.

    Attributes:
        url: whether the answer has links in the place of base64.
        seconds: of a video.
        sources: pictures to start from.
    """

    prompt: str
    negative_prompt: str
    model: str
    count: int
    width: int
    height: int
    steps: int
    seed: int | None
    url: bool
    seconds: int
    sources: list[Image.Image]


async def read_body(request: web.Request) -> tuple[dict[str, Any], dict[str, list[bytes]]]:
    """The fields and the files of a request, JSON or a form.

    Raises:
        ApiError: it is neither.
    """
    if request.content_type.startswith("multipart/"):
        return await _read_form(request)
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(await request.post()), {}
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise ApiError(400, f"Invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(400, "Input should be a valid dictionary")
    return body, {}


async def _read_form(request: web.Request) -> tuple[dict[str, Any], dict[str, list[bytes]]]:
    fields: dict[str, Any] = {}
    files: dict[str, list[bytes]] = {}
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name is None:
                continue
            content = bytes(await part.read())
            if part.filename is None:
                fields[part.name] = content.decode()
            else:
                files.setdefault(part.name, []).append(content)
    except ValueError as error:
        raise ApiError(400, "There was an error parsing the body") from error
    return fields, files


def wish_of(fields: Mapping[str, Any], files: Mapping[str, list[bytes]], *, links: bool) -> Wish:
    """Checks a request.

    Args:
        fields: of the request.
        files: by field.
        links: whether pictures are answered as links unless the request says otherwise.

    Raises:
        ApiError: naming the field.
    """
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise ApiError(400, "prompt: Field required")
    width, height = _size(fields.get("size"))
    form = fields.get("response_format") or ("url" if links else "b64_json")
    if form not in {"b64_json", "url"}:
        raise ApiError(400, f"response_format: Input should be 'b64_json' or 'url', got {form!r}")
    names = ("image", "image[]", "mask", "input_reference")
    seed = fields.get("seed")
    return Wish(
        prompt=prompt,
        negative_prompt=str(fields.get("negative_prompt") or ""),
        model=str(fields.get("model") or ""),
        count=_whole(fields, "n", 1, 1, 10),
        width=width,
        height=height,
        steps=_whole(fields, "num_inference_steps", DEFAULT_STEPS, 1, 200),
        seed=None if seed is None else _whole(fields, "seed", 0, -(2**63), 2**64 - 1),
        url=form == "url",
        seconds=_whole(fields, "seconds", DEFAULT_SECONDS, 1, 60),
        sources=[_picture(name, data) for name in names for data in files.get(name, [])],
    )


def _size(text: object) -> tuple[int, int]:
    if text in {None, "", "auto"}:
        return DEFAULT_SIDE, DEFAULT_SIDE
    found = _SIZE.fullmatch(str(text))
    if found is None:
        raise ApiError(400, "size: size must be in format 'WIDTHxHEIGHT' (e.g., '1024x1024')")
    width, height = int(found[1]), int(found[2])
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ApiError(400, f"size: width and height must be from 1 to {MAX_SIDE}")
    return width, height


def _whole(fields: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    try:
        number = int(value) if isinstance(value, str) or value == int(value) else None
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool):
        raise ApiError(400, f"{name}: Input should be a valid integer")
    if not low <= number <= high:
        raise ApiError(400, f"{name}: Input should be from {low} to {high}")
    return number


def _picture(name: str, data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Exception as error:  # Pillow raises nearly anything for broken files
        raise ApiError(400, f"{name}: cannot identify image file") from error
    return image
