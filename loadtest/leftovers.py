"""Names what a load test makes for itself by the time it is needed for, and removes what is left of earlier tests.

A test that is killed, or told twice to end, cannot clean up after itself; the next one does.
"""

from __future__ import annotations

import logging
import re
import secrets
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from loadtest.target import Aws, Place

_STEM: Final = 56
"""Characters of the topic's name that a queue's name begins with; SQS allows 80 in all."""
_SPARE: Final = 7200.0
"""Seconds beyond load and drain in which a test may still be under way: it watches scale-in and reads records."""
_OWN: Final = re.compile(r"-lt-(?P<until>[0-9a-f]{8})[0-9a-f]{4}-\d+$")

_log = logging.getLogger(__name__)


def own_prefix(*, began: float, seconds: float, worker: int) -> str:
    """Returns the prefix of a process's task ids, unlike that of any other.

    Args:
        began: seconds since the epoch.
        seconds: of load and drain.
        worker: the number of the process.
    """
    return f"lt-{int(began + seconds + _SPARE):08x}{secrets.token_hex(2)}-{worker}-"


def queue_name(place: Place, prefix: str) -> str:
    """Returns the name of the queue for the callbacks of tasks with this prefix."""
    return f"{_stem(place)}-{prefix.rstrip('-')}"


def sweep(aws: Aws, place: Place, now: float) -> list[str]:
    """Removes the queues and subscriptions of this stack's load tests that must be over; says so, and when it fails.

    Args:
        aws: to remove them with.
        place: whose callback topic they listened to.
        now: seconds since the epoch.

    Returns:
        The queues' names, of those too of which only the subscription was left.
    """
    found: set[str] = set()
    try:
        topic = place.callback_topic_arn
        for page in aws.sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic):
            for item in page["Subscriptions"]:
                name = item["Endpoint"].rpartition(":")[2]
                if _is_over(place, name, now):
                    aws.sns.unsubscribe(SubscriptionArn=item["SubscriptionArn"])
                    found.add(name)
        for urls in aws.sqs.get_paginator("list_queues").paginate(QueueNamePrefix=f"{_stem(place)}-lt-"):
            for url in urls.get("QueueUrls", []):
                name = url.rpartition("/")[2]
                if _is_over(place, name, now):
                    aws.sqs.delete_queue(QueueUrl=url)
                    found.add(name)
    except (BotoCoreError, ClientError) as error:
        _log.warning("what earlier load tests left behind could not all be removed: %s", error)
    if found:
        _log.warning("removed what earlier load tests left behind: %s", ", ".join(sorted(found)))
    return sorted(found)


def _stem(place: Place) -> str:
    return place.callback_topic_arn.rpartition(":")[2][:_STEM]


def _is_over(place: Place, name: str, now: float) -> bool:
    own = _OWN.search(name)
    return own is not None and name[: own.start()] == _stem(place) and now > int(own["until"], 16)
