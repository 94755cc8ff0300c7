"""A key opens when it is one of the configured ones, whole and exact, and says whose tasks it is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from api.auth import ANONYMOUS, Caller, KeyRing, NamedKey

KEYS = [
    NamedKey("alice", SecretStr("first-key")),
    NamedKey("alice", SecretStr("her-next-key")),
    NamedKey("bob", SecretStr("second-key")),
    NamedKey("ops", SecretStr("admin-key"), admin=True),
]
RING = KeyRing(KEYS)


@pytest.mark.parametrize(
    ("key", "caller"),
    [
        ("first-key", Caller("alice", "alice")),
        ("her-next-key", Caller("alice", "alice")),
        ("second-key", Caller("bob", "bob")),
        ("admin-key", Caller("ops", "ops", admin=True)),
    ],
)
def test_a_keys_name_is_its_tenant(key: str, caller: Caller) -> None:
    assert RING.caller(key) == caller
    assert not RING.open


def test_keys_that_share_one_space_are_told_apart_by_name_alone() -> None:
    ring = KeyRing(KEYS, shared=True)
    assert ring.caller("first-key") == Caller("alice", "")
    assert ring.caller("second-key") == Caller("bob", "")
    assert ring.caller("admin-key") == Caller("ops", "", admin=True)


@given(st.text().filter(lambda text: text not in {item.key.get_secret_value() for item in KEYS}))
def test_anything_else_is_nobody(presented: str) -> None:
    assert RING.caller(presented) is None


def test_no_key_is_none_and_no_keys_is_open_to_one_space_that_all_share() -> None:
    assert RING.caller(None) is None
    assert KeyRing([]).open
    assert KeyRing([]).caller(None) == KeyRing([]).caller("anything") == ANONYMOUS == Caller("", "")


def test_a_key_is_not_shown() -> None:
    assert "first-key" not in repr(KEYS)
    assert "first-key" not in repr(RING.caller("first-key"))
