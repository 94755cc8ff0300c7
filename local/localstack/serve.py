"""Runs LocalStack on one address; a script for LocalStack's own environment, which has nothing of this project in it.

`python -m localstack.runtime.main` is not used, for four reasons:

- It listens on every address whatever `GATEWAY_LISTEN` says ("TODO: interface = host?" in its
  `runtime/server/twisted.py`). Here it listens on the given address, or takes over the given socket.
- It makes a TLS certificate at start, which fails with pyOpenSSL from 26 on ('X509' object has no attribute
  'add_extensions'), and costs time. Nobody here speaks TLS to it.
- On a signal it waits up to ten seconds for long polls that are under way. Nothing needs to be written at the end.
- It would outlive whoever started it (`serving.py`).

Two faults are mended:

- LocalStack calls itself by `localhost`, SNS for each delivery to a queue. Listening on another address alone, it
  answers 200 to all that is published and delivers nothing. So then it listens on 127.0.0.1 as well.
- The long poll of a client that has gone (a killed agent) lives on for up to 20 s, and a message that arrives meanwhile
  is handed to nobody, and stays invisible for its visibility timeout.
"""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# This script is no part of a package where it runs.
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "emulators")]

import serving

ITSELF = "127.0.0.1"
"""The address by which LocalStack calls itself."""


def main() -> None:
    """Reads the arguments, takes the port, and serves until a signal comes or the leash is let go."""
    parser = serving.arguments_of(__doc__)
    parser.add_argument("--keep", type=Path, help="a file that keeps S3's objects and SNS's messages, see keep.py")
    arguments = parser.parse_args()
    serving.end_with_others(leash=arguments.leash)
    listeners = _listeners(serving.first_listener("LocalStack", arguments))
    address, port = listeners[0].getsockname()[:2]
    for name, value in settings(port).items():
        os.environ.setdefault(name, value)
    _serve(listeners, serving.allowed_hosts(os.environ.get("ALLOWED_HOSTS", ""), address), arguments.keep)


def settings(port: int) -> dict[str, str]:
    """Returns the environment that LocalStack is given, where the caller has not set it otherwise."""
    return {
        "SERVICES": "s3,sns,sqs",
        # Loaded now, and not by the first request, which would take a second.
        "EAGER_SERVICE_LOADING": "1",
        # Nothing leaves this machine: no certificate, no usage events, no DNS server.
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DISABLE_EVENTS": "1",
        "DNS_ADDRESS": "0",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "LOCALSTACK_HOST": f"127.0.0.1:{port}",
        # Queue URLs with the address by which the caller came; the default is a DNS name of the internet.
        "SQS_ENDPOINT_STRATEGY": "dynamic",
        "SQS_DISABLE_CLOUDWATCH_METRICS": "1",
        "LS_LOG": "warning",
    }


def _listeners(first: socket.socket) -> list[socket.socket]:
    """Returns a socket, and one on LocalStack's own address where that is not its own."""
    address, port = first.getsockname()[:2]
    if address in {ITSELF, "0.0.0.0"}:  # noqa: S104 - asked whether somebody chose it
        return [first]
    try:
        return [first, serving.listening(ITSELF, port)]
    except OSError as error:
        sys.stderr.write(
            f"LocalStack cannot listen on {ITSELF}:{port} ({error.strerror}), and without it SNS delivers nothing "
            f"to any queue: end what listens there, or take another port\n"
        )
        sys.exit(serving.PORT_IN_USE)


def _serve(listeners: list[socket.socket], allowed: frozenset[str] | None, keep: Path | None) -> None:
    # ruff: noqa: PLC0415 - LocalStack reads its environment when it is imported, so it is imported last.
    from localstack.logging.setup import setup_logging_from_config
    from localstack.runtime import current, runtime
    from rolo.serving.twisted import TwistedGateway
    from twisted.internet import reactor

    def take_over_listener(self: runtime.LocalstackRuntime) -> None:
        gateway = self.components.gateway
        if allowed is not None:
            gateway.request_handlers.insert(0, _host_guard(allowed))
        if keep is not None:
            _keep(keep, gateway)
        for listener in listeners:
            listener.setblocking(False)
            reactor.adoptStreamPort(listener.fileno(), listener.family, TwistedGateway(gateway))

    runtime.LocalstackRuntime._init_gateway_server = take_over_listener
    _end_long_polls_with_their_clients()
    setup_logging_from_config()
    current.initialize_runtime().run()


def _keep(path: Path, gateway: Any) -> None:
    from keep import Keeping

    keeping = Keeping(path, gateway)
    number = keeping.give_back()
    sys.stdout.write(f"{number} objects are back from {path}\n")
    sys.stdout.flush()
    gateway.response_handlers.append(keeping.note)


def _host_guard(allowed: frozenset[str]) -> Callable[[Any, Any, Any], None]:
    """Returns the handler that refuses host names which are none of ours, before LocalStack looks at a request."""

    def guard(chain: Any, context: Any, response: Any) -> None:
        headers = context.request.headers
        refused = serving.first_refused(allowed, headers.getlist("Host"))
        if refused is None and context.request.method not in serving.READING:
            # A page of another site reads what the bucket's CORS rules let it read, and changes nothing.
            refused = serving.refused_origin(allowed, headers.getlist("Origin"))
        if refused is None:
            return
        response.status_code = 403
        response.headers["Content-Type"] = "application/json"
        response.set_response(json.dumps(serving.refusal(refused)))
        chain.terminate()

    return guard


def _end_long_polls_with_their_clients() -> None:
    """Makes a receive that waits give up when its connection is closed, before it takes a message.

    A request is served by one thread (`_WSGIResponse.run`), and the reactor tells in its own thread when the request is
    over (`_finished`), be it answered or its connection lost. What a receive waits on is a queue's condition.
    """
    # ruff: noqa: SLF001 - there is no public way to any of this
    from queue import Empty

    from localstack.services.sqs.queue import InterruptibleQueue
    from twisted.web.wsgi import _WSGIResponse

    serving = threading.local()
    run, finished, get = _WSGIResponse.run, _WSGIResponse._finished, InterruptibleQueue.get

    def remembered_run(self: Any) -> None:
        serving.response = self
        try:
            run(self)
        finally:
            serving.response = None

    def waking_finished(self: Any, reason: Any) -> None:
        finished(self, reason)  # sets _requestFinished
        condition = getattr(self, "awaited", None)
        if condition is not None:
            with condition:
                condition.notify_all()

    def get_for_somebody(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        response = getattr(serving, "response", None)
        if not block or timeout is None or response is None:
            return get(self, block, timeout)
        deadline = time.monotonic() + timeout
        with self.not_empty:
            response.awaited = self.not_empty
            while not (response._requestFinished or self.is_shutdown or self._qsize()):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise Empty
                self.not_empty.wait(remaining)
            if response._requestFinished:
                self.not_empty.notify()  # a message may be what woke this thread: it is another's
                raise Empty
            if self.is_shutdown:
                raise Empty
            item = self._get()
            self.not_full.notify()
            return item

    _WSGIResponse.run = remembered_run
    _WSGIResponse._finished = waking_finished
    InterruptibleQueue.get = get_for_somebody


if __name__ == "__main__":
    main()
