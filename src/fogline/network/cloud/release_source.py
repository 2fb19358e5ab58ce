"""Where models come from at the root of the tree: the registry, for nodes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fogline.governance.errors import TrustError
from fogline.processes.tasks import Tasks
from fogline.registry.publisher import Publisher
from fogline.registry.release import Outcome, Vitals
from fogline.registry.trust.binding import BINDING
from fogline.retries import SIGN_AGAIN
from fogline.storage import Blobs, StorageError

log = logging.getLogger("fogline.network")
Told = TypeVar("Told", Outcome, Vitals)


class ReleaseSource:
    """The registry as nodes see it.

    Args:
        publisher: the registry.
        binding: the first root of releases, signed by the fleet's authority.
        owner: this node, for the log.
    """

    def __init__(self, publisher: Publisher, binding: bytes, owner: str) -> None:
        self.publisher = publisher
        self.timestamp = publisher.timestamp()
        self.store = RegistryFiles(publisher.blobs)
        self._binding = binding
        self._tasks = Tasks(owner)
        self._due = asyncio.Event()
        self._closed = False
        self.told: Callable[[], None] = lambda: None
        """Called where something has become of a model."""

    def start(self) -> None:
        """Sign anew what runs out, and go on with rollouts, for as long as the node runs."""
        loop = asyncio.get_running_loop()

        def soon() -> None:  # From a thread.
            loop.call_soon_threadsafe(self._due.set)

        self.publisher.soon = soon
        self._tasks.spawn(self._keep_up())

    def close(self) -> None:
        """Stop: what the registry's threads still tell is not looked at, as its records may be closed."""
        self._closed = True
        self._tasks.cancel()

    def changed(self) -> bytes:
        """There is a new timestamp: what it is."""
        if not self._closed:
            self.timestamp = self.publisher.timestamp()
            self._due.set()
            self.told()
        return self.timestamp

    async def document(self, name: str, anew: bool = False) -> bytes | None:
        if name == BINDING:
            return self._binding
        try:
            return await asyncio.to_thread(self.publisher.signed.file, name)
        except StorageError as error:
            raise LookupError(str(error)) from error

    async def weigh(self, digest: str) -> int:
        if not await asyncio.to_thread(self.publisher.may_fetch, digest):
            raise LookupError("no job and no published version here has that blob (any more)")
        return await asyncio.to_thread(self.publisher.blobs.size, digest)

    async def obtain(self, digest: str, size: int | None = None) -> Path:
        await self.weigh(digest)
        return await asyncio.to_thread(self.publisher.blobs.path, digest)

    def take_outcome(self, outcome: Outcome) -> None:
        self._tasks.spawn(self._note(self.publisher.outcome, outcome))

    def measured(self, vitals: Vitals) -> None:
        self._tasks.spawn(self._note(self.publisher.vitals, vitals))

    async def _note(self, take: Callable[[Told], object], told: Told) -> None:
        await asyncio.to_thread(take, told)
        self.told()

    async def _keep_up(self) -> None:
        while True:
            self._due.clear()  # What comes from here on may not be seen by this look.
            try:
                following = await asyncio.to_thread(self.publisher.tick)
            except (TrustError, StorageError) as error:
                log.error("releases cannot be signed: %s", error)
                following = time.time() + SIGN_AGAIN
            try:
                async with asyncio.timeout(max(0.0, following - time.time())):
                    await self._due.wait()
            except TimeoutError:
                pass


class RegistryFiles:
    """The registry's own files: they are all there, and a node that serves does not delete them."""

    def __init__(self, blobs: Blobs) -> None:
        self.has = blobs.has
        self.path = blobs.path
        self.adopt = blobs.adopt

    def delete(self, digest: str) -> None:
        """Delete nothing: the registry keeps its files."""
