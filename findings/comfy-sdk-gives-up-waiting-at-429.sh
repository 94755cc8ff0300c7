#!/usr/bin/env bash
# comfy-sdk gives up waiting for a job at the first 429 with Retry-After, although its own contract says of any such answer
# "back off and retry" (`ErrorEnvelope` in comfy_low/models/_generated.py), and `submit` and `list_jobs` do so.
# The job runs on; whoever waits for many at once behind a throttle has to catch it and call `wait` again.
# Needs uv. Exits 0 while it behaves so, 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet --python 3.13 "$folder/venv"
uv pip install --quiet --python "$folder/venv/bin/python" comfy-sdk==0.5.0
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import json
import os
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JOB = {
    "id": "7f3d2c1b-9a8e-4d6f-b012-3c4d5e6f7a8b",
    "status": "succeeded",
    "created_at": "2026-11-30T00:00:00Z",
    "started_at": None,
    "completed_at": None,
    "expires_at": "2026-12-30T00:00:00Z",
    "queue_position": None,
    "progress": None,
    "outputs": [],
    "error": None,
    "urls": {name: f"/api/v2/jobs/7f3d2c1b-9a8e-4d6f-b012-3c4d5e6f7a8b/{name}" for name in ("self", "events", "cancel")},
}
ERROR = {"error": {"code": "queue_full", "message": "slow down", "details": None}}
asked = Counter()


class Server(BaseHTTPRequestHandler):
    """Answers the first request of each method 429 with Retry-After, the next ones with the job."""

    def answer(self, status):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked[self.command] += 1
        first = asked[self.command] == 1
        body = json.dumps(ERROR if first else JOB).encode()
        self.send_response(429 if first else status)
        if first:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.answer(201)

    def do_GET(self):
        self.answer(200)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["COMFY_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"

from comfy_sdk import Comfy, QueueFull  # noqa: E402

print("comfy-sdk", importlib.metadata.version("comfy-sdk"))
client = Comfy()
job = client.submit(client.workflows.from_json({"1": {"class_type": "A", "inputs": {}}}))
print("submit: requests:", asked["POST"], "the job is", job.status)
raised = None
try:
    job.wait()
except QueueFull as error:
    raised = error
print("wait: requests:", asked["GET"], "raised:", repr(raised), "retry_after:", raised and raised.retry_after)
print("wait, called again: the job is", job.wait().status)
assert asked["POST"] == 2 and raised is not None and raised.retry_after == 1
PYTHON
