"""Only public addresses may be reached, however they are written."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.addresses import ends_in_number, literal_address, reason_to_refuse

PRIVATE = [IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")]
loopback = st.integers(0, 2**24 - 1).map(lambda low: IPv4Address(127 << 24 | low))
v4_not_public = st.one_of(
    loopback,
    st.integers(0, 2**16 - 1).map(lambda low: IPv4Address((169 << 24) + (254 << 16) + low)),
    *[st.integers(int(net.network_address), int(net.broadcast_address)).map(IPv4Address) for net in PRIVATE],
    st.integers(224 << 24, 2**32 - 1).map(IPv4Address),
    st.integers(0, 2**24 - 1).map(IPv4Address),
)


@pytest.mark.parametrize("address", ["8.8.8.8", "52.216.1.1", "1.1.1.1", "2606:4700::1111", "2a05:d018::1"])
def test_public_addresses_pass(address: str) -> None:
    assert reason_to_refuse(address) is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("169.254.169.254", "metadata"),
        ("169.254.170.23", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("2606:4700::1111%eth0", "link-local"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "private"),
        ("192.88.99.1", "private"),
        ("198.18.0.1", "private"),
        ("203.0.113.5", "private"),
        ("240.0.0.1", "private"),
        ("255.255.255.255", "private"),
        ("224.0.0.251", "multicast"),
        ("ff02::1", "multicast"),
        ("fc00::1", "private"),
        ("fec0::1", "private"),
        ("2001:db8::1", "private"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "private"),
        ("5f00::1", "private"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:8.8.8.8", "disguise"),
        ("::127.0.0.1", "loopback"),
        ("::ffff:0:169.254.169.254", "metadata"),
        ("64:ff9b::a9fe:a9fe", "metadata"),
        ("64:ff9b:1::7f00:1", "private"),
        ("2002:7f00:1::", "private"),
        ("2606:4700::200:5efe:10.0.0.1", "private"),
    ],
)
def test_other_addresses_are_refused_by_their_kind(address: str, kind: str) -> None:
    reason = reason_to_refuse(address)
    assert reason is not None
    assert kind in reason


@given(v4_not_public)
def test_no_private_ipv4_address_hides_in_an_ipv6_address(address: IPv4Address) -> None:
    low = int(address)
    for high in (0xFFFF << 32, 0xFFFF << 48, 0x0064_FF9B << 96, 0):
        assert reason_to_refuse(str(IPv6Address(high | low))), hex(high)
    assert reason_to_refuse(str(address))
    assert reason_to_refuse(str(IPv6Address(0x2002 << 112 | low << 80)))
    assert reason_to_refuse(str(IPv6Address((0x2606_4700 << 96) | 0x5EFE << 32 | low)))


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_what_is_not_global_never_passes(address: IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert reason_to_refuse(str(address))


@given(st.ip_addresses(v=4))
def test_nat64_is_judged_by_the_address_inside(inside: IPv4Address) -> None:
    assert reason_to_refuse(str(IPv6Address(0x0064_FF9B << 96 | int(inside)))) == reason_to_refuse(str(inside))


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """Spellings of 127.0.0.0/8 that `inet_aton` takes."""
    address = int(draw(loopback))
    parts = draw(st.integers(1, 4))
    numbers = [(address >> 8 * (3 - index)) & 0xFF for index in range(parts - 1)]
    numbers.append(address & (1 << 8 * (5 - parts)) - 1)
    forms: list[str] = [draw(st.sampled_from([str(n), hex(n), hex(n).upper(), f"0{n:o}"])) for n in numbers]
    return ".".join(forms) + draw(st.sampled_from(["", "."]))


@given(spellings())
def test_every_spelling_of_a_loopback_address_is_caught(host: str) -> None:
    assert socket.inet_aton(host.rstrip("."))[0] == 127
    literal = literal_address(host.rstrip("."))
    assert reason_to_refuse(literal) if literal else ends_in_number(host)


@pytest.mark.parametrize("host", ["example.com", "1.example", "x1", "0x7f.example.org", "a-1.b-2"])
def test_a_name_is_no_number(host: str) -> None:
    assert not ends_in_number(host)
    assert literal_address(host) is None


@given(st.text(max_size=40))
def test_no_text_breaks_the_judge(text: str) -> None:
    if literal_address(text) is None:
        assert reason_to_refuse(text) == "no IP address"
