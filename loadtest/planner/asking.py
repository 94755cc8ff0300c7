"""Who asks SQS for messages, and which of them gets the next one."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Hashable
from enum import StrEnum
from typing import Protocol


class Delivery(StrEnum):
    """Which of several waiting receives is answered. Amazon SQS does not say."""

    OLDEST = "oldest"
    """The one that has waited longest, as LocalStack does."""
    CHANCE = "chance"
    """Any of them."""


class Asking[T: Hashable](Protocol):
    """Those that ask. Each operation takes the same time however many they are."""

    def __len__(self) -> int:
        """How many they are."""

    def add(self, item: T) -> None:
        """Lets one ask, after all others; without effect when it asks already."""

    def discard(self, item: T) -> None:
        """Lets one ask no more; without effect when it does not."""

    def take(self) -> T:
        """Returns the one that gets the next message; it asks no more."""


class Oldest[T: Hashable]:
    """See `Delivery.OLDEST`."""

    def __init__(self) -> None:
        self._line: OrderedDict[T, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._line)

    def add(self, item: T) -> None:
        """See `Asking`."""
        self._line[item] = None

    def discard(self, item: T) -> None:
        """See `Asking`."""
        self._line.pop(item, None)

    def take(self) -> T:
        """See `Asking`."""
        return self._line.popitem(last=False)[0]


class Chance[T: Hashable]:
    """See `Delivery.CHANCE`."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._items: list[T] = []
        self._places: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: T) -> None:
        """See `Asking`."""
        if item not in self._places:
            self._places[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: T) -> None:
        """See `Asking`."""
        place = self._places.pop(item, None)
        if place is None:
            return
        last = self._items.pop()
        if last is not item:
            self._items[place] = last
            self._places[last] = place

    def take(self) -> T:
        """See `Asking`."""
        item = self._items[int(self._random.random() * len(self._items))]
        self.discard(item)
        return item
