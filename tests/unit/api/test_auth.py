"""A key opens when it is one of the configured ones, whole and exact."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from api.auth import ANONYMOUS, KeyRing

RING = KeyRing({"alice": SecretStr("first-key"), "bob": SecretStr("second-key")})


def test_each_key_has_its_owner() -> None:
    assert RING.owner("first-key") == "alice"
    assert RING.owner("second-key") == "bob"
    assert not RING.open


@given(st.text().filter(lambda text: text not in {"first-key", "second-key"}))
def test_anything_else_has_none(presented: str) -> None:
    assert RING.owner(presented) is None


def test_no_key_is_none_and_no_keys_is_open() -> None:
    assert RING.owner(None) is None
    assert KeyRing({}).open
    assert KeyRing({}).owner(None) == KeyRing({}).owner("anything") == ANONYMOUS
