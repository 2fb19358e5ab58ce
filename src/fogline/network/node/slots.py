"""Whose turn it is to train, where a machine serves several jobs."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager


class PrioritySemaphore:
    """So many at once; of those who wait, the highest priority first, and equals in the order in which they came.

    Args:
        places: how many at once.
        changed: told when somebody's turn begins (True), and when nobody has one any more.
    """

    def __init__(self, places: int, changed: Callable[[bool], None] = lambda _: None) -> None:
        self._free = self._places = places
        self._changed = changed
        self._serial = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until nobody has a turn."""
        await self._idle.wait()

    @asynccontextmanager
    async def turn(self, priority: int) -> AsyncGenerator[None]:
        """Wait for a place, and have it inside."""
        if self._free == 0:
            place = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (-priority, next(self._serial), place))
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._give_back()
                raise
        else:
            self._free -= 1
        self._idle.clear()
        self._changed(True)
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        while self._waiting:
            _, _, place = heapq.heappop(self._waiting)
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
        if self._free == self._places:
            self._idle.set()
            self._changed(False)
