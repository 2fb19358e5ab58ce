"""A node writes its audit log while it runs: what is added at the same time becomes durable together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fogline.governance.audit_log.audit_log import AuditLog
from fogline.governance.audit_log.records import Fact
from fogline.processes.tasks import Tasks
from fogline.storage import Database, StorageError

log = logging.getLogger("fogline.network")


class AuditTrail:
    """Adds to a node's audit log.

    A disk that is full stops no work: what cannot be kept waits in memory, and is written with the next record.

    Args:
        node: whose log it is.
        database: the node's.

    Raises:
        AuditLogError: what is in the database is no log any more.
        StorageError: it cannot be read.
    """

    def __init__(self, node: str, database: Database) -> None:
        self.log = AuditLog(node, database)
        self.grown: Callable[[], None] = lambda: None
        """Told that there is something that others should be able to prove."""
        self._turn = asyncio.Lock()
        self._tasks = Tasks(node)

    async def record(self, what: str, by: str, about: str, **facts: Fact) -> None:
        """Add a record (see :meth:`AuditLog.add`); it is durable when this returns, if the disk allows it."""
        number = self.log.add(what, by, about, **facts)
        self.grown()
        await self._written(number)

    def note(self, what: str, by: str, about: str, **facts: Fact) -> None:
        """Add a record that becomes durable soon."""
        number = self.log.add(what, by, about, **facts)
        self.grown()
        self._tasks.spawn(self._written(number))

    async def witness(self, what: str, about: str, **facts: Fact) -> None:
        """Add a record of another node's log, of which nobody need be told."""
        await self._written(self.log.add(what, self.log.node, about, **facts))

    async def written(self, size: int) -> None:
        """Wait until the first ``size`` records are durable, if the disk allows it."""
        await self._written(size - 1)

    async def close(self) -> None:
        """Write what is left."""
        await self._tasks.close()
        await self.written(self.log.head().size)

    async def _written(self, number: int) -> None:
        async with self._turn:  # Whoever waited here mostly finds that it was written with the one before.
            if number < self.log.size:
                return
            try:
                await asyncio.to_thread(self.log.write)
            except StorageError as error:
                log.error("%s cannot keep its audit log for now: %s", self.log.node, error)
