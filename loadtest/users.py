"""The Locust users: one that lets tasks arrive at a rate, and one that waits for its task before it sends the next."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final, cast

import gevent
from gevent.pool import Group
from locust import FastHttpUser, task

from loadtest.tasks import Answer

if TYPE_CHECKING:
    from loadtest.mix import Work
    from loadtest.station import Station

_PATIENCE: Final = 3600.0
"""Seconds that a user of a closed load waits for a task before it gives it up."""

_AFTER_REFUSAL: Final = 1.0
"""Seconds after which a user whose task was refused, or not answered, sends another."""


def station_of(environment: Any) -> Station:
    """Returns the station of this process, which the conductor has put there."""
    return cast("Station", environment.station)


class _User(FastHttpUser):
    abstract = True
    connection_timeout = 10.0
    network_timeout = 60.0
    # A submission that is sent a second time would be a second task.
    max_retries = 0


class OpenLoad(_User):
    """Everybody together: sends each task when it is due, however long those before it take. One in each process."""

    concurrency = 1000

    @task
    def send_share(self) -> None:
        """Sends this process's share of the load, and then stays until all is over."""
        station = station_of(self.environment)
        sending = Group()
        for due_at, number, work, tenant in station.schedule():
            early = due_at - station.clock.now()
            if early > 0:
                gevent.sleep(early)
            sending.spawn(self._send, station, work, number, due_at, tenant)
        sending.join()
        while True:
            gevent.sleep(3600)

    def _send(self, station: Station, work: Work, number: int, due_at: float, tenant: str) -> None:
        station.send(self.client, work, number, due_at, tenant)


class ClosedLoad(_User):
    """One user: sends a task, waits for its end, thinks, and sends the next."""

    concurrency = 1

    @task
    def one(self) -> None:
        """Sends one task and waits for its end."""
        station = station_of(self.environment)
        if not station.began_at or station.elapsed >= station.length:
            gevent.sleep(1)
            return
        sent, wait = station.send_one(self.client)
        if sent.answer is Answer.ACCEPTED:
            station.wait_for(sent, _PATIENCE)
        else:
            gevent.sleep(wait or _AFTER_REFUSAL)
        if station.scenario.think:
            gevent.sleep(random.expovariate(1 / station.scenario.think))
