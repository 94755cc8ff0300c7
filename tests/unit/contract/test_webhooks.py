"""What a request may say of its webhook, who signs it, and what a nudge carries."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from yarl import URL

from contract.callback import callback_attributes, callback_for
from contract.identifiers import TaskRef
from contract.outbound import origin_of as outbound_origin
from contract.outbound import parse_receivers
from contract.record import Status, Submission
from contract.topology import string_attributes
from contract.webhook_secrets import Secrets
from contract.webhooks import FILTER_POLICY, TERMINAL, Nudge, Webhook, origin_of, reason_against

OWN = "whsec_" + base64.b64encode(b"k" * 32).decode()
ROOT = "a root that nobody can guess"


@pytest.mark.parametrize(
    "url",
    ["", "hook", "ftp://example.com/", "https://", "https://a b/", "https://u:p@example.com/", "https://e.com/#x",
     "https://example.com:0/", "https://example.com:x/", "https://exämple.com/", "https://example.com\\@evil/",
     "https://example.com/" + "a" * 2048],
)  # fmt: skip
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Webhook(url=url)


def test_the_ends_of_a_task_are_told_unless_it_says_otherwise_and_a_query_is_never_shown() -> None:
    webhook = Webhook(url="https://example.com:8443/hook?token=secret")
    assert webhook.events == TERMINAL
    assert webhook.shown == "https://example.com:8443/hook"
    assert "secret" not in webhook.origin


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("https://example.com/", False),
        ("https://93.184.215.14/", False),
        ("https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/", False),
        ("http://example.com/", True),
        ("https://127.0.0.1/", True),
        ("https://[::1]/", True),
        ("https://[::ffff:10.0.0.1]/", True),
        ("https://192.168.0.1/", True),
        ("https://169.254.169.254/", True),
        ("https://0x7f.1/", True),
        ("https://localhost./", True),
        ("https://db.internal/", True),
    ],
)
def test_nothing_but_the_public_network_by_https_is_an_address(url: str, refused: bool) -> None:
    assert (reason_against(url, frozenset()) is not None) is refused


def test_a_setting_admits_an_origin_or_all_of_this_machine() -> None:
    allowed = frozenset(parse_receivers("http://10.0.0.5:9000, loopback"))
    for url in ("http://10.0.0.5:9000/a", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]:8/"):
        assert reason_against(url, allowed) is None
    for url in ("http://10.0.0.5:9001/a", "http://10.0.0.6:9000/a", "http://localhost.example/"):
        assert reason_against(url, allowed) is not None


@given(
    host=st.sampled_from(["example.com", "EXAMPLE.com", "example.com.", "10.0.0.1", "[::1]"]),
    port=st.sampled_from(["", ":443", ":80", ":8443"]),
    scheme=st.sampled_from(["http", "https"]),
)
def test_both_parsers_see_the_same_origin(scheme: str, host: str, port: str) -> None:
    url = f"{scheme}://{host}{port}/a?b"
    assert origin_of(url).replace("::1", "[::1]").replace("[[", "[").replace("]]", "]") == outbound_origin(
        URL(url)
    ).replace("::1", "[::1]").replace("[[", "[").replace("]]", "]")


def test_secrets_are_derived_for_each_tenant_or_its_own_and_the_newest_comes_first() -> None:
    secrets = Secrets.parse(f"{ROOT}2, {ROOT}1, bob={OWN}")
    alice, shared = secrets.of("alice"), secrets.of("")
    assert len({*alice, *shared, *secrets.of("carol")}) == 6
    assert alice[1:] == Secrets.parse(f"{ROOT}1").of("alice")
    assert secrets.of("bob") == (OWN,)
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in alice)
    assert ROOT not in repr(secrets)
    assert not Secrets.parse("")
    assert Secrets.parse(f"bob={OWN}").of("alice") == ()


@pytest.mark.parametrize("text", ["short", f"Bob={OWN}", "bob=whsec_", "bob=whsec_!!", "bob=whsec_YWJj", "ä" * 40])
def test_a_secret_that_is_none_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="entry 2") as caught:
        Secrets.parse(f"{ROOT},{text}")
    assert "YWJj" not in str(caught.value)


@given(
    st.builds(
        Nudge,
        st.builds(TaskRef, st.text(min_size=1, alphabet="abc-é"), st.sampled_from(["", "alice"])),
        st.text(min_size=1, alphabet="01AB"),
        anchor=st.booleans(),
        owner=st.booleans(),
        deferred=st.integers(0, 99),
        due=st.sampled_from([0.0, 1764460000.25]),
    )
)
def test_a_nudge_is_what_its_message_says(nudge: Nudge) -> None:
    assert Nudge.read(string_attributes(nudge.attributes())) == nudge
    assert len(nudge.attributes()) <= 10


def test_a_callback_is_a_nudge_and_only_that_of_a_task_with_a_webhook_bears_the_flag(submission: Submission) -> None:
    plain = callback_attributes(callback_for("a", submission), submission, "alice")
    assert "webhook" not in plain
    hooked = submission.model_copy(update={"webhook": Webhook(url="https://example.com/")})
    flagged = callback_attributes(callback_for("a", hooked), hooked, "alice")
    assert flagged == plain | {"webhook": FILTER_POLICY["webhook"][0]}
    assert Nudge.read(string_attributes(flagged)) == Nudge(TaskRef("a", "alice"), submission.submission)
    assert len(flagged) + 1 <= 10  # `truncated` may come besides


@pytest.fixture
def submission() -> Submission:
    return Submission.model_validate(
        {"submission": "01A", "runtime": "sd", "tasktype": "pipeline", "prefix": "p", "status": Status.FAILED,
         "submitted_at": "2026-01-01T00:00:00Z", "error": {"code": "c", "message": "m"}}
    )  # fmt: skip


def test_whoever_names_a_local_receiver_is_told_what_admits_it() -> None:
    assert "WEBHOOK_ALLOWED_ORIGINS" in (reason_against("http://127.0.0.1:9000/hook", frozenset()) or "")
