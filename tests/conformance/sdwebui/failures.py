"""Requests that SD Web UI takes, and breaks at: 500 with the name of the exception and its words."""

from __future__ import annotations

import base64
from typing import Any

from tests.conformance.case import Case, Mark, case, check
from tests.conformance.comfyui.client import png
from tests.conformance.sdwebui.client import SMALL, SdWebUi
from tests.conformance.sdwebui.refusals import own

_PICTURE = base64.b64encode(png()).decode()


def _failure(name: str, route: str, request: dict[str, Any], error: str, errors: Any = str) -> Case:
    async def failed(server: SdWebUi) -> None:
        reply = await server.call(route, {**SMALL, **request})
        check(f"POST {route}", {"status": 500, "body": own("", error=error, errors=errors)}, reply.shown())
        check("GET progress", {"progress": 0, "state": {"job": ""}}, await server.progress())

    statement = f"POST {route} with {name.replace('-', ' ')} is 500 and {error}"
    return Case(f"breaks-at-{name}", statement, failed, frozenset({Mark.NEEDS_MODEL}))


FAILURES = (
    _failure("no-steps", "txt2img", {"steps": 0}, "ZeroDivisionError"),
    _failure("steps-of-null", "txt2img", {"steps": None}, "TypeError"),
    _failure("no-width", "txt2img", {"width": 0}, "RuntimeError"),
    _failure("a-negative-width", "txt2img", {"width": -8}, "RuntimeError"),
    _failure("no-images", "txt2img", {"batch_size": 0}, "IndexError", "list index out of range"),
    _failure("no-prompt", "txt2img", {"prompt": None}, "AssertionError", ""),
    _failure("a-seed-beyond-64-bits", "txt2img", {"seed": 2**64}, "RuntimeError", "Overflow when unpacking long"),
    _failure("a-second-pass-without-strength", "txt2img", {"enable_hr": True}, "TypeError"),
    _failure(
        "a-second-pass-by-an-unknown-upscaler",
        "txt2img",
        {"enable_hr": True, "hr_upscaler": "No Such", "denoising_strength": 0.5},
        "Exception",
        "could not find upscaler named No Such",
    ),
    _failure(
        "an-unknown-refiner",
        "txt2img",
        {"refiner_checkpoint": "no-such-model"},
        "Exception",
        "Could not find checkpoint with name no-such-model",
    ),
    _failure("no-init-image-in-the-list", "img2img", {"init_images": []}, "RuntimeError"),
    _failure("a-number-as-init-image", "img2img", {"init_images": [5]}, "AttributeError"),
    _failure("more-init-images-than-results", "img2img", {"init_images": [_PICTURE, _PICTURE]}, "RuntimeError"),
)


@case("an upscale by an unknown upscaler is 500, and progress tells of it until the next job begins", Mark.NEEDS_MODEL)
async def unknown_upscaler(server: SdWebUi) -> None:
    reply = await server.call("extra-single-image", {"image": _PICTURE, "upscaler_1": "No Such"})
    body = own("", error="AssertionError", errors="could not find upscaler named No Such")
    check("POST extra-single-image", {"status": 500, "body": body}, reply.shown())
    check("GET progress", {"progress": 1, "state": {"job": "Upscale", "job_no": 1}}, await server.progress())
    await server.generate()
    check("GET progress", {"progress": 0, "state": {"job": ""}}, await server.progress())
