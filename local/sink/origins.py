"""Which web pages may read callbacks: this machine's own, such as the API's, whatever their port."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def may_read(origin: str) -> bool:
    """Tells whether a page of this origin may read callbacks: one that a server on this machine has handed out."""
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
