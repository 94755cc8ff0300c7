"""Puts the API together: routes, middleware, error answers, and the AWS clients' lifetime."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

import orjson
import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from api.aws import Aws, open_aws
from api.errors import ApiError
from api.middleware import Gate, Observation, Paths
from api.openapi import openapi_document
from api.pages import Pages
from api.routes import task, v1, v1alpha1, v1alpha2
from api.routes.operations import make_router, unknown_route
from api.services import Front, make_front, make_services
from api.settings import Settings
from contract.config import Config

AwsFactory = Callable[[Settings], AbstractAsyncContextManager[Aws]]

_log = structlog.get_logger(__name__)


def create_app(
    settings: Settings, config: Config, *, aws: AwsFactory = open_aws, front: Front | None = None
) -> ASGIApp:
    """Returns the ASGI application.

    Args:
        settings: of this process.
        config: of the deployment.
        aws: opens the AWS clients; another one than the real one serves to measure the API alone.
        front: the parts that need no AWS, when the caller wants to keep hold of them.
    """
    front = front or make_front(settings, config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aws(settings) as clients:
            app.state.services = make_services(front, clients)
            if front.keys.open:
                _log.warning("API_KEYS is empty: this API is OPEN to everybody who can reach it")
            yield
        front.tracer.close()

    app = FastAPI(
        title="Darkroom",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        exception_handlers={ApiError: _api_error, HTTPException: _http_error},
    )
    document = openapi_document(config, root_path=settings.root_path, keys_needed=not front.keys.open)
    for router in (v1alpha2.router, v1alpha1.router, task.router, v1.router):
        app.include_router(router)
    app.include_router(make_router(Pages(image_sources(settings)), orjson.dumps(document)))
    gate = Gate(app, front.keys, front.throttle, front.metrics)
    return Paths(Observation(gate, front.metrics, front.tracer), settings.root_path)


def image_sources(settings: Settings) -> list[str]:
    """Returns the origins from which the web page shows images."""
    address = settings.cdn_base_url or settings.public_s3_endpoint_url or settings.aws_endpoint_url
    if not address:
        return [f"https://{settings.s3_bucket}.s3.{settings.aws_region}.amazonaws.com", "https://*.amazonaws.com"]
    parts = urlsplit(address)
    return [f"{parts.scheme}://{parts.netloc}"]


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.answer()


async def _http_error(request: Request, error: Exception) -> Response:
    """Puts the framework's own errors into our shape."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return unknown_route(request.url.path).answer()
    if error.status_code == 405:
        allowed = headers.get("Allow", "")
        return ApiError(
            405, "method_not_allowed", f"this path does not have {request.method}; it has {allowed}", headers=headers
        ).answer()
    return ApiError(error.status_code, "refused", str(error.detail), headers=headers).answer()
