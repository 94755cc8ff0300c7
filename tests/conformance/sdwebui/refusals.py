"""What SD Web UI refuses, in which of its two shapes of error, and with which status."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from yarl import URL

from tests.conformance.case import Case, Mark, NotApplicableError, case, check
from tests.conformance.sdwebui.client import SMALL, SdWebUi
from tests.conformance.shapes import Each


def own(detail: Any, *, error: Any = "HTTPException", errors: Any = str) -> dict[str, Any]:
    """Returns the shape of the server's own exception handler; `errors` repeats the rest on newer starlette."""
    return {"error": error, "detail": detail, "body": "", "errors": errors}


def fastapi(*place: Any) -> dict[str, Any]:
    """Returns FastAPI's shape for a body that is wrong at a place."""
    return {"detail": Each({"loc": list(place), "msg": str, "type": str}, least=1)}


def _refusal(name: str, route: str, document: Any, status: int, body: Any, *marks: Mark) -> Case:
    async def refused(server: SdWebUi) -> None:
        reply = await server.call(route, document)
        check(f"POST {route}", {"status": status, "body": body}, reply.shown())

    return Case(f"refuses-{name}", f"POST {route} with {name.replace('-', ' ')} is {status}", refused, frozenset(marks))


_NO_IMAGE = own("Invalid encoded image")

REFUSALS = (
    _refusal("no-init-images", "img2img", SMALL, 404, own("Init image not found")),
    _refusal(
        "an-init-image-that-is-none", "img2img", {**SMALL, "init_images": ["x"]}, 500, _NO_IMAGE, Mark.NEEDS_MODEL
    ),
    _refusal("an-image-that-is-none", "extra-single-image", {"image": "x"}, 500, _NO_IMAGE),
    _refusal("an-unknown-script", "txt2img", {**SMALL, "script_name": "x"}, 422, own("Script 'x' not found")),
    _refusal(
        "an-unknown-always-on-script",
        "txt2img",
        {**SMALL, "alwayson_scripts": {"no-such": {"args": []}}},
        422,
        own("Script 'no-such' not found"),
    ),
    _refusal("text-for-a-number", "txt2img", {**SMALL, "steps": "x"}, 422, fastapi("body", "steps")),
    _refusal("text-for-a-list", "img2img", {**SMALL, "init_images": "x"}, 422, fastapi("body", "init_images")),
    _refusal(
        "an-upscale-out-of-range",
        "extra-single-image",
        {"upscaling_resize": 0},
        422,
        fastapi("body", "upscaling_resize"),
    ),
    _refusal("no-image-list", "extra-batch-images", {}, 422, fastapi("body", "imageList")),
    _refusal("no-image-to-read", "png-info", {}, 422, fastapi("body", "image")),
    _refusal(
        "an-unknown-checkpoint",
        "options",
        {"sd_model_checkpoint": "no-such-model"},
        500,
        own("", error="RuntimeError", errors="model 'no-such-model' not found"),
    ),
)


@case("malformed JSON and an empty body are 422 in FastAPI's shape")
async def refuses_no_json(server: SdWebUi) -> None:
    shape = {"detail": Each({"loc": list, "msg": str, "type": str}, least=1)}
    for data in (b"{", b""):
        await server.refuses(
            "POST", "/sdapi/v1/txt2img", 422, shape, data=data, headers={"Content-Type": "application/json"}
        )


@case("an unknown route is 404, a wrong method 405, both in FastAPI's shape")
async def refuses_unknown_routes(server: SdWebUi) -> None:
    await server.refuses("GET", "/sdapi/v1/no-such-route", 404, {"detail": "Not Found"})
    await server.refuses("DELETE", "/sdapi/v1/txt2img", 405, {"detail": "Method Not Allowed"})


@case("a path with a slash at its end is redirected by 307")
async def a_slash_too_many(server: SdWebUi) -> None:
    reply = await server.send("GET", "/sdapi/v1/options/")
    check("GET options/", (307, True), (reply.status, reply.headers.get("Location", "").endswith("/sdapi/v1/options")))


@case("what is refused leaves the server idle")
async def refused_leaves_nothing(server: SdWebUi) -> None:
    await server.call("txt2img", {**SMALL, "steps": "x"})
    check("GET progress", {"progress": 0, "eta_relative": 0}, await server.progress())


@case("with --api-auth a caller without credentials, or with wrong ones, is 401 in the server's own shape")
async def refuses_strangers(server: SdWebUi) -> None:
    address = URL(server.url).with_user(None)
    for url, words in ((address, "Not authenticated"), (address.with_user("x").with_password("y"), "Incorrect.*")):
        stranger = await replace(server, url=str(url).rstrip("/")).send("GET", "/sdapi/v1/options")
        if stranger.status == 200:
            raise NotApplicableError("the server asks for no credentials")
        check("GET options", {"status": 401, "body": own(re.compile(words))}, stranger.shown())
