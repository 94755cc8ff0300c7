"""A way to the emulator that can be shut: then connections are refused, as when SQS is away."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator


class _Through(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(self.server.target) as behind:
            self.server.ends |= {self.request, behind}
            back = threading.Thread(target=_copy, args=(behind, self.request), daemon=True)
            back.start()
            _copy(self.request, behind)
            back.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        self.target = target
        self.ends: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Through)


class Gate:
    """Passes connections on to a port of 127.0.0.1 while it is open.

    Args:
        target: that port.
    """

    def __init__(self, target: int) -> None:
        self._target = ("127.0.0.1", target)
        self._server = self._open(0)
        self.port: int = self._server.server_address[1]
        """On 127.0.0.1; the same whenever it is open."""

    def _open(self, port: int) -> _Server:
        server = _Server(port, self._target)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    @contextlib.contextmanager
    def shut(self) -> Iterator[None]:
        """Refuses connections meanwhile, and ends those that there are."""
        self.close()
        try:
            yield
        finally:
            self._server = self._open(self.port)

    def close(self) -> None:
        """Refuses connections from now on."""
        self._server.shutdown()
        self._server.server_close()
        for each in self._server.ends:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
