"""Disturbs answers as ordered faults say, alike for all types of server."""

import asyncio

from aiohttp import web

from fake_runtime.faults import FaultName, Struck

_LATE_SECONDS = 5.0


async def disturb(struck: Struck) -> web.Response | None:
    """Waits while an answer is to be late; returns the garbage that comes in its place, if so ordered."""
    if (slow := struck.get(FaultName.SLOW_RESPONSE)) is not None:
        await asyncio.sleep(_LATE_SECONDS if slow.seconds is None else slow.seconds)
    if FaultName.GARBAGE in struck:
        return web.Response(text="<html><body>Bad gateway</body></html>", content_type="text/html")
    return None
