"""Behind a gateway, only the gateway is believed, and it alone says whose key a request carries."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from api.auth import Caller, KeyRing, NamedKey
from api.callers import ByGateway, ByKey
from api.errors import ApiError

SECRET, NEXT = "what-nobody-can-guess", "what-nobody-guesses-either"
NAMES = KeyRing(
    [
        NamedKey("alice", SecretStr("a1b2c3d4e5")),
        NamedKey("alice", SecretStr("b1b2c3d4e5")),
        NamedKey("ops", SecretStr("o1b2c3d4e5"), admin=True),
    ]
)
GATEWAY = ByGateway([SecretStr(SECRET), SecretStr(NEXT)], NAMES, shared=False)


def scope(*headers: tuple[str, str]) -> dict[str, Any]:
    return {"headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]}


def said(key_id: str, secret: str = SECRET) -> dict[str, Any]:
    return scope(("x-darkroom-gateway", secret), ("x-darkroom-key-id", key_id))


@pytest.mark.parametrize(
    ("key_id", "caller"),
    [
        ("a1b2c3d4e5", Caller("alice", "alice")),
        ("b1b2c3d4e5", Caller("alice", "alice")),
        ("o1b2c3d4e5", Caller("ops", "ops", admin=True)),
        ("zzzzzzzzzz", Caller("zzzzzzzzzz", "zzzzzzzzzz")),
    ],
)
@pytest.mark.parametrize("secret", [SECRET, NEXT])
def test_a_keys_id_is_its_tenant_unless_it_has_a_name(key_id: str, caller: Caller, secret: str) -> None:
    assert GATEWAY.caller(said(key_id, secret)) == caller


def test_where_all_share_one_space_the_id_tells_throttles_apart() -> None:
    gateway = ByGateway([SecretStr(SECRET)], KeyRing([]), shared=True)
    assert gateway.caller(said("zzzzzzzzzz")) == Caller("zzzzzzzzzz", "")
    assert not gateway.open


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-darkroom-key-id", "a1b2c3d4e5")],
        [("x-api-key", SECRET), ("x-darkroom-key-id", "a1b2c3d4e5")],
        [("x-darkroom-gateway", ""), ("x-darkroom-key-id", "a1b2c3d4e5")],
        [("x-darkroom-gateway", SECRET + "x"), ("x-darkroom-key-id", "a1b2c3d4e5")],
        [("x-darkroom-gateway", SECRET), ("x-darkroom-gateway", "x"), ("x-darkroom-key-id", "a1b2c3d4e5")],
        # A client's own header beside the gateway's: neither is believed.
        [("x-darkroom-gateway", SECRET), ("x-darkroom-key-id", "bbbbbbbbbb"), ("x-darkroom-key-id", "a1b2c3d4e5")],
        [("x-darkroom-gateway", SECRET), ("x-darkroom-key-id", "")],
        [("x-darkroom-gateway", SECRET)],
        [("x-darkroom-gateway", SECRET), ("x-darkroom-key-id", "../alice")],
    ],
    ids=str,
)
def test_whatever_else_is_nobody(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(ApiError) as refused:
        GATEWAY.caller(scope(*headers))
    assert refused.value.status == 401
    assert SECRET not in refused.value.message


@given(st.text(st.characters(max_codepoint=255)).filter(lambda text: text not in {SECRET, NEXT}))
def test_no_other_secret_is_believed(secret: str) -> None:
    with pytest.raises(ApiError):
        GATEWAY.caller(said("a1b2c3d4e5", secret))


@pytest.mark.parametrize("name", ["alice", "ops"])
def test_a_keys_id_that_is_anothers_name_is_not_that_tenant(name: str) -> None:
    with pytest.raises(ApiError, match="name of another one"):
        GATEWAY.caller(said(name))


def test_before_a_secret_is_known_nobody_is_believed() -> None:
    gateway = ByGateway([], NAMES, shared=False)
    for secret in ("", SECRET):
        with pytest.raises(ApiError):
            gateway.caller(said("a1b2c3d4e5", secret))
    gateway.believe([SecretStr(NEXT)])
    assert gateway.caller(said("a1b2c3d4e5", NEXT)).tenant == "alice"


def test_behind_a_gateway_only_probes_ask_nobody() -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert GATEWAY.asks_nobody(path)
        assert ByKey(NAMES).asks_nobody(path)
    for path in ("/", "/docs", "/static/app.js", "/openapi.json"):
        assert not GATEWAY.asks_nobody(path)
        assert ByKey(NAMES).asks_nobody(path)
    for path in ("/v1/tasks", "/healthz/x", "/metrics2", "/static", ""):
        assert not GATEWAY.asks_nobody(path)
        assert not ByKey(NAMES).asks_nobody(path)


def test_a_key_that_is_there_twice_is_no_key() -> None:
    with pytest.raises(ApiError, match=re.escape("x-api-key")):
        ByKey(NAMES).caller(scope(("x-api-key", "a1b2c3d4e5"), ("x-api-key", "b1b2c3d4e5")))
