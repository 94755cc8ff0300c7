"""Clusters' own authorities are believed, and nobody else's: asked over a real TLS connection."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3
from kubernetes import client

from contract.cluster_tls import cluster_context, relax_client
from tests.support.cluster_authority import Served, Style, make_authority


class Version(BaseHTTPRequestHandler):
    """Answers as `/version/` of an API server."""

    def do_GET(self) -> None:
        body = b'{"major": "1", "minor": "35"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(served: Served) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Version)
    server.socket = served.server_context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def shake_hands(context: ssl.SSLContext, port: int) -> None:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1"),
    ):
        pass


def ask_by_context(authority: Path, port: int) -> None:
    shake_hands(cluster_context(str(authority)), port)


def ask_by_client(authority: Path, port: int) -> None:
    configuration = client.Configuration(host=f"https://127.0.0.1:{port}")
    configuration.ssl_ca_cert = str(authority)
    configuration.retries = urllib3.Retry(0)
    api = client.ApiClient(configuration)
    relax_client(api)
    assert client.VersionApi(api).get_code(_request_timeout=10, _preload_content=False).status == 200


ASK = pytest.mark.parametrize("ask", [ask_by_context, ask_by_client], ids=["agent", "kubernetes client"])


@ASK
@pytest.mark.parametrize("style", Style)
def test_a_clusters_own_authority_is_believed(ask: Callable[[Path, int], None], style: Style, tmp_path: Path) -> None:
    served = make_authority(tmp_path, style)
    with serving(served) as port:
        # What makes it worth a test: Python's own check refuses them.
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(ssl.create_default_context(cafile=str(served.authority)), port)
        ask(served.authority, port)


@ASK
def test_a_chain_to_another_authority_is_refused(ask: Callable[[Path, int], None], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make_authority(tmp_path / "other")
    with (
        serving(make_authority(tmp_path)) as port,
        pytest.raises((ssl.SSLCertVerificationError, urllib3.exceptions.HTTPError), match="CERTIFICATE_VERIFY_FAILED"),
    ):
        ask(other.authority, port)


@ASK
def test_a_certificate_for_another_address_is_refused(ask: Callable[[Path, int], None], tmp_path: Path) -> None:
    served = make_authority(tmp_path, address="10.0.0.1")
    with (
        serving(served) as port,
        pytest.raises((ssl.SSLCertVerificationError, urllib3.exceptions.HTTPError), match=r"127\.0\.0\.1"),
    ):
        ask(served.authority, port)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_client_that_checks_nothing_by_its_kubeconfig_still_does_not(tmp_path: Path) -> None:
    configuration = client.Configuration()
    configuration.verify_ssl = False
    with serving(make_authority(tmp_path)) as port:
        configuration.host = f"https://127.0.0.1:{port}"
        api = client.ApiClient(configuration)
        relax_client(api)
        assert client.VersionApi(api).get_code(_request_timeout=10, _preload_content=False).status == 200
