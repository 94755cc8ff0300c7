"""Provisions an emulator again whenever it has been started anew, since it forgets everything: for Docker Compose."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from contract.topology import Topology
from local.clients import Clients
from local.emulator import UnfitEmulatorError, check, name_of
from local.provision import Action, provision

PAUSE: Final = 2.0
"""Seconds between two looks, each of two cheap calls."""

_ABSENT: Final = frozenset({"404", "NoSuchBucket", "NotFound"})


class Reprovision:
    """Sees to it that topics, queues and buckets are there.

    Args:
        clients: of the emulator.
        place: what is to be there.
        say: is told what was done, and what is wrong once for each reason.
        ready: a file that is there while all is well, for a health check; None: no file.
    """

    def __init__(self, clients: Clients, place: Topology, *, say: Callable[[str], None], ready: Path | None) -> None:
        self._clients = clients
        self._place = place
        self._say = say
        self._ready = ready
        self._trouble = ""

    def run(self) -> None:
        """Looks for ever."""
        while True:
            self.look()
            time.sleep(PAUSE)

    def look(self) -> bool:
        """Makes what is missing; returns whether all is well."""
        try:
            if not self._is_provisioned():
                self._provision()
        except (BotoCoreError, ClientError, UnfitEmulatorError) as error:
            self._note(str(error))
        else:
            self._note("")
        return not self._trouble

    def _is_provisioned(self) -> bool:
        try:
            self._clients.sns.get_topic_attributes(TopicArn=self._place.callback_topic_arn)
            # The last thing that is made: whoever died while he made them is noticed too.
            found = self._clients.sns.list_subscriptions_by_topic(TopicArn=self._place.task_topic_arn)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _ABSENT:
                return False
            raise
        return len(found["Subscriptions"]) >= min(len(self._place.queues), 100)

    def _provision(self) -> None:
        made = [change for change in provision(self._place, self._clients) if change.action is not Action.UNCHANGED]
        name = name_of(self._clients.endpoint)
        for sentence in check(self._clients, self._place, name):
            self._say(sentence)
        self._say(
            f"{name} was started again and keeps its state in memory: {len(made)} resources are made anew, tasks and "
            "images from before are gone"
        )

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._say(f"the emulator cannot be used: {trouble}")
        self._trouble = trouble
        if self._ready is None:
            return
        if trouble:
            self._ready.unlink(missing_ok=True)
        else:
            self._ready.touch()
