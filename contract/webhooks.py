"""What a request says of its webhook, and what the parts tell each other of it.

The API puts it into the record. Whatever may call for a delivery (a callback on its topic, a run that begins) is a
nudge in the queue of webhooks: it says which submission to look at, and nothing else. What is delivered follows from
the record and from the ledger of deliveries (`contract.deliveries`), so that a nudge more, or one that comes late,
harms nobody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from contract.addresses import ends_in_number, literal_address, reason_to_refuse
from contract.identifiers import TaskRef

MOST_URL: Final = 2048
"""Characters."""

FLAG: Final = "webhook"
"""The message attribute, with the value `true`, of whatever the queue of webhooks is to get from the callback topic."""

FILTER_POLICY: Final = {FLAG: ["true"]}
"""Of that queue's subscription: a task without a webhook costs nothing there."""

LOOPBACK: Final = "loopback"
"""Stands for all origins of this machine, where receivers are allowed; for development."""

_PRINTABLE: Final = re.compile(r"[\x21-\x5b\x5d-\x7e]+")
_LOCAL_NAMES: Final = ("localhost", "local", "internal", "localdomain", "home.arpa")


class Event(StrEnum):
    """What a webhook may be told."""

    RUNNING = "running"
    PROGRESS = "progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether it is the task's end."""
        return self in TERMINAL


TERMINAL: Final = (Event.SUCCEEDED, Event.FAILED, Event.CANCELLED)


def _check_url(url: str) -> str:
    """Returns an address unchanged if it is one.

    Raises:
        ValueError: it is none, or holds what must not be in it.
    """
    if not _PRINTABLE.fullmatch(url):
        raise ValueError("must be an address without spaces, backslashes and characters beyond ASCII: encode them")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError("must be an address, such as https://example.com/hooks/images") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("must be an https:// address, such as https://example.com/hooks/images")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password: deliveries are signed instead")
    if "#" in url:
        raise ValueError("must not have a fragment (#…): no server gets it")
    return url


class Webhook(BaseModel):
    """Where a task's events are delivered, and which."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: Annotated[
        str,
        AfterValidator(_check_url),
        Field(max_length=MOST_URL, description="An https:// address on the public network."),
    ]
    events: Annotated[
        tuple[Event, ...],
        Field(
            min_length=1,
            max_length=len(Event),
            description="Left out: the three ends of a task. One that expires is told of as failed.",
        ),
    ] = TERMINAL

    @property
    def origin(self) -> str:
        """Scheme, host and port of its receiver, the port always."""
        return origin_of(self.url)

    @property
    def shown(self) -> str:
        """Its address as answers and logs name it: without the query, which may hold a secret."""
        return self.url.partition("?")[0]


def origin_of(url: str) -> str:
    """Returns scheme, host and port of an address, as `contract.outbound.origin_of` writes them."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    return f"{parts.scheme}://{host}:{parts.port or {'http': 80, 'https': 443}.get(parts.scheme, 0)}"


def reason_against(url: str, allowed: frozenset[str]) -> str | None:
    """Returns why nothing will be delivered to an address, as far as it tells by itself; None: DNS decides.

    Args:
        url: that is one.
        allowed: origins that need be neither https nor public (`contract.outbound.parse_receivers`).
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    literal = literal_address(host)
    local = LOOPBACK in allowed and (host == "localhost" or (literal is not None and ip_address(literal).is_loopback))
    if local or origin_of(url) in allowed:
        return None
    if parts.scheme != "https":
        return (
            "must be an https:// address: what is delivered holds links that anybody may open "
            "(the API's WEBHOOK_ALLOWED_ORIGINS admits other receivers)"
        )
    if literal is not None:
        reason = reason_to_refuse(literal)
        return reason and f"must lead to the public network, not to {reason}"
    if ends_in_number(host):
        return "has an unusual spelling of an IP address as its host; write it as four numbers"
    if any(host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES):
        return f"must lead to the public network; {host!r} is a name of a local one"
    return None


@dataclass(frozen=True, slots=True)
class Nudge:
    """A message in the queue of webhooks."""

    task: TaskRef
    submission: str
    anchor: bool = False
    """The API's own, sent when the task was accepted: it stays until the end of the task is in the ledger. So a
    callback that bears no flag, from an agent that knows of no webhooks, is not missed."""
    owner: bool = False
    """It is what the next attempt of a pending delivery waits for: only its own end, or that delivery's, lets it go."""
    deferred: int = 0
    """How often it was put off in a row without a look at the receiver."""
    due: float = 0.0
    """Not to be looked at before, in Unix seconds; SQS delays a message for a quarter of an hour at most."""

    def attributes(self) -> dict[str, str]:
        """Returns it as message attributes; seven at most."""
        texts = {
            "id": self.task.id,
            "tenant": self.task.tenant,
            "submission": self.submission,
            "anchor": "true" if self.anchor else "",
            "owner": "true" if self.owner else "",
            "deferred": str(self.deferred) if self.deferred else "",
            "due": f"{self.due:.3f}" if self.due else "",
        }
        return {name: text for name, text in texts.items() if text}

    @classmethod
    def read(cls, attributes: Mapping[str, Any]) -> Nudge:
        """Reads message attributes as SQS gives them, those of a callback too.

        Raises:
            ValueError: they name no submission.
        """
        texts = {name: str(item.get("StringValue", "")) for name, item in attributes.items()}
        task, submission = TaskRef(texts.get("id", ""), texts.get("tenant", "")), texts.get("submission", "")
        if not task.id or not submission:
            raise ValueError("the message names no task and submission in its attributes")
        return cls(
            task,
            submission,
            anchor=texts.get("anchor") == "true",
            owner=texts.get("owner") == "true",
            deferred=int(texts.get("deferred") or 0),
            due=float(texts.get("due") or 0),
        )
