"""What goes with a message into the dead-letter queue, such that SQS always takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from contract.task import SNS_MESSAGE_LIMIT, message_bytes

MOST_REASON: Final = 1024
"""Characters of a reason."""

SQS_MESSAGE_LIMIT: Final = 1024 * 1024
"""Bytes of a message in a queue that takes more than SNS sends (Amazon SQS quotas, "Message size")."""


def fitting_attributes(body: str, attributes: Mapping[str, str]) -> dict[str, str]:
    """Returns as much of a dead letter's attributes as there is room for beside its body.

    A message that filled its queue to the limit has no room for any. The reason gets what the others leave, and is cut.

    Args:
        body: of the message, as it was received.
        attributes: the most important first, but for `reason`.
    """
    size = len(body.encode())
    room = (SNS_MESSAGE_LIMIT if size <= SNS_MESSAGE_LIMIT else SQS_MESSAGE_LIMIT) - size
    fitting: dict[str, str] = {}
    for name in [*(name for name in attributes if name != "reason"), "reason"]:
        value = attributes.get(name, "")
        if name == "reason":
            left = room - message_bytes("", {**fitting, name: ""})
            value = value[:MOST_REASON].encode()[: max(0, left)].decode(errors="ignore")
        if value and message_bytes("", {**fitting, name: value}) <= room:
            fitting[name] = value
    return fitting
