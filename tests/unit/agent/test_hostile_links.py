"""Links that try to reach what they must not: each is refused with a sentence, and nobody is connected to."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from agent.errors import PermanentError
from agent.inputs import Inputs
from agent.inputs.fetch import Fetcher, Limits
from tests.unit.agent.runtime_support import names

DNS: dict[str, str | tuple[str, ...]] = {
    "localhost": ("127.0.0.1", "::1"),
    "foo.localhost": "127.0.0.1",
    "localtest.example": "127.0.0.1",
    "mixed.example": ("93.184.215.14", "127.0.0.1"),
    "mixed6.example": ("2606:4700::1111", "fd00::1"),
    "metadata.google.internal": "169.254.169.254",
    "imds.example": "169.254.169.254",
    "imds6.example": "fd00:ec2::254",
    "kubernetes.default.svc": "10.96.0.1",
    "zero.example": "0.0.0.0",
    "mapped.example": "::ffff:10.0.0.1",
    "nat64.example": "64:ff9b::a9fe:a9fe",
    "scoped.example": "fe80::1%eth0",
    "cgnat.example": "100.64.0.1",
    "xn--mnchen-3ya.example": "192.168.1.1",
}

HOSTILE: list[tuple[str, str]] = [
    # Loopback, in all spellings.
    ("http://127.0.0.1/a.png", "loopback"),
    ("http://127.0.0.1:8080/a.png", "loopback"),
    ("https://127.0.0.1/a.png", "loopback"),
    ("HTTP://127.0.0.1/a.png", "loopback"),
    ("http://127.8.9.10/", "loopback"),
    ("http://127.0.0.1./", "loopback"),
    ("http://127.1/", "unusual spelling"),
    ("http://127.0.1/", "unusual spelling"),
    ("http://2130706433/", "unusual spelling"),
    ("http://0x7f000001/", "unusual spelling"),
    ("http://0x7f.0.0.1/", "unusual spelling"),
    ("http://0177.0.0.1/", "unusual spelling"),
    ("http://017700000001/", "unusual spelling"),
    ("http://127.0.0.0x1/", "unusual spelling"),
    ("http://0/", "unusual spelling"),
    ("http://１２７.０.０.１/", "loopback"),
    ("http://①②⑦.⓪.⓪.①/", "loopback"),
    ("http://127。0。0。1/", "loopback"),
    ("http://%31%32%37.0.0.1/", "unusual spelling"),
    ("http://127.0.0.1/picture\tof\na dog.png", "spaces"),
    ("http://127.0.0.1/a dog.png", "spaces"),
    ("http://", "no host"),
    ("http:///picture.png", "no host"),
    ("http://%6cocalhost/", "no host name"),
    ("http://localhost/", "loopback"),
    ("http://LOCALHOST:3000/", "loopback"),
    ("http://localhost./", "loopback"),
    ("http://foo.localhost/", "loopback"),
    ("http://localtest.example/", "loopback"),
    ("http://[::1]/", "loopback"),
    ("http://[0:0:0:0:0:0:0:1]:80/", "loopback"),
    ("http://[::ffff:127.0.0.1]/", "loopback"),
    ("http://[::ffff:7f00:1]/", "loopback"),
    ("http://[::127.0.0.1]/", "loopback"),
    ("http://[::]/", "unspecified"),
    ("http://0.0.0.0/", "unspecified"),
    ("http://zero.example/", "unspecified"),
    # Private networks and clusters.
    ("http://10.0.0.1/", "private"),
    ("http://192.168.0.1/", "private"),
    ("http://172.16.0.1:6443/", "private"),
    ("http://[fd12:3456::1]/", "private"),
    ("http://kubernetes.default.svc/api", "private"),
    ("http://cgnat.example/", "private"),
    ("http://mapped.example/", "private"),
    ("http://mixed.example/", "loopback"),
    ("http://mixed6.example/", "private"),
    ("http://münchen.example/", "private"),
    # Metadata and other link-local addresses.
    ("http://169.254.169.254/latest/meta-data/iam/security-credentials/", "metadata"),
    ("http://[::ffff:169.254.169.254]/", "metadata"),
    ("http://[64:ff9b::169.254.169.254]/", "metadata"),
    ("http://[fd00:ec2::254]/latest/", "metadata"),
    ("http://169.254.170.23/v1/credentials", "metadata"),
    ("http://100.100.100.200/latest/", "metadata"),
    ("http://0xa9fea9fe/", "unusual spelling"),
    ("http://2852039166/", "unusual spelling"),
    ("http://metadata.google.internal/computeMetadata/v1/", "metadata"),
    ("http://imds.example/", "metadata"),
    ("http://imds6.example/", "metadata"),
    ("http://nat64.example/", "metadata"),
    ("http://[fe80::1%25eth0]/", "link-local"),
    ("http://scoped.example/", "link-local"),
    # Other ways in.
    ("http://[2002:7f00:1::]/", "private"),
    ("http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "private"),
    ("http://224.0.0.251/", "multicast"),
    ("http://255.255.255.255/", "private"),
    ("http://public.example@127.0.0.1/", "user or password"),
    ("http://user:secret@public.example/a.png", "user or password"),
    ("http://public.example\\@127.0.0.1/", "backslashes"),
    ("http://127.0.0.1\x00.example/", "control characters"),
    ("http://public.example:99999/", "cannot be read"),
    ("http://[::1/", "cannot be read"),
    ("http://[::1]@/a.png", "cannot be read"),
    ("http://exam_ple!.example/", "no host name"),
    # Not the web at all.
    ("file:///etc/passwd", "scheme 'file'"),
    ("file:/etc/passwd", "scheme 'file'"),
    ("FILE://localhost/proc/self/environ", "scheme 'file'"),
    ("ftp://127.0.0.1/a.png", "scheme 'ftp'"),
    ("gopher://127.0.0.1:6379/_FLUSHALL", "scheme 'gopher'"),
    ("dict://127.0.0.1:11211/stats", "scheme 'dict'"),
    ("ws://127.0.0.1/", "scheme 'ws'"),
    ("jar://127.0.0.1!/a", "scheme 'jar'"),
    # S3 beyond what is allowed.
    ("s3://someone-elses-bucket/a.png", "not open for inputs"),
    ("s3://OUTPUT/a.png", "not open for inputs"),
    ("s3://arn:aws:s3:us-east-1:1:accesspoint/x/a.png", "not open for inputs"),
    ("s3://output/.tasks/other.json", "reserved key"),
    ("s3://output/.payloads/a/b.json", "reserved key"),
    ("s3://output//.tasks/other.json", "reserved key"),
    ("s3://output/a/../.tasks/other.json", "reserved key"),
    ("s3://output/./.tasks/other.json", "reserved key"),
    ("s3://output", "no object"),
    ("s3://output/", "no object"),
]


class ClosedS3:
    """An S3 that must not be asked."""

    async def get_object(self, **place: Any) -> Any:
        raise AssertionError(f"asked for {place}")


@pytest.fixture
def closed_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test when anybody opens a connection."""

    def connect(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)


def test_the_table_is_long_enough() -> None:
    assert len({link for link, _ in HOSTILE}) == len(HOSTILE) >= 40


@pytest.mark.usefixtures("closed_doors")
@pytest.mark.parametrize(("link", "reason"), HOSTILE, ids=[repr(link) for link, _ in HOSTILE])
async def test_a_hostile_link_is_refused_with_a_reason(link: str, reason: str) -> None:
    inputs = Inputs(Fetcher(Limits(), resolve=names(DNS)), ClosedS3(), "output")
    with pytest.raises(PermanentError) as refusal:
        await inputs.fetch_all([link])
    assert refusal.value.code == "input_refused"
    assert reason in refusal.value.message
    assert "secret" not in refusal.value.message
    assert "; " in refusal.value.message, "the message names no way out"
