"""The folder of a node that runs, as it was at one instant: what ``kill -9`` would have left then.

The node recovers from that at every start, so it recovers from its backup too. It is not asked, and need not know; but
it waits for a moment when it wants to write a record. The order:

1. **A look at all files.** Each is put beside: a large one as a second name of it (a hard link), which holds its bytes
   when the node deletes it or moves another into its place; a small one as a copy. Nothing waits.
2. **The records stand still.** Nobody can write them from here on, and they are read as they are now, whatever comes.
3. **Looks, until one finds what the look before has found.** What is new or has changed is put beside. As nothing moved
   between two looks, all files were so at one instant, and the records too.
4. **The records are let go**, and what they were is copied. Then all of it goes into the archive, at leisure.

Why what is taken fits together:

- *Blobs* (updates, models, code as bundles). A blob is on disk before a record names it, and is deleted after no record
  does. So while the records stand still all that they name are there, and the last look sees them. A look need not
  find the same blobs as the one before: those that no record names may come and go.
- *Records* (journals, jobs, tokens, the audit log, counters of a policy): one file, one instant. So the audit log is no
  shorter than what the journals say was recorded.
- *Several files that belong together* (a key with its certificate, a policy with its signature, the code of a job, its
  result, what people approved) are moved into place one after the other; a look in between is followed by another,
  which finds that something has changed.
- *Files that grow* (the ledger of privacy, a run's rows): what they were then is their beginning, of which the size
  is noted. A node charges its ledger before the record of what left is made; as the records stand still first, no
  copy holds a record of what its ledger does not know. The other way round it charges for what never left, as a crash
  does.
- *Logs and samples* each stand for themselves, and may be a moment younger than the rest.
- *Drafts and the beginnings of blobs* are left out: who wrote them begins anew, as after a crash.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

from fogline.network.node.backups.files import (
    BESIDE_RECORDS,
    RECORDS,
    BackupError,
    FileStamp,
    files_of,
    is_blob,
    is_loose,
    is_partial,
)
from fogline.storage.atomic import PRIVATE
from fogline.storage.pinned import PinnedRecords

SMALL = 64 << 10
"""Bytes of a file that is copied at once. Larger ones are only ever replaced as a whole or added to."""
STILL = 6.0
"""Seconds that the records stand still, at most: a node that waits for them gives up after ten."""
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP)


class Taken(NamedTuple):
    """A file that was put beside."""

    path: Path
    """Where its bytes lie."""
    facts: FileStamp
    """What it was; of a file that has grown since, so many bytes count."""

    @property
    def size(self) -> int:
        """Bytes that count."""
        return self.facts[1]


class FolderImage:
    """Files of a folder, put beside.

    Args:
        folder: the node's.
        staging: an empty folder on the same disk.
    """

    def __init__(self, folder: Path, staging: Path) -> None:
        self.files: dict[str, Taken] = {}
        """By path, as the last look found them."""
        self._folder = folder
        self._staging = staging
        self._serial = 0

    def look(self, until: float = math.inf) -> Generator[str, None, bool]:
        """Put beside what is new or has changed. Each path is yielded when it was looked at; returned is whether
        anything had changed that matters to others.

        Args:
            until: when it must have ended, by the monotonic clock.

        Raises:
            BackupError: it has not, or the disk has no hard links.
            OSError: the disk does not allow it.
        """
        changed, gone = False, set(self.files)
        for name in self._names():
            if time.monotonic() > until:
                raise BackupError(
                    f"The node in {self._folder} changes its files ({name}) faster than they can be looked at; try "
                    "again when it has less to do, or stop it first"
                )
            try:
                facts = FileStamp.of(os.stat(self._folder / name))
            except FileNotFoundError:
                continue
            gone.discard(name)
            known = self.files.get(name)
            if known is None or (known.facts != facts and not is_blob(name)):
                changed = changed or not is_loose(name)
                self._take(name)
            yield name
        for name in gone:
            changed = changed or not is_loose(name)
            del self.files[name]
        return changed

    def _names(self) -> Iterator[str]:
        return (name for name in files_of(self._folder) if name not in BESIDE_RECORDS and not is_partial(name))

    def _take(self, name: str) -> None:
        """Put a file beside, unless it is gone."""
        self._serial += 1
        path, beside = self._folder / name, self._staging / str(self._serial)
        self.files.pop(name, None)
        try:
            with path.open("rb") as file:
                facts = os.fstat(file.fileno())  # Before it is read: what changes from here on, the next look sees.
                small = facts.st_size <= SMALL
                if small:
                    _write(beside, file.read(SMALL), facts)
            if not small:
                os.link(path, beside)
                facts = os.stat(beside)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            raise BackupError(
                f"{path} cannot have a second name in {self._staging} ({error.strerror}), which a backup of a node "
                "that runs needs; stop the node first"
            ) from error
        self.files[name] = Taken(beside, FileStamp.of(facts))


def _write(path: Path, data: bytes, like: os.stat_result) -> None:
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, PRIVATE)) as out:
        out.write(data)
        os.fchmod(out.fileno(), like.st_mode & 0o777)
    os.utime(path, ns=(like.st_mtime_ns, like.st_mtime_ns))


def take_image(image: FolderImage, records: Path, to: Path) -> Generator[str, None, float]:
    """Take a folder as it is at one instant, by the steps above; a word is yielded after each.

    Args:
        image: of the folder.
        records: the file of the node's records.
        to: a new file, for what they were.

    Returns:
        The Unix time of the instant.

    Raises:
        BackupError, OSError: as :meth:`FolderImage.look`.
        StorageError: the records cannot be read, or somebody writes them all the time.
    """
    yield from image.look()
    with PinnedRecords(records) as pinned:
        at, until = time.time(), time.monotonic() + STILL
        yield RECORDS
        while (yield from image.look(until)):
            yield "another look"
        pinned.let_go()
        yield "let go"
        pinned.copy_to(to)
    return at
