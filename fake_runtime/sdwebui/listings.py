"""SD Web UI's routes that only list what there is."""

import re
from dataclasses import asdict

from aiohttp import web

from fake_runtime.encoding import json_response
from fake_runtime.sdwebui import catalog
from fake_runtime.settings import Settings


def parse_infotext(text: str) -> dict[str, str]:
    """Takes a ``parameters`` text apart: prompt, negative prompt, and the ``Key: value`` pairs of the last line."""
    if not text:
        return {}
    *lines, last = text.split("\n")
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    if len(pairs) < 3:
        lines, pairs = [*lines, last], []
    prompt, negative, in_negative = "", "", False
    for line in lines:
        rest = line
        if line.startswith("Negative prompt:"):
            in_negative, rest = True, line.removeprefix("Negative prompt:").strip()
        if in_negative:
            negative += ("\n" if negative else "") + rest
        else:
            prompt += ("\n" if prompt else "") + rest
    return {"Prompt": prompt, "Negative prompt": negative, **dict(pairs)}


def _script(name: str, *, always_on: bool, from_images: bool) -> dict[str, object]:
    return {"name": name, "is_alwayson": always_on, "is_img2img": from_images, "args": []}


def _listings(settings: Settings) -> dict[str, object]:
    more = [name.lower() for name in settings.scripts]
    always_on = [*catalog.ALWAYS_ON_SCRIPTS, *more]
    always_on_images = [*catalog.IMAGE_TO_IMAGE_ALWAYS_ON_SCRIPTS, *more]
    return {
        "samplers": [
            {"name": name, "aliases": aliases, "options": options}
            for name, (aliases, options) in catalog.SAMPLERS.items()
        ],
        "schedulers": [asdict(scheduler) for scheduler in catalog.SCHEDULERS],
        "upscalers": [
            {"name": name, "model_name": model, "model_path": None, "model_url": None, "scale": scale}
            for name, (model, scale) in catalog.UPSCALERS.items()
        ],
        "latent-upscale-modes": [{"name": name} for name in catalog.LATENT_UPSCALE_MODES],
        "sd-vae": [],
        "hypernetworks": [],
        "loras": [],
        "face-restorers": [{"name": name, "cmd_dir": None} for name in catalog.FACE_RESTORERS],
        "realesrgan-models": [
            {"name": name, "path": None, "scale": 4} for name in catalog.UPSCALERS if name.startswith("R-ESRGAN")
        ],
        "prompt-styles": [],
        "embeddings": {"loaded": {}, "skipped": {}},
        "extensions": [],
        "cmd-flags": {
            "api": True,
            "nowebui": True,
            "listen": settings.host == "0.0.0.0",  # noqa: S104 - told, not bound
            "port": settings.port,
            "api_auth": None if settings.api_auth is None else "***",
            "ckpt_dir": None,
            "medvram": False,
            "lowvram": False,
            "no_half": False,
            "xformers": False,
        },
        "scripts": {
            "txt2img": [*catalog.SELECTABLE_SCRIPTS, *always_on],
            "img2img": [*catalog.IMAGE_TO_IMAGE_SCRIPTS, *always_on_images],
        },
        "script-info": [
            *(_script(name, always_on=False, from_images=False) for name in catalog.SELECTABLE_SCRIPTS),
            *(_script(name, always_on=True, from_images=False) for name in always_on),
            *(_script(name, always_on=False, from_images=True) for name in catalog.IMAGE_TO_IMAGE_SCRIPTS),
            *(_script(name, always_on=True, from_images=True) for name in always_on_images),
        ],
    }


def add_routes(app: web.Application, settings: Settings) -> None:
    """Adds a GET route for each listing."""
    for name, body in _listings(settings).items():

        async def answer(_: web.Request, body: object = body) -> web.Response:
            return json_response(body)

        app.router.add_get(f"/sdapi/v1/{name}", answer, allow_head=False)
