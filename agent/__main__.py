"""`python -m agent`: feeds one runtime from one queue."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

import structlog

from agent.application import run_agent
from agent.marks.signer import WrongSignerError
from agent.settings import Settings, SettingsError, describe_settings, load_settings
from contract.processes import EXIT_RESTART_RUNTIME, leave, return_memory
from contract.worker_logs import configure_logging
from contract.worker_probes import CannotListenError

EXIT_SETTINGS: Final = 2
EXIT_AT_ONCE: Final = 128 + signal.SIGTERM

_SAME_REQUEST: Final = 0.5
"""Seconds within which a second signal is the same request: a terminal and a supervisor may both pass on one Ctrl-C."""


def main() -> int:
    """Reads the environment, runs the agent, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m agent",
        description="Takes tasks from an SQS queue, runs them on a Stable Diffusion runtime, and stores the images.",
        epilog=f"environment variables:\n{describe_settings()}\n\nAWS credentials are found as usual.\n\n"
        f"exit status: 0 ended by a signal, {EXIT_SETTINGS} wrong settings, {EXIT_RESTART_RUNTIME} asks for a restart "
        f"of the runtime and then of\nthis agent (RECYCLE_BY=exit), {EXIT_AT_ONCE} ended by a second signal.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        settings = load_settings()
    except SettingsError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"agent: {line}\n")
        return EXIT_SETTINGS
    configure_logging(settings.log_level, settings.log_format)
    return_memory()
    # Each task leaves little behind; the collector need not look through everything that was loaded, nor so often.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            wants_runtime_restarted = runner.run(_serve(settings))
    except CannotListenError as error:
        sys.stderr.write(f"agent: HEALTH_HOST, HEALTH_PORT: {error}\n")
        return EXIT_SETTINGS
    except WrongSignerError as error:
        sys.stderr.write(f"agent: CREDENTIALS_SIGNER or outputs.signingSecretArn: {error}\n")
        return EXIT_SETTINGS
    return EXIT_RESTART_RUNTIME if wants_runtime_restarted else 0


async def _serve(settings: Settings) -> bool:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    asked_at = 0.0

    def on_signal(number: int) -> None:
        nonlocal asked_at
        if stop.is_set():
            if loop.time() - asked_at < _SAME_REQUEST:
                return
            # Asked twice: leave now. What is held comes back when its visibility timeout ends.
            structlog.get_logger().warning("leaving_at_once", signal=signal.Signals(number).name)
            os._exit(EXIT_AT_ONCE)
        asked_at = loop.time()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return await run_agent(settings, stop)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Returns uvloop's loop where uvloop is installed."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    leave(main())
