"""What SD Web UI does around every request: it compresses, answers errors, and asks for credentials."""

import base64
import binascii
import gzip
import hmac
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from fake_runtime.gpu import memory
from fake_runtime.sdwebui import errors
from fake_runtime.sdwebui.errors import FaultAnswerError, RequestValidationError, WebUiError

log = structlog.get_logger(__name__)

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COMPRESSED_BYTES = 1000


def middlewares(api_auth: str | None) -> list[Middleware]:
    """All of them, the outermost first.

    Args:
        api_auth: ``USER:PASSWORD`` that callers must send; None if anybody may call.
    """
    return [_compress, _answer_errors, *([] if api_auth is None else [_authenticate(api_auth)])]


@web.middleware
async def _compress(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Compresses longer answers for whoever takes it; the event loop waits, as it does for GZipMiddleware."""
    answer = await handler(request)
    if "gzip" not in request.headers.get("Accept-Encoding", "") or not isinstance(answer, web.Response):
        return answer
    if isinstance(answer.body, bytes) and len(answer.body) >= COMPRESSED_BYTES:
        answer.body = gzip.compress(answer.body)
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Vary"] = "Accept-Encoding"
    return answer


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (WebUiError, RequestValidationError) as error:
        return error.response()
    except FaultAnswerError as error:
        return error.response
    except memory.OutOfMemoryError as error:
        return WebUiError(500, error="OutOfMemoryError", errors=str(error)).response()
    except web.HTTPException as error:
        if (answer := _no_such_route(request, error)) is None:
            raise
        return answer
    except Exception as error:  # noqa: BLE001 - the original's handler answers every exception in this shape
        log.warning("a request failed", path=request.path, error=repr(error))
        return WebUiError(500, error=type(error).__name__, errors=str(error)).response()


def _no_such_route(request: web.Request, error: web.HTTPException) -> web.Response | None:
    """FastAPI's answer to a route or a method that is not there; a slash too many it redirects."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return errors.not_allowed(error.allowed_methods)
    if not isinstance(error, web.HTTPNotFound):
        return None
    path = request.path.rstrip("/")
    if path != request.path and path in {resource.canonical for resource in request.app.router.resources()}:
        return web.Response(status=307, headers={"Location": str(request.url.with_path(path))})
    return errors.not_found()


def _authenticate(expected: str) -> Middleware:
    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/sdapi/"):
            return await handler(request)
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            raise WebUiError(401, detail="Not authenticated")
        try:
            given = base64.b64decode(credentials, validate=True)
        except binascii.Error as error:
            raise WebUiError(401, detail="Invalid authentication credentials") from error
        if not hmac.compare_digest(given, expected.encode()):
            raise WebUiError(401, detail="Incorrect username or password")
        return await handler(request)

    return authenticate
