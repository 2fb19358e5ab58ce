"""An event loop with timers exact to a few dozen microseconds.

asyncio rounds waits up to whole milliseconds, since ``epoll_wait`` does. This loop waits with ``select`` on the one
epoll descriptor, which takes microseconds.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import Any

Action = Callable[[Any], None]
"""Called with what was given with it."""


class EventLoop:
    """Calls readers when their descriptors are readable, and actions when they are due."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._due: list[tuple[float, int, Action, Any]] = []
        self._order = count()
        self._stopped = False
        self.now = monotonic()
        """Seconds; the time of this turn."""

    def watch(self, descriptor: int, reader: Callable[[], None]) -> None:
        """Call ``reader`` whenever there is something to read."""
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, select.EPOLLIN)

    def forget(self, descriptor: int) -> None:
        """No longer watch a descriptor, which is still open."""
        del self._readers[descriptor]
        self._epoll.unregister(descriptor)

    def at(self, due: float, action: Action, what: Any = None) -> None:
        """Call ``action(what)`` at that time; those due together in the order in which they were asked for."""
        heappush(self._due, (due, next(self._order), action, what))

    def refresh(self) -> None:
        """Read the clock, after long work outside of :meth:`run`."""
        self.now = monotonic()

    def stop(self) -> None:
        """End :meth:`run` after this turn."""
        self._stopped = True

    def run(self) -> None:
        """Turn until :meth:`stop`."""
        epoll, due, readers = self._epoll, self._due, self._readers
        while not self._stopped:
            ready = epoll.poll(0)
            if not ready:
                self._wait()
            self.now = now = monotonic()
            while due and due[0][0] <= now:
                _, _, action, what = heappop(due)
                action(what)
            for descriptor, _ in ready:
                reader = readers.get(descriptor)
                if reader is not None:
                    reader()

    def _wait(self) -> None:
        timeout = max(0.0, self._due[0][0] - monotonic()) if self._due else None
        select.select([self._epoll], [], [], timeout)
