"""Runs the sink: one thread that listens to the queue, one event loop that serves."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable

from aiohttp import web

from contract.heard_callbacks import Heard, Memory
from contract.hosts import AllowedHosts
from contract.processes import OursAlone
from contract.topology import Topology
from local.clients import Clients
from local.sink.lines import Lines
from local.sink.server import make_app, sentence
from local.sink.subscription import Listener


async def run_sink(
    clients: Clients,
    place: Topology,
    *,
    host: str,
    port: int,
    hosts: AllowedHosts,
    say: Callable[[str], None],
    lines: Lines | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM; with `lines`, hears what other processes say on standard input.

    Raises:
        OSError: the port is in use.
    """
    loop = asyncio.get_running_loop()
    memory = Memory()

    def remember(heard: Heard) -> None:
        memory.add(heard)
        say(sentence(heard))

    def hear(heard: Heard) -> None:
        loop.call_soon_threadsafe(remember, heard)

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    listener = Listener(clients, place, hear)
    logging.getLogger("aiohttp.server").addFilter(OursAlone())
    runner = web.AppRunner(make_app(memory, listener, hosts, lines), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    hearing = None if lines is None else asyncio.create_task(lines.hear(sys.stdin.buffer), name="hear")
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        listener.start()
        say(f"callbacks are shown at http://{host}:{port}")
        await stopped.wait()
    finally:
        if hearing is not None:
            hearing.cancel()
        await runner.cleanup()
