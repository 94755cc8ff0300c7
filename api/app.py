"""Puts the API together: routes, middleware, error answers, and the AWS clients' lifetime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

import orjson
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp

from api.aws import Aws, open_aws
from api.callers import ByGateway
from api.cors import with_cors
from api.errors import ApiError
from api.hosts import Hosts
from api.middleware import Gate, Observation, Paths, internal_error
from api.openapi.document import openapi_document
from api.pages import Pages
from api.routes import (
    again,
    agents,
    dead_letters,
    environments,
    events,
    history,
    task,
    uploads,
    usage,
    v1,
    v1alpha1,
    v1alpha2,
    webhooks,
    workflows,
)
from api.routes.operations import make_routes, unknown_route
from api.services import Front, make_front, make_services
from api.settings import Settings
from contract.config import Config
from contract.origins import bucket_origins
from contract.secret_store import read_secrets
from contract.webhook_secrets import Secrets

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
    comfy = _ComfyV2() if settings.comfy_api else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with aws(settings) as clients:
            services = app.state.services = make_services(front, clients)
            if comfy is not None:
                app.state.comfy = comfy.make(services, clients)
            place = {"region": settings.aws_region, "endpoint": settings.aws_endpoint_url}
            if isinstance(front.callers, ByGateway) and settings.gateway_secret_arn:
                front.callers.believe(await read_secrets(settings.gateway_secret_arn, **place))
            if settings.webhook_secrets_arn:
                found = await read_secrets(settings.webhook_secrets_arn, **place)
                services.webhooks.secrets = Secrets.parse(",".join(item.get_secret_value() for item in found))
            if front.callers.open:
                _log.warning("API_KEYS and API_ADMIN_KEYS are empty: this API is OPEN to everybody who can reach it")
            loops = {asyncio.create_task(loop()) for loop in services.loops}
            yield
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)
            await services.feeds.close()
            await services.task_lists.flush()
        front.tracer.close()

    document = openapi_document(
        config, root_path=settings.root_path, keys_needed=not front.callers.open, sample_image=settings.sample_image
    )
    routes: list[Route] = [
        *(v1alpha2.ROUTES + v1alpha1.ROUTES + task.ROUTES),
        *(v1.ROUTES + uploads.ROUTES + history.ROUTES + again.ROUTES + dead_letters.ROUTES),
        *(events.ROUTES + webhooks.ROUTES + workflows.ROUTES + agents.ROUTES + usage.ROUTES),
        *environments.ROUTES,
        *(comfy.routes if comfy is not None else ()),
        *make_routes(_pages(settings), orjson.dumps(document)),
    ]
    app = Starlette(
        routes=list[BaseRoute](routes),
        lifespan=lifespan,
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _fault},
    )
    # Paths takes a trailing slash off.
    app.router.redirect_slashes = False
    gate: ASGIApp = Gate(app, front.callers, front.throttle, front.metrics)
    if comfy is not None:
        gate = comfy.before(gate, front.streams)
    hosts = Hosts(gate, settings.hosts())
    observed = Observation(hosts, front.metrics, front.tracer, {route.endpoint: route.path for route in routes})
    return Paths(with_cors(observed, settings, config), settings.root_path)


class _ComfyV2:
    """Comfy's API v2, which is imported where it is on, and nowhere else."""

    def __init__(self) -> None:
        from api.comfy_v2 import front, routes  # noqa: PLC0415 - see above

        self.routes, self.make, self.before = routes.ROUTES, routes.make_comfy, front.before


def _pages(settings: Settings) -> Pages:
    uploads = upload_sources(settings)
    return Pages(image_sources(settings, uploads), uploads, settings.callback_sink_url)


def upload_sources(settings: Settings) -> list[str]:
    """Returns the origins to which links for the parts of files may lead."""
    address = settings.public_s3_endpoint_url or settings.aws_endpoint_url
    return [_origin(address)] if address else bucket_origins(settings.s3_bucket, settings.aws_region)


def image_sources(settings: Settings, s3: list[str]) -> list[str]:
    """Returns the origins from which the web page shows images."""
    if settings.cdn_base_url:
        return [_origin(settings.cdn_base_url)]
    emulated = settings.public_s3_endpoint_url or settings.aws_endpoint_url
    return s3 if emulated else [*s3, "https://*.amazonaws.com"]


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.answer()


async def _fault(request: Request, _: Exception) -> Response:
    """Answers for a fault of ours; the framework raises it again, and the middleware logs it."""
    return internal_error(request.scope).answer()


async def _http_error(request: Request, error: Exception) -> Response:
    """Puts the framework's own errors into our shape."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return unknown_route(request.url.path).answer()
    if error.status_code == 405:
        allowed = headers["Allow"] = ", ".join(_allowed_methods(request))
        return ApiError(
            405, "method_not_allowed", f"this path does not have {request.method}; it has {allowed}", headers=headers
        ).answer()
    return ApiError(error.status_code, "refused", str(error.detail), headers=headers).answer()


def _allowed_methods(request: Request) -> list[str]:
    """Returns the methods of a path, which several routes may share."""
    allowed: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            allowed |= route.methods or set()
    return sorted(allowed)
