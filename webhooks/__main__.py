"""`python -m webhooks`: delivers webhooks from their queue."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import Final

import uvloop

from contract.processes import leave, return_memory
from contract.worker_logs import configure_logging
from contract.worker_probes import CannotListenError
from webhooks.application import run_deliverer
from webhooks.settings import Settings, SettingsError, describe_settings, load_settings

EXIT_SETTINGS: Final = 2


def main() -> int:
    """Reads the environment, delivers until a signal comes, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m webhooks",
        description="Delivers the events of tasks to the webhooks that their requests name.",
        epilog=f"environment variables:\n{describe_settings()}\n\nAWS credentials are found as usual.\n\n"
        f"exit status: 0 ended by a signal, {EXIT_SETTINGS} wrong settings.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        settings = load_settings()
    except SettingsError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"webhooks: {line}\n")
        return EXIT_SETTINGS
    configure_logging(settings.log_level, settings.log_format)
    return_memory()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except CannotListenError as error:
        sys.stderr.write(f"webhooks: HEALTH_HOST, HEALTH_PORT: {error}\n")
        return EXIT_SETTINGS
    return 0


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_deliverer(settings, stop)


if __name__ == "__main__":
    leave(main())
