"""The values that a node keeps, counted: a blob is deleted when no job of the node needs it any more."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fogline.network.transport.messages import SMALL, Blob
from fogline.storage import BlobRef, Blobs, CorruptBlobError, MissingBlobError
from fogline.storage.errors import explained

log = logging.getLogger("fogline.network")


class ValueStore:
    """Blobs of all jobs of a node.

    Args:
        blobs: where they lie.
        small: where files of the small ones lie, whose bytes are in the records: always on this machine.
        drafts: folder for files that are being written.
        used: digests that the node's records name.
    """

    def __init__(self, blobs: Blobs, small: Blobs, drafts: Path, used: Iterable[str] = ()) -> None:
        self.blobs = blobs
        self._small = small
        self._drafts = drafts
        self._serial = itertools.count()
        self._uses = Counter(used)
        shutil.rmtree(drafts, ignore_errors=True)  # What a crash left, nobody knows.
        drafts.mkdir(parents=True)

    def draft(self) -> Path:
        """A path for a new file."""
        return self._drafts / str(next(self._serial))

    async def take(self, draft: Path, kind: str) -> BlobRef:
        """Move a finished file into the store. A large one is durable when this returns; a small one is in the value,
        and so in the record that will name it."""
        return await asyncio.to_thread(self._take, draft, kind)

    def _take(self, draft: Path, kind: str) -> BlobRef:
        with explained("read what the worker wrote", draft):
            data = draft.read_bytes() if draft.stat().st_size <= SMALL else None
        if data is None:
            digest, size = self.blobs.adopt(draft)
            return BlobRef(digest, size, kind)
        digest, size = self._small.adopt(draft, durable=False)
        return BlobRef(digest, size, kind, data)

    def receive(self, blob: Blob, kind: str) -> BlobRef | None:
        """The value of a blob that came with a message; None where it is not here, or is not what it says."""
        if not blob.data:
            return BlobRef(blob.digest, blob.size, kind) if self.holds(blob.digest, blob.size) else None
        if len(blob.data) > SMALL or hashlib.sha256(blob.data).hexdigest() != blob.digest:
            return None
        self._small.put(blob.data, durable=False)
        return BlobRef(blob.digest, len(blob.data), kind, blob.data)

    def discard(self, digest: str) -> None:
        """A blob came that nobody waited for: it goes, unless a record names it."""
        if not self._uses[digest]:
            self.blobs.delete(digest)

    def restore(self, values: Iterable[BlobRef]) -> None:
        """After a start: files that were not durable may have been damaged in a power cut.

        Small values come out of their records; models from above are checked, and a damaged one is deleted.
        """
        for value in values:
            if value.data:
                self._small.delete(value.digest)
                self._small.put(value.data, durable=False)
            elif value.kind == "model" and self.blobs.has(value.digest):
                with contextlib.suppress(CorruptBlobError):
                    self.blobs.verify(value.digest)

    def keep(self, value: BlobRef) -> None:
        """One more record names that blob."""
        self._uses[value.digest] += 1

    def release(self, values: Iterable[BlobRef]) -> None:
        """Records no longer name these blobs."""
        for value in values:
            self._uses[value.digest] -= 1
            if self._uses[value.digest] <= 0:
                del self._uses[value.digest]
                (self._small if value.data else self.blobs).delete(value.digest)

    def holds(self, digest: str, size: int) -> bool:
        """Whether that blob is here, and as large as that."""
        return self.blobs.has(digest) and self.blobs.size(digest) == size

    def small(self, digest: str) -> Path | None:
        """Where a small value lies, whose bytes are in a record; None: it is none, or not here."""
        return self._small.path(digest) if self._small.has(digest) else None

    def place(self, value: BlobRef) -> str:
        """Where its bytes lie, or would: a worker that finds none refuses what it cannot read."""
        try:
            return self.path(value)
        except MissingBlobError as error:
            log.error("an update is gone from the disk: %s", error)
            return str(self._drafts / f"gone-{value.digest}")

    def path(self, value: BlobRef) -> str:
        """Path of the file that holds a value's bytes."""
        return str((self._small if value.data else self.blobs).path(value.digest))
