"""The folder that blobs lie in.

=========================== =====================================================================
``<ab>/<digest>``           a blob; ``ab`` are the first two digits of its digest
``partial/<digest>``        the beginning of a blob that somebody sends
``partial/draft-<random>``  a blob that a process is making; without worth after a crash
=========================== =====================================================================
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from threading import Lock
from uuid import uuid4
from weakref import WeakKeyDictionary

from fogline.storage.errors import BlobBusyError, BlobTooLargeError, StorageFullError, explained, in_words
from fogline.storage.files import free_bytes, make_folder, open_locked, put_in_place
from fogline.storage.value import check_digest, is_digest


class BlobFolder:
    """Blobs and partial files in a folder. Every call may come from any thread or process.

    Args:
        root: the folder; made if it is missing.
        limit: bytes of the largest blob that is taken; None: any.
        reserve: bytes of free disk space that blobs leave alone.
    """

    def __init__(self, root: Path, limit: int | None, reserve: int) -> None:
        self.root = root
        self._partials = root / "partial"
        self._limit = limit
        self._reserve = reserve
        self._lock = Lock()
        self._growing: WeakKeyDictionary[FileIO, int] = WeakKeyDictionary()
        """Files that are being written, and the bytes that they will have."""
        with explained("keep blobs", root):
            make_folder(self._partials)

    def file(self, digest: str) -> Path:
        """Where a blob lies, or would. A digest that is none raises ``ValueError``."""
        return self.root / check_digest(digest)[:2] / digest

    def partial(self, digest: str) -> Path:
        """Where the beginning of a blob lies, or would."""
        return self._partials / check_digest(digest)

    def has(self, digest: str) -> bool:
        """Whether a blob is here."""
        return self.file(digest).exists()

    def digests(self) -> Iterator[str]:
        """Digests of all blobs here, in no order."""
        with explained("list blobs", self.root):
            for path in self.root.glob("??/*"):
                if is_digest(path.name) and path.name[:2] == path.parent.name:
                    yield path.name

    # Writing

    def check_room(self, size: int, already: int = 0) -> None:
        """Whether a blob of that size may be written, of which so many bytes are on the disk already.

        Raises:
            BlobTooLargeError: it is above the limit.
            StorageFullError: there is no room for it beside the reserve and what others were promised.
        """
        if self._limit is not None and size > self._limit:
            raise BlobTooLargeError(
                f"A blob of {in_words(size)} is above the limit of {in_words(self._limit)} in {self.root}; "
                f"send a smaller one, or raise the limit"
            )
        needed = size - already
        free = free_bytes(self.root) - sum(_missing(*growing) for growing in list(self._growing.items()))
        if needed > 0 and needed > free - self._reserve:
            raise StorageFullError(
                f"A blob needs {in_words(needed)} more, but {self.root} has {in_words(max(free, 0))} free and "
                f"keeps {in_words(self._reserve)} of it in reserve; free some space and try again"
            )

    def begin(self, digest: str, size: int) -> FileIO:
        """The partial file of a blob, locked, with at most ``size`` bytes in it.

        Raises:
            BlobBusyError: somebody else has it.
            BlobTooLargeError, StorageFullError: as :meth:`check_room`.
        """
        path = self.partial(digest)
        with self._lock, explained(f"begin blob {digest[:12]}…", self.root):
            already = path.stat().st_size if path.exists() else 0
            self.check_room(size, already if already <= size else 0)
            file = open_locked(path)
            if file is None:
                raise BlobBusyError(f"Blob {digest[:12]}… is being written by another; wait for it, or ask again later")
            if os.fstat(file.fileno()).st_size > size:
                file.truncate(0)  # One of two senders was wrong about the size.
            self._growing[file] = size
            return file

    @contextmanager
    def draft(self, size: int) -> Generator[tuple[FileIO, Path]]:
        """A new file that becomes a blob; what is left of it in the end is deleted.

        Raises:
            BlobTooLargeError, StorageFullError: as :meth:`check_room`.
        """
        path = self._partials / f"draft-{uuid4().hex}"
        with self._lock, explained("begin a blob", self.root):
            self.check_room(size)
            file = open_locked(path)
            if file is None:
                raise BlobBusyError(f"{path} is in use by another; try again")
            self._growing[file] = size
        try:
            yield file, path
        finally:
            file.close()
            path.unlink(missing_ok=True)

    def settle(self, file: FileIO, path: Path, digest: str, durable: bool = True) -> None:
        """Make a blob of a finished file on this disk."""
        with explained(f"store blob {digest[:12]}…", self.root):
            os.utime(file.fileno())  # Its age begins anew.
            put_in_place(file.fileno(), path, self.file(digest), durable)

    # Ageing

    def age_anew(self, digest: str) -> bool:
        """Make a blob count as new if it is here; whether it is."""
        with self._lock, explained(f"look at blob {digest[:12]}…", self.root):
            try:
                os.utime(self.file(digest))
            except FileNotFoundError:
                return False
            return True

    def changed(self, digest: str) -> float:
        """When a blob here was new, in seconds since 1970; 0 if it is not here."""
        try:
            return self.file(digest).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def sweep(self, keep: set[str], before: float) -> set[str]:
        """Delete blobs here that were new before that time and are not to be kept; which."""
        return {digest for digest in self.digests() if digest not in keep and self._delete_old(digest, before)}

    def _delete_old(self, digest: str, before: float) -> bool:
        # The lock: nobody makes it young between the look and the deletion.
        with self._lock, explained(f"delete blob {digest[:12]}…", self.root):
            old = 0 < self.changed(digest) < before
            if old:
                self.file(digest).unlink(missing_ok=True)
            return old

    def sweep_partials(self, before: float) -> int:
        """Delete partial files that nobody has touched since; how many."""
        return sum(self._delete_stale(path, before) for path in self._partials.iterdir())

    def delete_partial(self, digest: str) -> bool:
        """Delete the beginning of a blob, unless somebody is writing it; whether it was there and is not any more."""
        return self._delete_stale(self.partial(digest), float("inf"))

    def _delete_stale(self, path: Path, before: float) -> bool:
        with self._lock, explained("delete a partial blob", self.root):
            try:
                file = open_locked(path, create=False) if path.stat().st_mtime < before else None
            except FileNotFoundError:
                return False
            if file is None:  # It is young, or somebody is writing it.
                return False
            with file:
                path.unlink()
            return True


def _missing(file: FileIO, size: int) -> int:
    """Bytes that are still to come in a file of that final size."""
    try:
        return max(0, size - os.fstat(file.fileno()).st_size)
    except ValueError:  # It is closed.
        return 0
    except OSError as error:
        if error.errno != errno.EBADF:  # Another thread closed it in between.
            raise
        return 0
