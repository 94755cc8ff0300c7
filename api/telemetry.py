"""Structured logs, trace headers, and OpenTelemetry spans when an endpoint for them is configured."""

from __future__ import annotations

import logging
import re
import secrets
import sys
import time
from typing import Any, Final

import orjson
import structlog

from api.settings import Settings

TRACE_HEADER: Final = "x-amzn-trace-id"

_TRACE: Final = re.compile(r"[A-Za-z]{1,10}=[-A-Za-z0-9:.]{1,100}(?:;\s?[A-Za-z]{1,10}=[-A-Za-z0-9:.]{1,100}){0,9}")


def trace_header(incoming: str | None) -> str:
    """Returns the request's X-Ray trace header, or a new one when it has none that is well formed.

    The format is `Root=1-{seconds, 8 hex}-{24 hex};…` (AWS X-Ray, "Tracing header").
    """
    if incoming and len(incoming) <= 400 and "Root=" in incoming and _TRACE.fullmatch(incoming):
        return incoming
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}"


def _json(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


def configure_logging(settings: Settings) -> None:
    """Sends our own and the server's log lines to standard output, one JSON object or coloured line each."""
    level = getattr(logging, settings.log_level)
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
        if settings.log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(
                # The pretty traceback shows local variables, prompts and keys among them.
                colors=sys.stdout.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
