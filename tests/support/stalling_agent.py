"""`python -m tests.support.stalling_agent`: an agent whose event loop is blocked for two seconds again and again."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import structlog

from agent import __main__ as program
from agent.application import run_agent
from agent.settings import Settings

STALL: Final = 2.0
FREE: Final = 0.7
"""Seconds between two stalls."""


async def _run_agent(settings: Settings, stop: asyncio.Event) -> bool:
    stalling = asyncio.create_task(_stall())
    try:
        return await run_agent(settings, stop)
    finally:
        stalling.cancel()


async def _stall() -> None:
    while True:
        await asyncio.sleep(FREE)
        structlog.get_logger().info("stalled", seconds=STALL)
        time.sleep(STALL)  # noqa: ASYNC251 - that is the point


if __name__ == "__main__":
    vars(program)["run_agent"] = _run_agent
    sys.exit(program.main())
