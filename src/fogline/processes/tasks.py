"""Work that goes on beside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger("fogline.processes")
T = TypeVar("T")


class Tasks:
    """Tasks that somebody has begun: they are kept until they end, and one that fails is logged.

    Args:
        owner: who, for the log.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._running: set[asyncio.Task[Any]] = set()
        self._over = False

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin one; after :meth:`cancel` it ends before its first step."""
        task = asyncio.create_task(work)
        if self._over:
            task.cancel()
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        """End all, and those that somebody begins later: what they need may be closed by then."""
        self._over = True
        for task in self._running:
            task.cancel()

    async def close(self) -> None:
        """End all, and see that they have ended."""
        self.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s: a task failed", self._owner, exc_info=task.exception())


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, Any]) -> None:
    """Do work, or leave off where nobody needs it any more. What it raised is raised.

    Args:
        stop: set when nobody does.
        work: is cancelled then.
    """
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await first_of(working, stopped)
    finally:
        working.cancel()
        stopped.cancel()


async def first_of(one: asyncio.Task[Any], other: asyncio.Task[Any] | None) -> None:
    """Wait until one of two is over; what it raised is raised."""
    done, _ = await asyncio.wait(
        [task for task in (one, other) if task is not None], return_when=asyncio.FIRST_COMPLETED
    )
    for task in done:
        task.result()
