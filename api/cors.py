"""Lets browser applications of other origins use the API, if any are named (Fetch standard, "CORS protocol").

It goes around everything else, so that errors carry the headers too: a page could not read why it was refused.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from api.errors import ApiError
from api.settings import Settings, SettingsError
from contract.config import Config
from contract.origins import ANY

METHODS: Final = ("GET", "HEAD", "POST", "DELETE")
REQUEST_HEADERS: Final = ("content-type", "x-api-key", "idempotency-key", "last-event-id", "x-amzn-trace-id")
EXPOSED_HEADERS: Final = ("Location", "Retry-After", "WWW-Authenticate", "Allow", "X-Darkroom-Warning")
MAX_AGE: Final = 600
"""Seconds for which a browser remembers a preflight's answer."""


def allowed_origins(settings: Settings, config: Config) -> tuple[str, ...]:
    """Returns the origins of the environment, otherwise those of config.yaml.

    Raises:
        SettingsError: every origin is allowed, with credentials: any page could act for whoever opens it.
    """
    origins = settings.cors_allowed_origins or config.api_gateway.cors_allowed_origins
    if settings.cors_allow_credentials and ANY in origins:
        raise SettingsError(
            "CORS_ALLOW_CREDENTIALS: cannot be true while every origin is allowed ('*'): any web page could act for "
            "whoever opens it; name the origins in CORS_ALLOWED_ORIGINS"
        )
    return origins


def with_cors(app: ASGIApp, settings: Settings, config: Config) -> ASGIApp:
    """Returns the application with the headers for the origins that are allowed; itself when none is."""
    origins = allowed_origins(settings, config)
    if not origins:
        return app
    return _Cors(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=REQUEST_HEADERS,
        allow_credentials=settings.cors_allow_credentials,
        # Chromium asks so before a page of the internet reaches this machine or network; these origins were named.
        allow_private_network=True,
        expose_headers=EXPOSED_HEADERS,
        max_age=MAX_AGE,
    )


class _Cors(CORSMiddleware):
    """Starlette's, but a preflight that is refused has our shape of errors."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answers whether a request may be sent."""
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        origin = request_headers["origin"][:200]
        what = bytes(answer.body).decode().removeprefix("Disallowed CORS ")
        refusal = ApiError(
            400,
            "cors_refused",
            f"not allowed for a page of {origin}: {what}; CORS_ALLOWED_ORIGINS names the origins, the methods are "
            f"{', '.join(METHODS)}, the headers {', '.join(REQUEST_HEADERS)}",
            details={"origin": origin},
        ).answer()
        for name, value in answer.headers.items():
            if name.startswith("access-control-") or name == "vary":
                refusal.headers[name] = value
        return refusal
