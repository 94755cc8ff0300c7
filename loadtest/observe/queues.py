"""Queue depths, from SQS itself; or from the API, where AWS is out of reach."""

from __future__ import annotations

import json
import urllib.request
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from loadtest.observe.source import SourceError
from loadtest.samples import Depth
from loadtest.target import Aws, Place, Target

_VISIBLE: Final = "ApproximateNumberOfMessages"
_IN_FLIGHT: Final = "ApproximateNumberOfMessagesNotVisible"
_DELAYED: Final = "ApproximateNumberOfMessagesDelayed"


class SqsQueues:
    """Asks SQS for each runtime's queue."""

    name = "queues"
    every = 1.0

    def __init__(self, aws: Aws, place: Place) -> None:
        self._aws = aws
        self._place = place

    def look(self) -> dict[str, Any]:
        """Returns the depths by runtime."""
        depths = {}
        for runtime, url in self._place.queues.items():
            try:
                found = self._aws.sqs.get_queue_attributes(
                    QueueUrl=url, AttributeNames=[_VISIBLE, _IN_FLIGHT, _DELAYED]
                )
            except (BotoCoreError, ClientError) as error:
                raise SourceError(f"SQS: {error}") from error
            attributes = found["Attributes"]
            depths[runtime] = Depth(
                visible=int(attributes[_VISIBLE]),
                in_flight=int(attributes[_IN_FLIGHT]),
                delayed=int(attributes[_DELAYED]),
            )
        return {"queues": depths}


class ApiQueues:
    """Asks the API, which counts against the API key's rate: seldom."""

    name = "queues"
    every = 5.0

    def __init__(self, target: Target) -> None:
        self._request = urllib.request.Request(f"{target.api}/v1/runtimes", headers=target.headers())  # noqa: S310

    def look(self) -> dict[str, Any]:
        """Returns the depths by runtime."""
        try:
            with urllib.request.urlopen(self._request, timeout=5) as answer:  # noqa: S310 - ours
                runtimes = json.load(answer)["runtimes"]
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"the API's /v1/runtimes: {error}") from error
        return {
            "queues": {
                item["name"]: Depth(
                    visible=item["queue"]["waiting"],
                    in_flight=item["queue"]["in_flight"],
                    delayed=item["queue"]["delayed"],
                )
                for item in runtimes
                if item["queue"]
            }
        }
