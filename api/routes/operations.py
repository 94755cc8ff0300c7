"""Probes, metrics, the OpenAPI document and the web page."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.errors import ApiError, UnavailableError
from api.pages import Pages
from api.services import services_of

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def make_routes(pages: Pages, openapi: bytes) -> list[Route]:
    """Returns the routes that need no key.

    Args:
        pages: the files of the web page.
        openapi: the OpenAPI document.
    """

    async def page(request: Request) -> Response:
        return pages.answer("index.html", request)

    async def docs(request: Request) -> Response:
        return pages.answer("docs.html", request)

    async def static(request: Request) -> Response:
        return pages.answer(request.path_params["name"], request)

    async def icon(request: Request) -> Response:
        return pages.answer("icon.svg", request)

    async def document(_: Request) -> Response:
        return Response(openapi, media_type="application/json")

    async def healthz(_: Request) -> Response:
        return json_answer({"status": "alive"})

    async def readyz(request: Request) -> Response:
        checks = await services_of(request).readiness.check()
        wrong = {name: outcome for name, outcome in checks.items() if outcome != "ok"}
        if wrong:
            reasons = "; ".join(f"{name}: {outcome}" for name, outcome in wrong.items())
            raise UnavailableError(f"not ready: {reasons}", code="not_ready", details=checks)
        return json_answer({"status": "ready", "checks": checks})

    async def metrics(request: Request) -> Response:
        return Response(services_of(request).front.metrics.text(), headers={"content-type": METRICS_TYPE})

    return [
        Route("/", page, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
        Route("/static/{name:path}", static, methods=["GET"]),
        Route("/favicon.ico", icon, methods=["GET"]),
        Route("/openapi.json", document, methods=["GET"]),
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


def unknown_route(path: str) -> ApiError:
    """Returns the 404 for a path that no route has."""
    shown = path if len(path) <= 80 else f"{path[:77]}…"
    return ApiError(404, "unknown_route", f"there is nothing at {shown}; GET /docs lists what there is")
