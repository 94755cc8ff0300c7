"""Logs hold no content; spans continue the request's trace, and cost nothing when nobody wants them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from agent.operations.telemetry import NoTracer
from contract.worker_logs import configure_logging

ROOT = Path(__file__).parents[3]

TRACED = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

spans = []

class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                spans.extend((span.name, span.trace_id.hex(), span.parent_span_id.hex()) for span in scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Collector)
Thread(target=server.serve_forever, daemon=True).start()

import os
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
from agent.settings import load_settings
from agent.operations.telemetry import make_tracer

tracer = make_tracer(load_settings())
with tracer.span("run", "Root=1-6b016d55-0e07cad5c3eec9fbfb5c2e43;Parent=53995c3f42cd8ad8;Sampled=1", task_id="t"):
    pass
with tracer.span("run", None):
    pass
tracer.close()
print(json.dumps(spans))
"""

ENVIRONMENT = {
    "RUNTIME_NAME": "sdruntime",
    "RUNTIME_TYPE": "sdwebui",
    "API_BASE_URL": "http://127.0.0.1:7860",
    "SQS_QUEUE_URL": "http://127.0.0.1:4566/000000000000/queue",
    "SNS_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:topic",
    "S3_BUCKET": "bucket",
    "AWS_REGION": "us-east-1",
}


def test_spans_continue_the_trace_of_the_request() -> None:
    # A process of its own: OpenTelemetry must not be imported into the other tests'.
    done = subprocess.run(
        [sys.executable, "-c", TRACED],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    continued, fresh = json.loads(done.stdout)
    assert continued == ["run", "6b016d550e07cad5c3eec9fbfb5c2e43", "53995c3f42cd8ad8"]
    assert fresh[1] != continued[1]
    assert fresh[2] == ""


def test_neither_open_telemetry_without_an_endpoint_nor_yaml_is_even_imported() -> None:
    code = (
        "import sys; from agent.settings import load_settings; from agent.operations.telemetry import make_tracer; "
        "make_tracer(load_settings()); import agent.application; "
        "sys.exit(any(name.startswith(('opentelemetry', 'yaml')) for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, cwd=ROOT, capture_output=True, timeout=30, check=False
    )

    assert done.returncode == 0, done.stderr


def test_no_tracing_takes_any_header() -> None:
    with NoTracer().span("run", "rubbish", task_id="t"):
        pass


def test_a_json_line_holds_the_task_id_and_a_trace_without_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    secret = "a prompt that nobody else may read"
    try:
        with structlog.contextvars.bound_contextvars(task_id="t"):
            try:
                raise ValueError(len(secret))
            except ValueError:
                structlog.get_logger().exception("failed")
        structlog.get_logger().debug("hidden")
    finally:
        structlog.reset_defaults()

    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["task_id"], entry["event"], entry["level"]) == ("t", "failed", "error")
    assert secret not in line
