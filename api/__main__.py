"""`python -m api`: reads the settings and serves."""

from __future__ import annotations

import argparse
import gc
import sys

import structlog

from api.app import AwsFactory, create_app
from api.aws import open_aws
from api.cors import allowed_origins
from api.server import Server, server_config
from api.services import make_front
from api.settings import Settings, SettingsError, load_settings
from api.telemetry import configure_logging
from contract.config import Config, ConfigError, load_config
from contract.processes import leave, return_memory

_HELP = """\
Serves the HTTP API. Everything is set by environment variables:

  CONFIG_FILE             the deployment's config.yaml (config.yaml)
  TASK_TOPIC_ARN          where tasks are published; required
  CALLBACK_TOPIC_ARN      where callbacks are published; required
  S3_BUCKET               the output bucket; required
  API_KEYS                name=key,name2=key2; a name is a tenant with tasks of its own; empty: everybody may call
  API_ADMIN_KEYS          the same for keys that may read and cancel every tenant's tasks
  API_KEYS_SHARED         true: all keys share one space of tasks (false)
  GATEWAY_SECRET          what a gateway in front proves itself by; the keys above are the ids of its keys then
  GATEWAY_SECRET_ARN      the same, where AWS Secrets Manager has it
  HOST, PORT              where to listen (127.0.0.1, 8000; port 0: a free one)
  CORS_ALLOWED_ORIGINS    origins of browser applications, with commas between them, instead of config.yaml's
                          `APIGW.corsAllowedOrigins`; `*`: any; empty: none
  CORS_ALLOW_CREDENTIALS  whether they may send cookies (false)
  ALLOWED_HOSTS           host names that it answers to, besides localhost and IP addresses; empty: no others
                          when HOST is a loopback address, otherwise any; `*`: any
  ROOT_PATH               a gateway's prefix, such as /prod
  MAX_BODY_BYTES          largest request body (20971520)
  TASK_MESSAGE_BYTES      largest message that the task topic takes, by its MaximumMessageSize (262144)
  INPUT_MAX_BYTES         largest file that POST /v1/inputs takes (33554432); the agents' setting of this name
  UPLOAD_MAX_BYTES        largest file that comes in parts (INPUT_MAX_BYTES, but 33554432 at least)
  REQUEST_SECONDS         in which a request must have come (60), and one more for each 32 KiB of its body
  CDN_BASE_URL            links to results go there instead of to S3
  PUBLIC_S3_ENDPOINT_URL  the S3 endpoint as clients reach it
  PRESIGNED_SECONDS       how long links work (3600)
  MAX_EVENT_STREAMS       event streams and waiting submissions open at once (1000); one API key gets half of them
  MAX_WAIT_SECONDS        that `POST /v1/tasks?wait=` waits at most (60); less than a proxy in front does
  CALLBACK_ERRORS         true: callbacks say `status` and `error` in their JSON too, as the agents' do (false)
  WEBHOOK_SECRETS         what signs webhooks: a root of all tenants' secrets, tenant=whsec_…, with commas between them;
                          empty: tasks may name none
  WEBHOOK_SECRETS_ARN     the same, where AWS Secrets Manager has it
  WEBHOOK_ALLOWED_ORIGINS receivers that need be neither https nor public
  WEBHOOK_LOOK_SECONDS    after which the deliverer looks at a task whose end it has not heard of (900)
  COMFY_API               true: Comfy's own clients are served, by its API v2 at /api/v2 (false)
  KEEP_REQUESTS           false: what tasks ask for is not kept, so that none can be shown or retried (true)
  GRACE_PERIOD_SECONDS    how long requests may take to end after SIGTERM (10)
  AWS_ENDPOINT_URL, AWS_REGION and AWS credentials as usual
  LOG_LEVEL, LOG_FORMAT   INFO; json or console
  OTEL_EXPORTER_OTLP_ENDPOINT   where traces go; empty: no tracing
"""


def main(arguments: list[str] | None = None) -> int:
    """Serves until a signal ends it; returns the exit code (2: the settings are wrong)."""
    parser = argparse.ArgumentParser(
        prog="python -m api", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(arguments)
    try:
        settings = load_settings()
        config = load_config(settings.config_file)
        allowed_origins(settings, config)
    except (SettingsError, ConfigError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings)
    return serve(settings, config)


def serve(settings: Settings, config: Config, *, aws: AwsFactory = open_aws) -> int:
    """Serves; returns 1 when it cannot, such as when the port is in use.

    Args:
        settings: of this process.
        config: of the deployment.
        aws: opens the AWS clients; another one than the real one serves to measure the API alone.
    """
    log = structlog.get_logger("api")
    return_memory()
    front = make_front(settings, config)
    app = create_app(settings, config, aws=aws, front=front)
    server = Server(
        server_config(app, settings, allowed_origins(settings, config)),
        front.stopping,
        lambda address: log.info("listening", address=address),
    )
    # Each request leaves little behind; the collector need not look through everything that was loaded, nor so often.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        server.run()
    except SystemExit:
        # uvicorn has logged why, such as a port in use.
        return 1
    except KeyboardInterrupt:
        return 0
    return 0 if server.started else 1


if __name__ == "__main__":
    leave(main())
