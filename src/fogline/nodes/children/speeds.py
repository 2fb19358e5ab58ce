"""Children in classes by speed."""

from __future__ import annotations

import math
from bisect import bisect_left

from fogline.nodes.children.indexed_set import IndexedSet


class SpeedClasses:
    """Children in classes of about equal size, the fastest first; those of unknown speed count as the slowest.

    The borders are set anew only when the number of children has doubled or halved since, or when a quarter of
    them proved to be in the wrong class: an event costs the same for any number, and classes last for a while.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._seconds: dict[str, float] = {}
        self._rows: list[IndexedSet] = [IndexedSet() for _ in range(count)]
        self._class: dict[str, int] = {}
        self._borders: list[float] = []
        self._balanced_at = 0
        self._wrong = 0

    def add(self, child: str, seconds: float | None) -> None:
        """Add a child that has joined."""
        self._seconds[child] = math.inf if seconds is None else seconds
        self._put(child, bisect_left(self._borders, self._seconds[child]))

    def remove(self, child: str) -> None:
        """Remove a child that has left."""
        if self._seconds.pop(child, None) is not None:
            self._rows[self._class.pop(child)].remove(child)

    def measured(self, child: str, seconds: float) -> None:
        """A child took so long."""
        self._seconds[child] = seconds
        self._wrong += bisect_left(self._borders, seconds) != self._class[child]

    def row(self, index: int) -> IndexedSet:
        """The children of a class."""
        size = len(self._seconds)
        if not self._balanced_at <= 2 * size <= 4 * self._balanced_at or 4 * self._wrong > size:
            self._balance()
        return self._rows[index]

    def _balance(self) -> None:
        by_speed = sorted((seconds, child) for child, seconds in self._seconds.items())
        size, self._wrong = len(by_speed), 0
        self._balanced_at = size
        self._rows = [IndexedSet() for _ in range(self._count)]
        classes = max(1, min(self._count, size))
        for place, (_, child) in enumerate(by_speed):
            self._put(child, place * classes // size)
        self._borders = [by_speed[-(-i * size // classes) - 1][0] for i in range(1, classes)]

    def _put(self, child: str, index: int) -> None:
        self._class[child] = index
        self._rows[index].add(child)
