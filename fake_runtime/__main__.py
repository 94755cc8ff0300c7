"""Starts one fake runtime: ``python -m fake_runtime --type sdwebui --port 7860``."""

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import structlog
from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from fake_runtime.app import create_app, listening_socket, read_faults, start
from fake_runtime.comfyui.catalogue import CatalogueError, known_classes
from fake_runtime.faults import Fault, FaultError, FaultName
from fake_runtime.settings import Settings

log = structlog.get_logger("fake_runtime")
SLOW_START_SECONDS = 5.0
PATIENCE_SECONDS = 24 * 3600.0


def read_arguments(arguments: list[str]) -> tuple[Settings, list[Fault]]:
    """Reads the command line and the environment.

    Raises:
        SystemExit: something is wrong; standard error has one line for each mistake.
    """
    try:
        settings = CliApp.run(Settings, cli_args=arguments)
        if settings.type == "comfyui":
            known_classes(settings.catalogue)
        return settings, read_faults(settings)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            option = "--" + ".".join(str(part) for part in detail["loc"]).replace("_", "-")
            sys.stderr.write(f"fake_runtime: {option}: {detail['msg']}; see --help\n")
    except SettingsError as error:
        sys.stderr.write(f"fake_runtime: {error}; see --help\n")
    except FaultError as error:
        sys.stderr.write(f"fake_runtime: --fault: {error}\n")
    except CatalogueError as error:
        sys.stderr.write(f"fake_runtime: --catalogue: {error}\n")
    raise SystemExit(2)


def configure_logging(level: str, log_format: str) -> None:
    """Logs go to standard error; standard output has the address only."""
    console = structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            console if log_format == "console" else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def leave_on_signal(loop: asyncio.AbstractEventLoop, scratch: Path | None) -> None:
    """Ends at once on SIGTERM and SIGINT, as ComfyUI and a server that starts do: whatever runs is lost."""

    def leave(number: signal.Signals) -> None:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        sys.stderr.flush()
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave, number)


async def _start_faults(faults: list[Fault]) -> None:
    for fault in faults:
        if fault.name is FaultName.SLOW_START:
            await asyncio.sleep(SLOW_START_SECONDS if fault.seconds is None else fault.seconds)
        if fault.name is FaultName.DEAD_START:
            await asyncio.sleep(fault.seconds or 0)
            sys.stderr.write(f"RuntimeError: {fault.message or 'Found no NVIDIA driver on your system.'}\n")
            sys.stderr.flush()
            os._exit(1 if fault.status is None else fault.status)


def scratch_folder(settings: Settings) -> Path | None:
    """A folder for ComfyUI's or InvokeAI's files that goes when the process goes; None if it is not needed.

    Raises:
        SystemExit: files cannot be kept where they should.
    """
    if settings.type in {"sdwebui", "openai"}:
        return None
    try:
        if settings.directory is None:
            return Path(tempfile.mkdtemp(prefix=f"fake-{settings.type}-"))
        settings.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        where = settings.directory or "the folder for temporary files"
        sys.stderr.write(
            f"fake_runtime: cannot write to {where}: {error.strerror}; name a writable folder with --directory, "
            "or give a container a tmpfs at /tmp\n"
        )
        raise SystemExit(1) from error
    return None


async def serve(settings: Settings, faults: list[Fault]) -> None:
    """Serves until a signal comes.

    The port is opened only when start-up is over: while a real server loads, connections are refused.
    """
    scratch = scratch_folder(settings)
    leave_on_signal(asyncio.get_running_loop(), scratch)
    await asyncio.sleep(settings.boot_seconds * settings.latency)
    await _start_faults(faults)
    try:
        listener = listening_socket(settings.host, settings.port)
    except OSError as error:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        sys.stderr.write(
            f"fake_runtime: cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "choose another --port, or 0 for a free one\n"
        )
        raise SystemExit(1) from error
    host, port = listener.getsockname()[:2]
    app = create_app(settings.model_copy(update={"port": port}), faults, directory=scratch)
    runner = await start(app, listener, shutdown_timeout=PATIENCE_SECONDS)
    sys.stdout.write(f"fake {settings.type} listening on http://{f'[{host}]' if ':' in host else host}:{port}\n")
    sys.stdout.flush()
    log.info("listening", type=settings.type, host=host, port=port, latency=settings.latency, faults=settings.fault)
    terminated = asyncio.Event()
    if settings.type in {"sdwebui", "openai"}:
        # uvicorn, which serves the originals, answers what it has taken before it ends.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    await terminated.wait()
    await runner.cleanup()
    raise SystemExit(128 + signal.SIGTERM)


def main() -> None:
    """Entry point."""
    settings, faults = read_arguments(sys.argv[1:])
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(serve(settings, faults))


if __name__ == "__main__":
    main()
