"""What a node deletes by itself once a day, as its owner's policy says: jobs that are long over, and their logs.

The audit log, ledgers, who joined and who was revoked stay, whatever the policy says, and so do versions of models.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fogline.governance.errors import SitePolicyError
from fogline.governance.policy.policy import read_policy
from fogline.storage import StorageError
from fogline.storage.errors import explained

if TYPE_CHECKING:
    from fogline.network.node.node import Node

log = logging.getLogger("fogline.network")
DAY = 86400.0
KIND, LAST = "retention", "last"
"""The document that says when (Unix time) something was last looked for."""
SERVER_LOG = "serving"
"""The one log that is no job's: of what answers predictions."""
ForgetJobs = Callable[[float, str], Awaitable[None]]
"""Forgets the jobs that were over at a Unix time, for the reason that stands beside."""


class RetentionTimer:
    """Looks once a day for what is to go. A day that a restart falls into is no longer, and no shorter.

    Args:
        node: whose folder it is.
        policy: the owner's file, read anew every day.
        forget_jobs: at the cloud.
        clock: gives Unix time.
    """

    def __init__(
        self, node: Node, policy: Path, forget_jobs: ForgetJobs | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._node = node
        self._policy = policy
        self._forget_jobs = forget_jobs
        self._clock = clock

    async def run(self) -> None:
        """Look every day, for as long as the node runs. What cannot be done today is tried tomorrow."""
        wait = await asyncio.to_thread(self.first_wait)
        while True:
            await asyncio.sleep(wait)
            try:
                await self.turn()
            except (SitePolicyError, StorageError, OSError) as error:
                log.error("%s deletes nothing more today: %s", self._node.name, error)
            wait = DAY

    def first_wait(self) -> float:
        """Seconds until a day has passed since the last turn; none where there was none."""
        try:
            body = self._node.database.get(KIND, LAST)
        except StorageError as error:
            log.error("%s deletes nothing today: %s", self._node.name, error)
            return DAY
        last = 0.0 if body is None else msgspec.json.decode(body, type=float)
        return min(max(0.0, last + DAY - self._clock()), DAY)

    async def turn(self) -> None:
        """Delete what the policy says; each thing is in the audit log before.

        Raises:
            SitePolicyError: the policy cannot be read.
            StorageError, OSError: something cannot be deleted.
        """
        keeps = (await asyncio.to_thread(read_policy, self._policy)).retention
        if keeps.jobs is None and keeps.logs is None:
            return
        now = self._clock()
        if keeps.jobs is not None and self._forget_jobs is not None:
            await self._forget_jobs(now - keeps.jobs * DAY, f"retention.jobs is {keeps.jobs}d")
        if keeps.logs is not None:
            for job in await asyncio.to_thread(self._old_logs, now - keeps.logs * DAY):
                why = f"retention.logs is {keeps.logs}d"
                await self._node.audit.record("log.deleted", self._node.name, job, why=why)
                await asyncio.to_thread(self._node.log_file(job).unlink, missing_ok=True)
        await asyncio.to_thread(self._node.database.put, KIND, LAST, msgspec.json.encode(now))

    def _old_logs(self, before: float) -> list[str]:
        """Jobs that need their log no more, and have said nothing since a Unix time."""
        with explained("look for old logs", self._node.folder):
            old = [path.stem for path in self._node.logs() if path.stat().st_mtime <= before]
        return [job for job in old if job != SERVER_LOG and not self._needs(job)]

    def _needs(self, job: str) -> bool:
        node = self._node
        return node.job_manager.needs(job) or (node.cloud is not None and not node.cloud.has_ended(job))
