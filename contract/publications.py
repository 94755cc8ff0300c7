"""Publishes to an SNS topic: what comes alone at once, what comes at about the same time together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.exceptions import ClientError

from contract.batches import Batches, entry_failures
from contract.task import message_bytes
from contract.topology import message_group, string_attributes


class SnsClient(Protocol):
    """The part of aiobotocore's SNS client that is needed here."""

    @property
    def publish(self) -> Callable[..., Awaitable[Any]]:
        """Amazon SNS Publish."""

    @property
    def publish_batch(self) -> Callable[..., Awaitable[Any]]:
        """Amazon SNS PublishBatch."""


class Publications:
    """One topic.

    Args:
        sns: the client.
        topic: its ARN.
        seconds: that a call may take.
        parallel: calls that may be under way at a time; what comes then goes together with the next one.
        expected: how many messages are here or on their way.
        linger: seconds to wait for those at most.
    """

    def __init__(
        self,
        sns: SnsClient,
        topic: str,
        *,
        seconds: float,
        parallel: int = 1,
        expected: Callable[[], int] = lambda: 0,
        linger: float = 0.0,
    ) -> None:
        self._sns = sns
        self._topic = topic
        self._batches = Batches(
            self._publish, weigh=_Entry.weight, seconds=seconds, parallel=parallel, expected=expected, linger=linger
        )

    async def publish(self, message: str, attributes: Mapping[str, str], *, tenant: str = "") -> None:
        """Publishes a message, and returns once SNS has it; repeating it publishes it again.

        Args:
            message: its body.
            attributes: all of the type `String`.
            tenant: whose it is, for queues that are fair; empty: nobody's.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError, TimeoutError: SNS is out of reach, or refuses this message.
        """
        await self._batches.send(_Entry(message, attributes, tenant))

    async def _publish(self, entries: Sequence[_Entry]) -> Sequence[ClientError | None]:
        if len(entries) == 1:
            (entry,) = entries
            await self._sns.publish(TopicArn=self._topic, **entry.arguments())
            return [None]
        answer = await self._sns.publish_batch(
            TopicArn=self._topic,
            PublishBatchRequestEntries=[{"Id": str(index), **entry.arguments()} for index, entry in enumerate(entries)],
        )
        return entry_failures(answer, len(entries), "PublishBatch")


@dataclass(frozen=True)
class _Entry:
    """One message that is to be published."""

    message: str
    attributes: Mapping[str, str]
    tenant: str

    def arguments(self) -> dict[str, Any]:
        """Returns what SNS is told of it, alone or within a batch."""
        return {
            "Message": self.message,
            "MessageAttributes": string_attributes(self.attributes),
            **message_group(self.tenant),
        }

    def weight(self) -> int:
        """Returns its bytes as SNS counts them."""
        return message_bytes(self.message, self.attributes)
