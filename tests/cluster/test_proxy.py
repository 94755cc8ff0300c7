"""Busy seconds of GPUs come through the API server's own proxy, by the number of the agent's port."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.config import load_config
from loadtest.observe.kubernetes import KubernetesReplicas
from tests.cluster.running import Running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

NAME = "proxied"
METRICS = b"darkroom_agent_busy_seconds_total 12.5\n"


class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        self.wfile.write(METRICS)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


@pytest.fixture
def agent() -> Iterator[tuple[str, int]]:
    """What an agent shows, at an address of this machine that is no loopback address: an API server refuses those."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_way:
        try:
            any_way.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but that of its loopback interface")
        address = any_way.getsockname()[0]
    with http.server.ThreadingHTTPServer((address, 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield address, server.server_port
        server.shutdown()


@pytest.fixture
def pod(cluster: Running, agent: tuple[str, int]) -> Iterator[str]:
    """A ready pod of a runtime, on no node, with that address."""
    address, port = agent
    labels = {"app.kubernetes.io/instance": "sdruntime", "app.kubernetes.io/component": "runtime"}
    container = {"name": "queue-agent", "image": "a", "ports": [{"name": "health", "containerPort": port}]}
    spec = {"containers": [container], "schedulerName": "none", "automountServiceAccountToken": False}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "labels": labels}, "spec": spec}
    cluster.kubectl("apply", "--namespace=images", "--filename=-", text=json.dumps(document))
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
    change = ("--type=merge", f"--patch={json.dumps({'status': status})}")
    cluster.kubectl("patch", "pod", NAME, "--namespace=images", "--subresource=status", *change)
    yield NAME
    cluster.kubectl("delete", "pod", NAME, "--namespace=images", "--grace-period=0", "--force")


def test_busy_seconds_are_read_through_the_api_servers_proxy(cluster: Running, pod: str) -> None:
    observed = KubernetesReplicas(
        load_config(Path(cluster.state.config)), cluster.state.context, cluster.state.kubeconfig
    ).look()
    assert observed["busy"][f"sdruntime/{pod}"] == 12.5
