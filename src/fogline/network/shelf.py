"""The values that a node keeps, counted: a blob is deleted when no job of the node needs it any more."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fogline.storage import Blobs, Value


class Shelf:
    """Blobs of all jobs of a node.

    Args:
        blobs: where they lie.
        drafts: folder for files that are being written.
        used: digests that the node's records name.
    """

    def __init__(self, blobs: Blobs, drafts: Path, used: Iterable[str] = ()) -> None:
        self.blobs = blobs
        self._drafts = drafts
        self._serial = itertools.count()
        self._uses = Counter(used)
        drafts.mkdir(parents=True, exist_ok=True)
        for left in drafts.iterdir():  # A crash left them; nobody knows them.
            left.unlink()

    def draft(self) -> Path:
        """A path for a new file."""
        return self._drafts / str(next(self._serial))

    async def take(self, draft: Path, kind: str) -> Value:
        """Move a finished file into the store; it is durable when this returns."""
        digest, size = await asyncio.to_thread(self.blobs.adopt, draft)
        return Value(digest, size, kind)

    def keep(self, value: Value) -> None:
        """One more record names that blob."""
        self._uses[value.digest] += 1

    def release(self, values: Iterable[Value]) -> None:
        """Records no longer name these blobs."""
        for value in values:
            self._uses[value.digest] -= 1
            if self._uses[value.digest] <= 0:
                del self._uses[value.digest]
                self.blobs.delete(value.digest)

    def holds(self, digest: str, size: int) -> bool:
        """Whether that blob is here, and as large as that."""
        return self.blobs.has(digest) and self.blobs.size(digest) == size

    def path(self, value: Value) -> str:
        """Where its bytes lie."""
        return str(self.blobs.path(value.digest))
