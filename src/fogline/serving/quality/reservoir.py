"""Which of many to give up when there is no room for all."""

from __future__ import annotations

import heapq
from collections import Counter


class Reservoir:
    """Names in groups, each with a key. The next to go is the lowest key of the largest group, so all groups stay.

    Within a group that is weighted reservoir sampling, if the key of an item of weight w is ``u ** (1 / w)`` for a
    uniform u (Efraimidis and Spirakis, 2006): whenever it is asked, every item ever put in had its fair chance.
    """

    def __init__(self) -> None:
        self._heaps: dict[int, list[tuple[float, str]]] = {}
        self._groups: dict[str, int] = {}
        self._sizes: Counter[int] = Counter()

    def __contains__(self, name: str) -> bool:
        return name in self._groups

    def __len__(self) -> int:
        return len(self._groups)

    def put(self, name: str, group: int, key: float) -> None:
        """Take one in that is not there."""
        self._groups[name] = group
        self._sizes[group] += 1
        heapq.heappush(self._heaps.setdefault(group, []), (key, name))

    def drop(self, name: str) -> None:
        """Let one go that is there."""
        group = self._groups.pop(name)
        self._sizes[group] -= 1
        if not self._sizes[group]:
            del self._sizes[group], self._heaps[group]

    def next(self) -> str:
        """Who goes next.

        Raises:
            IndexError: nobody is there.
        """
        if not self._groups:
            raise IndexError("the reservoir is empty")
        group = max(self._sizes, key=lambda group: self._sizes[group])
        heap = self._heaps[group]
        while self._groups.get(heap[0][1]) != group:
            heapq.heappop(heap)  # It was dropped before.
        return heap[0][1]
