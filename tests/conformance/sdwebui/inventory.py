"""What an SD Web UI server says of itself."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Case, case, check
from tests.conformance.sdwebui.client import SdWebUi
from tests.conformance.shapes import ANY, Each, OneOf

_LISTINGS: dict[str, dict[str, Any]] = {
    "samplers": {"name": str, "aliases": list, "options": dict},
    "upscalers": {
        "name": str,
        "model_name": OneOf(str, None),
        "model_path": OneOf(str, None),
        "scale": OneOf(float, None),
    },
    "sd-models": {
        "title": str,
        "model_name": str,
        "hash": OneOf(str, None),
        "sha256": OneOf(str, None),
        "filename": str,
    },
    "sd-vae": {"model_name": str, "filename": str},
    "face-restorers": {"name": str},
    "hypernetworks": {"name": str},
    "prompt-styles": {"name": str, "prompt": OneOf(str, None), "negative_prompt": OneOf(str, None)},
}


def _listing(name: str, least: int) -> Case:
    async def listed(server: SdWebUi) -> None:
        check(f"GET {name}", Each(_LISTINGS[name], least=least), await server.get(f"/sdapi/v1/{name}"))

    return Case(f"lists-{name}", f"GET {name} is a list of objects with {', '.join(_LISTINGS[name])}", listed)


LISTINGS = tuple(_listing(name, name in {"samplers", "upscalers", "sd-models"}) for name in _LISTINGS)


@case("GET options is one flat object, with the checkpoint that is loaded")
async def options(server: SdWebUi) -> None:
    check("GET options", {"sd_model_checkpoint": OneOf(str, None)}, await server.get("/sdapi/v1/options"))


@case("GET progress of an idle server is 0, with no time left and the state's fields")
async def idle_progress(server: SdWebUi) -> None:
    state: dict[str, Any] = dict.fromkeys(
        ("skipped", "interrupted", "job", "job_count", "job_timestamp", "job_no"), ANY
    )
    state |= {"sampling_step": int, "sampling_steps": int}
    shape = {"progress": 0, "eta_relative": 0, "state": state, "current_image": None, "textinfo": OneOf(str, None)}
    check("GET progress", shape, await server.get("/sdapi/v1/progress"))


@case("GET memory tells of ram and cuda, the latter as an error without a GPU")
async def memory(server: SdWebUi) -> None:
    shape = {"ram": OneOf({"free": float, "used": float, "total": float}, {"error": str}), "cuda": dict}
    check("GET memory", shape, await server.get("/sdapi/v1/memory"))


@case("GET scripts lists names by where they are offered")
async def scripts(server: SdWebUi) -> None:
    check("GET scripts", {"txt2img": Each(str), "img2img": Each(str)}, await server.get("/sdapi/v1/scripts"))


@case("answers of 1000 bytes and more come compressed to callers who take gzip, and plain to others")
async def compression(server: SdWebUi) -> None:
    for accepted, came in (("gzip", "gzip"), ("identity", None)):
        reply = await server.send("GET", "/sdapi/v1/samplers", headers={"Accept-Encoding": accepted})
        check(f"the encoding for {accepted}", came, reply.headers.get("Content-Encoding"))
        check("its length is told", True, "Content-Length" in reply.headers)
        check("GET samplers", Each(dict, least=5), reply.body)


@case("the commands that refresh answer null")
async def refreshing(server: SdWebUi) -> None:
    for name in ("refresh-checkpoints", "refresh-vae", "refresh-embeddings"):
        reply = await server.call(name, {})
        check(f"POST {name}", {"status": 200, "body": None}, reply.shown())
