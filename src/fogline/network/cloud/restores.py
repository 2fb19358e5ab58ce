"""A cloud that went back to a backup: nodes remember what it has forgotten, so it is noticed, and numbers leap."""

from __future__ import annotations

import asyncio

import msgspec

from fogline.governance.identity.serials import milliseconds
from fogline.network.cloud.job_store import JobStore
from fogline.network.cloud.registrar import has_enrolled, void_tokens
from fogline.registry.publisher import Publisher
from fogline.registry.restored import Floors, keep_floors, read_floors
from fogline.storage import Database

NEWS = "a node showed a newer signature of this cloud's than any that it has"
ENROLLED = "a node came in that this cloud has no record of having let in"
RECALL = "a node brought revocations that this cloud had forgotten"
ADVICE = (
    "What came after the backup is lost here: jobs (submit them again), versions, and who joined (they still come in). "
    "Nodes go on serving what they have until a version is released. Release one with: fogline models promote NAME, "
    "where the release keys are: that hands in again what was approved since"
)


class Restores:
    """Notices a restore.

    Args:
        job_store: jobs, and notices to the operator.
        publisher: the registry.
        database: where tokens and numbers are kept.
    """

    def __init__(self, job_store: JobStore, publisher: Publisher, database: Database) -> None:
        self.floors = Floors()
        """Below what numbers are not given any more."""
        self._job_store = job_store
        self._publisher = publisher
        self._database = database
        self._noticed = False
        self._lock = asyncio.Lock()

    def load(self) -> None:
        """Read what is known of earlier restores from a backup."""
        self.floors = read_floors(self._database)

    def forgot(self, job: int) -> None:
        """The job of that number is about to be forgotten: no other may get its number.

        Raises:
            StorageError: that cannot be kept.
        """
        if job > self.floors.jobs:
            self.floors = msgspec.structs.replace(self.floors, jobs=job)
            keep_floors(self._database, self.floors)

    async def shown(self, timestamp: bytes) -> None:
        """A node has shown a timestamp that it says is newer than ours."""
        async with self._lock:
            if await asyncio.to_thread(self._publisher.is_behind, timestamp):
                await self._leap(NEWS)

    async def recalled(self) -> None:
        """A node has brought revocations that were not known here."""
        async with self._lock:
            if not self._noticed:
                await self._leap(RECALL)

    async def arrived(self, name: str, since: int) -> None:
        """A node is connected whose membership began at that moment (milliseconds of Unix time)."""
        async with self._lock:
            if self._noticed or since <= milliseconds(self.floors.at):
                return
            if not await asyncio.to_thread(has_enrolled, self._database, name, since):
                await self._leap(ENROLLED)

    async def _leap(self, why: str) -> None:
        self._noticed = True
        self.floors = await asyncio.to_thread(self._publisher.restored, self._job_store.last_serial)
        void = await asyncio.to_thread(void_tokens, self._database)
        versions = ", ".join(f"{model} at {number + 1}" for model, number in sorted(self.floors.versions.items()))
        text = (
            f"This cloud has gone back to a backup: {why}. Jobs go on at number {self.floors.jobs + 1}"
            + (f", versions of {versions}" if versions else "")
            + (f", {void} tokens are void" if void else "")
            + f". {ADVICE}"
        )
        await asyncio.to_thread(self._job_store.notice, text)
