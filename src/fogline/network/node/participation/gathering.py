"""The children that a job expects by name: it begins with them, or without those that do not come in time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fogline.nodes.messages import Hello


class Gathering:
    """Waits for children before the first round.

    Args:
        plan: their names. A run can be repeated if they begin in this order.
    """

    def __init__(self, plan: Sequence[str]) -> None:
        self._plan = tuple(plan)
        self._awaited = set(plan)
        self._complete = asyncio.Event()

    @property
    def pending(self) -> bool:
        """Whether somebody is waited for."""
        return bool(self._awaited)

    def already(self, present: Set[str]) -> None:
        """Those need not be waited for: they were there before the wait began."""
        self._awaited -= present

    def arrived(self, present: Set[str]) -> None:
        """Another one has come; these are there now."""
        if self._awaited <= present:
            self._complete.set()

    async def wait(self, running: asyncio.Task[None], seconds: float, present: Mapping[str, Hello]) -> list[str]:
        """Until all are there, `running` has ended, or so many seconds have passed; who is missing then."""
        complete = asyncio.create_task(self._complete.wait())
        await asyncio.wait((complete, running), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        complete.cancel()
        return sorted(self._awaited - present.keys())

    def close(self, present: Mapping[str, Hello]) -> list[str]:
        """Nobody is waited for any more. Who begins: those of the plan in its order, then the others."""
        self._awaited.clear()
        planned = [child for child in self._plan if child in present]
        return planned + [child for child, hello in present.items() if child not in self._plan and hello.trains]
