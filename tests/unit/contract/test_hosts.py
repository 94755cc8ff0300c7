"""The local servers answer to names of this machine alone, all by one rule; a page's own name is none of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.hosts import AllowedHosts
from fake_runtime.hosts import AllowedHosts as AllowedHostsOfTheFake
from local.emulators import serving

LOOPBACK, ANYWHERE = "127.0.0.1", "0.0.0.0"

type Judge = Callable[[str, str, str], bool]


def api_and_sink(setting: str, listening_on: str, host: str) -> bool:
    return AllowedHosts.of(setting, listening_on=listening_on).first_refused([host]) is None


def fake(setting: str, listening_on: str, host: str) -> bool:
    return AllowedHostsOfTheFake.of(setting, listening_on).first_refused([host]) is None


def localstack(setting: str, listening_on: str, host: str) -> bool:
    allowed = serving.allowed_hosts(setting, listening_on)
    return allowed is None or serving.first_refused(allowed, [host]) is None


@pytest.fixture(params=[api_and_sink, fake, localstack])
def allows(request: pytest.FixtureRequest) -> Judge:
    judge: Judge = request.param
    return judge


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "app.localhost:1", "127.0.0.1:8000", "[::1]:8000", "10.1.2.3", ""],
)
def test_names_of_this_machine_and_addresses_are_answered_to(allows: Judge, host: str) -> None:
    assert allows("", LOOPBACK, host)
    assert allows("api", ANYWHERE, host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "localhost:8000@evil.example",
        "[::1].evil.example",
        "evil.example:8000:8000",
        "localhost/",
        "évil",
    ],
)
def test_any_other_name_is_refused_on_a_loopback_address(allows: Judge, host: str) -> None:
    assert not allows("", LOOPBACK, host)
    assert not allows("", "localhost" if allows is not localstack else "::1", host)
    assert not allows("api", ANYWHERE, host)


def test_names_that_were_set_are_answered_to(allows: Judge) -> None:
    assert allows(" api, Studio.Example ,", ANYWHERE, "api:8000")
    assert allows("api,studio.example", LOOPBACK, "studio.example")
    assert not allows("api,studio.example", LOOPBACK, "sink:8000")


def test_behind_a_gateway_or_with_a_star_any_name_will_do(allows: Judge) -> None:
    assert allows("", ANYWHERE, "api.example.com")
    assert allows("*", LOOPBACK, "evil.example")


@given(host=st.text(max_size=30))
def test_no_host_header_makes_it_stumble(host: str) -> None:
    verdicts = {judge("", LOOPBACK, host) for judge in (api_and_sink, fake)}
    assert len(verdicts) == 1


def test_each_of_several_host_headers_counts() -> None:
    allowed = AllowedHosts.of("", listening_on=LOOPBACK)
    assert allowed.first_refused(["localhost", "evil.example"]) == "evil.example"
    assert allowed.first_refused([]) is None


@pytest.mark.parametrize("setting", ["http://studio.example", "studio.example:8000", "*.example.com", "a/b"])
def test_what_is_no_name_is_refused_when_it_is_set(setting: str) -> None:
    with pytest.raises(ValueError, match="is no host name"):
        AllowedHosts.of(setting, listening_on=LOOPBACK)


def test_localstack_answers_to_the_names_of_buckets_too() -> None:
    assert localstack("", LOOPBACK, "my-bucket.localhost:4566")
    assert localstack("", LOOPBACK, "my-bucket.s3.localhost.localstack.cloud:4566")
    assert localstack("localstack", ANYWHERE, "my-bucket.localstack:4566")
