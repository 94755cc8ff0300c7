"""`python -m tests.attack.pulse`: measures, beside an attack, how soon servers answer and what memory they take.

It is a process of its own, since the attacker's own work must not look like a stall of what is attacked; and it asks
a control besides, a server that nobody attacks: what keeps that one waiting is the machine. It also measures how many
times longer than on an idle machine some work takes.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
from typing import Any

import psutil

_EVERY = 0.05
_TIMEOUT = 60.0
_WORK = 0.004
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def main() -> None:
    """Writes lines of JSON until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", action="append", default=[], help="NAME=PORT")
    parser.add_argument("--process", action="append", default=[], help="NAME=PID")
    arguments = parser.parse_args()
    lock = threading.Lock()

    def say(**line: Any) -> None:
        with lock:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

    for name, _, port in (item.partition("=") for item in arguments.server):
        threading.Thread(target=_ask, args=(name, int(port), say), daemon=True).start()
    processes = {name: psutil.Process(int(pid)) for name, _, pid in (item.partition("=") for item in arguments.process)}
    while True:
        say(at=time.monotonic(), slowdown=_slowdown())
        for name, process in processes.items():
            try:
                say(name=name, at=time.monotonic(), rss=process.memory_info().rss)
            except psutil.Error:
                say(name=name, at=time.monotonic(), gone=True)
                return
        time.sleep(_EVERY)


def _slowdown() -> float:
    """Returns how many times longer than its processor time some work takes: others may have the processors."""
    began, worked = time.monotonic(), time.thread_time()
    while (spent := time.thread_time() - worked) < _WORK:
        pass
    return (time.monotonic() - began) / spent


def _ask(name: str, port: int, say: Any) -> None:
    while True:
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT) as connection:
                connection.sendall(_REQUEST)
                good = connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            good = False
        say(name=name, at=began, seconds=time.monotonic() - began, good=good)
        time.sleep(_EVERY)


if __name__ == "__main__":
    main()
