"""`python -m api.sample`: reads the settings and serves."""

from __future__ import annotations

import argparse
import sys

import structlog
import uvicorn

from api.sample.app import create_sample
from api.sample.settings import load_sample_settings
from api.settings import SettingsError
from contract.worker_logs import configure_logging

_HELP = """\
Serves the console from a place of its own, hands calls on to an API with the caller's key, and shows the callbacks of a
queue. Everything is set by environment variables:

  API_URL             the API's address, such as https://….amazonaws.com/prod/; required
  CALLBACK_QUEUE_URL  a queue that is subscribed to the callback topic with raw message delivery; required
  HOST, PORT          where to listen (127.0.0.1, 8080)
  ALLOWED_HOSTS       host names that it answers to, besides localhost and IP addresses; empty: no others when HOST is a
                      loopback address, otherwise any
  IMAGE_SOURCES       origins from which the page shows results, with spaces between them
  UPLOAD_SOURCES      origins to which the page sends the parts of large files, with spaces between them
  LOG_LEVEL, LOG_FORMAT   INFO; json or console
  AWS_ENDPOINT_URL, AWS_REGION and AWS credentials as usual
"""


def main() -> int:
    """Serves until a signal ends it; returns the exit code (2: the settings are wrong)."""
    parser = argparse.ArgumentParser(
        prog="python -m api.sample", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    try:
        settings = load_sample_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings.log_level, settings.log_format)
    structlog.get_logger("sample").info("serving", host=settings.host, port=settings.port, api=settings.api_url)
    uvicorn.run(
        create_sample(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        # Longer than the load balancer's own, so that it never meets a connection that has just been closed.
        timeout_keep_alive=130,
        # Event streams would never end by themselves.
        timeout_graceful_shutdown=5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
