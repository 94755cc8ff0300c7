"""Decides which network addresses the links of strangers may lead to: public ones, however they are written."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_LOOPBACK: Final = "a loopback address"
_LINK_LOCAL: Final = "a link-local address"
_METADATA: Final = "a metadata address"
_MULTICAST: Final = "a multicast address"
_UNSPECIFIED: Final = "the unspecified address"
_RESERVED: Final = "a private or reserved address"

# The first network that holds an address says why it is refused. What `ipaddress` knows to be private (IANA's special
# purpose registries) is refused besides; here is what it lets through, and what deserves a better word.
_REFUSED_V4: Final = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("169.254.169.254/32", _METADATA),  # AWS, Azure, Google Cloud, Oracle and others
        ("169.254.170.2/32", _METADATA),  # Amazon ECS task credentials
        ("169.254.170.23/32", _METADATA),  # Amazon EKS Pod Identity
        ("100.100.100.200/32", _METADATA),  # Alibaba Cloud
        ("192.0.0.192/32", _METADATA),  # Oracle Cloud
        ("168.63.129.16/32", _METADATA),  # Azure's host; a public address by number
        ("127.0.0.0/8", _LOOPBACK),
        ("169.254.0.0/16", _LINK_LOCAL),
        ("0.0.0.0/32", _UNSPECIFIED),
        ("224.0.0.0/4", _MULTICAST),
        ("192.0.0.0/24", _RESERVED),  # IETF protocol assignments (RFC 6890)
        ("192.88.99.0/24", _RESERVED),  # 6to4 relays (RFC 7526)
        ("192.31.196.0/24", _RESERVED),  # AS112 (RFC 7535)
        ("192.52.193.0/24", _RESERVED),  # AMT (RFC 7450)
    )
)
_REFUSED_V6: Final = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("fd00:ec2::254/128", _METADATA),  # AWS
        ("fd00:ec2::23/128", _METADATA),  # Amazon EKS Pod Identity
        ("fd20:ce::254/128", _METADATA),  # Google Cloud
        ("::1/128", _LOOPBACK),
        ("::/128", _UNSPECIFIED),
        ("fe80::/10", _LINK_LOCAL),
        ("ff00::/8", _MULTICAST),
        ("2001::/23", _RESERVED),  # IETF protocol assignments: Teredo (RFC 4380), ORCHID, benchmarking
        ("2001:db8::/32", _RESERVED),  # documentation (RFC 3849)
        ("3fff::/20", _RESERVED),  # documentation (RFC 9637)
        ("2002::/16", _RESERVED),  # 6to4 (RFC 3056): leads to any IPv4 address through a relay
        ("2620:4f:8000::/48", _RESERVED),  # AS112 (RFC 7534)
    )
)
_DISGUISED: Final = (
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped (RFC 4291, 2.5.5.2)
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 2765)
    IPv6Network("::/96"),  # IPv4-compatible, deprecated (RFC 4291, 2.5.5.1)
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052. DNS64 answers it on IPv6-only nodes for every IPv4-only host, so it is judged by the IPv4 inside."""

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""The only space that is handed out (IANA, "IPv6 Global Unicast Address Assignments")."""

_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


def reason_to_refuse(address: str) -> str | None:
    """Returns what kind of address it is when no link may lead there, such as `a loopback address`; None when public.

    Args:
        address: an IP address in its usual form, with or without a zone (`%eth0`).
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return "no IP address"
    if isinstance(parsed, IPv6Address):
        return _judge_v6(parsed)
    return _judge_v4(parsed)


def literal_address(host: str) -> str | None:
    """Returns the address when a host is one in its usual form, else None."""
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def ends_in_number(host: str) -> bool:
    """Tells whether the system would read a host as an IPv4 address in an unusual form.

    Such as `127.1`, `0x7f.1`, `017700000001` or `2130706433`: by WHATWG URL's "ends in a number checker", which covers
    all that `inet_aton` takes.
    """
    return _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) is not None


def _judge_v4(address: IPv4Address) -> str | None:
    for network, reason in _REFUSED_V4:
        if address in network:
            return reason
    return None if address.is_global else _RESERVED


def _judge_v6(address: IPv6Address) -> str | None:
    if address.scope_id is not None:
        return _LINK_LOCAL
    for network, reason in _REFUSED_V6:
        if address in network:
            return reason
    inside = IPv4Address(int(address) & 0xFFFF_FFFF)
    if any(address in network for network in _DISGUISED):
        # No server is reached by these; they are another spelling, so even a public one is refused.
        return _judge_v4(inside) or "an IPv4 address in disguise"
    if address in _NAT64 or _is_isatap(address):
        return _judge_v4(inside)
    return None if address in _GLOBAL_UNICAST and address.is_global else _RESERVED


def _is_isatap(address: IPv6Address) -> bool:
    """Tells whether the interface identifier is ISATAP's, which holds an IPv4 address (RFC 5214, 6.1)."""
    return address in _GLOBAL_UNICAST and (int(address) >> 32) & 0xFCFF_FFFF == 0x0000_5EFE
