"""What the scripts that serve an emulator share; they run in the emulator's own environment, with this file beside.

Every emulator here listens on one address, ends with whoever started it, and answers to the names of this machine
alone: else any web page that a developer opens could read the buckets under a host name of its own (DNS rebinding), and
write to them by a form.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

PORT_IN_USE = 98
"""Exit status."""

OWN_DOMAINS = ("localhost", "localhost.localstack.cloud")
"""Names of this machine, buckets' names in front included: by RFC 6761, and by LocalStack's DNS."""

READING = frozenset({"GET", "HEAD", "OPTIONS"})

_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:\d*)?")


def arguments_of(description: str | None) -> argparse.ArgumentParser:
    """Returns the parser of the arguments that every script takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=4566)
    parser.add_argument("--fd", type=int, help="a listening socket to take over, instead of --host and --port")
    parser.add_argument("--leash", action="store_true", help="end when standard input ends")
    return parser


def end_with_others(*, leash: bool) -> None:
    """Ends at a signal, and with `leash` when standard input does: so that SIGKILL of the starter ends it too.

    Nothing needs to be written at the end, so nothing is waited for.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(0))
    if leash:
        threading.Thread(target=_end_with_standard_input, daemon=True).start()


def _end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def first_listener(name: str, arguments: argparse.Namespace) -> socket.socket:
    """Returns the socket that was asked for; ends the process where its port is taken."""
    if arguments.fd is not None:
        return socket.socket(fileno=arguments.fd)
    try:
        return listening(arguments.host, arguments.port)
    except OSError as error:
        sys.stderr.write(f"{name} cannot listen on {arguments.host}:{arguments.port}: {error.strerror}\n")
        sys.exit(PORT_IN_USE)


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens.

    Raises:
        OSError: the port is in use.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(1024)
    return listener


def allowed_hosts(setting: str, listening_on: str) -> frozenset[str] | None:
    """Returns the host names that are answered to besides IP addresses; None: any.

    Args:
        setting: names, with commas between them; `*` for any. Empty: the names of this machine when it listens on a
            loopback address, otherwise any.
        listening_on: the address.
    """
    names = frozenset(part.strip().lower() for part in setting.split(",") if part.strip())
    if "*" in names or (not names and not ip_address(listening_on).is_loopback):
        return None
    return names.union(OWN_DOMAINS)


def first_refused(allowed: frozenset[str], hosts: Iterable[str]) -> str | None:
    """Returns the first host, with or without a port, that is no address, and none of these names nor below one."""
    for host in hosts:
        parts = _HOST.fullmatch(host.strip().lower())
        name = parts[1].removesuffix(".") if parts else host
        if name and not _is_address(name) and not any(name == own or name.endswith(f".{own}") for own in allowed):
            return host
    return None


def refused_origin(allowed: frozenset[str], origins: Iterable[str]) -> str | None:
    """Returns the first origin of a web page that is none of ours."""
    return first_refused(allowed, [urlsplit(origin).netloc or origin for origin in origins])


def refusal(host: str) -> dict[str, object]:
    """Returns the body of the 403 that a foreign name gets."""
    message = f"the host {host[:80]!r} is not allowed: use localhost or 127.0.0.1, or name it in ALLOWED_HOSTS"
    return {"error": {"code": "host_not_allowed", "message": message, "details": {"host": host[:80]}}}


def _is_address(text: str) -> bool:
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
