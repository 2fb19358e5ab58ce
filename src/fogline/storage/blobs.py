"""Blobs: files that are named by their sha256."""

from __future__ import annotations

import hashlib
import stat
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from fogline.storage.errors import CorruptBlobError, MissingBlobError, StorageError, explained
from fogline.storage.files import chunks, hash_file, write_all
from fogline.storage.folder import BlobFolder
from fogline.storage.writer import BlobWriter


class Blobs:
    """Blobs in a folder, named by their sha256. Every call may come from any thread or process.

    A digest that is none raises ``ValueError``. What the disk refuses is a ``StorageError``.

    Args:
        root: the folder; made if it is missing.
        limit: bytes of the largest blob that is taken; None: any.
        reserve: bytes of free disk space that blobs leave alone.
    """

    def __init__(self, root: Path, limit: int | None, reserve: int) -> None:
        self.where = str(root)
        """The place for people, without secrets."""
        self._folder = BlobFolder(root, limit, reserve)

    # Reading

    def has(self, digest: str) -> bool:
        """Whether the blob is there, complete."""
        return self._folder.has(digest)

    def size(self, digest: str) -> int:
        """Bytes of a blob.

        Raises:
            MissingBlobError: it is not there.
        """
        with explained(f"look at blob {digest[:12]}…", self._folder.root):
            return self.path(digest).stat().st_size

    def path(self, digest: str) -> Path:
        """A local file with the blob, for reading only. It stays until ``delete`` or ``sweep``.

        Raises:
            MissingBlobError: it is not there.
        """
        path = self._folder.file(digest)
        if not path.exists():
            raise MissingBlobError(
                f"There is no blob {digest[:12]}… in {self.where}; fetch it again from where it came"
            )
        return path

    def verify(self, digest: str) -> None:
        """Read a blob's local file in full; a damaged one is deleted.

        Raises:
            CorruptBlobError: its bytes are not those of the digest.
            MissingBlobError: it is not there.
        """
        path = self.path(digest)
        with explained(f"read blob {digest[:12]}…", self._folder.root):
            if hash_file(path)[0] == digest:
                return
            path.unlink(missing_ok=True)
        raise CorruptBlobError(f"Blob {digest[:12]}… in {self._folder.root} was damaged and is deleted; fetch it again")

    def all(self) -> Iterator[str]:
        """Digests of all blobs, in no order."""
        return self._folder.digests()

    # Writing

    def writer(self, digest: str, size: int) -> BlobWriter:
        """Begin to write a blob, or go on where the last writer stopped (``Writer.offset``).

        If the blob is there, the writer is done already: ``offset`` equals ``size``.

        Args:
            digest: what its bytes hash to.
            size: its bytes.

        Raises:
            BlobBusyError: somebody else, here or in another process, is writing it now; ask again later.
            BlobTooLargeError: it is above the limit. Nothing was written.
            StorageFullError: there is no room for it beside the reserve. Nothing was written.
            CorruptBlobError: the blob is there, and has another size.
        """
        path = self._folder.partial(digest)
        if size < 0:
            raise ValueError(f"A blob of {size} bytes cannot be")
        if self._is_here(digest, size):
            return BlobWriter(digest, size, None, path, self._publish)
        file = self._folder.begin(digest, size)
        if self._folder.has(digest) and self._is_here(digest, size):
            # Somebody finished it just before we had the lock.
            with file:
                path.unlink()
            return BlobWriter(digest, size, None, path, self._publish)
        return BlobWriter(digest, size, file, path, self._publish)

    def put(self, data: bytes, durable: bool = True) -> str:
        """Store bytes; their digest. For small blobs: all of it is in memory.

        ``durable``: whether they must survive a power cut; not where a record holds them too.

        Raises:
            BlobTooLargeError, StorageFullError: as :meth:`writer`.
        """
        digest = hashlib.sha256(data).hexdigest()
        if not self._is_here(digest, len(data)):
            with self._folder.draft(len(data)) as (file, path):
                with explained("write a blob", self._folder.root):
                    write_all(file, data)
                self._publish(file, path, digest, durable)
        return digest

    def adopt(self, path: Path, durable: bool = True) -> tuple[str, int]:
        """Move a finished file in; its digest and its size in bytes. Nobody may change it meanwhile.

        ``durable``: as in :meth:`put`.

        Raises:
            StorageError: it is no regular file.
            BlobTooLargeError, StorageFullError: as :meth:`writer`; the file stays where it is.
        """
        with explained("read a finished file", path):
            facts = path.lstat()
            if not stat.S_ISREG(facts.st_mode):
                raise StorageError(f"{path} is no regular file and cannot become a blob; copy it first")
            digest, size = hash_file(path)
        with explained("move a file in", self._folder.root):
            if not self._is_here(digest, size):
                self._take(path, digest, size, durable)
            # It is the blob itself where somebody gives us our own file.
            if path.exists() and not path.samefile(self._folder.file(digest)):
                path.unlink()
        return digest, size

    # Deleting

    def delete(self, digest: str) -> None:
        """Delete a blob, or what there is of its beginning if nobody is writing it; none of both is no error."""
        with explained(f"delete blob {digest[:12]}…", self._folder.root):
            self._folder.file(digest).unlink(missing_ok=True)
        self._folder.delete_partial(digest)

    def sweep(self, keep: set[str], older_than_s: float) -> int:
        """Delete blobs that nobody needs and partial files that nobody goes on with; how many.

        A blob that is put again counts as new. So it is safe to put a blob and to name it in a record within
        ``older_than_s``, whatever is swept meanwhile.

        Args:
            keep: digests that are needed (``Database.digests`` and others).
            older_than_s: seconds; what is younger stays.
        """
        before = time.time() - older_than_s
        return len(self._folder.sweep(keep, before)) + self._folder.sweep_partials(before)

    # Inside

    def _age_anew(self, digest: str) -> bool:
        """Make a blob count as new if it is here; whether it is."""
        return self._folder.age_anew(digest)

    def _publish(self, file: FileIO, path: Path, digest: str, durable: bool) -> None:
        """Make a blob of a finished file, whose bytes were checked."""
        self._folder.settle(file, path, digest, durable)

    def _is_here(self, digest: str, size: int) -> bool:
        """Whether the blob need not be written."""
        if not self._age_anew(digest):
            return False
        if (here := self.size(digest)) == size:
            return True
        try:
            self.verify(digest)
        except CorruptBlobError:
            return False  # Ours was damaged, and is deleted now.
        raise CorruptBlobError(f"Blob {digest[:12]}… in {self.where} has {here} bytes, not {size}; the sender is wrong")

    def _take(self, path: Path, digest: str, size: int, durable: bool) -> None:
        """Make a blob of a finished file, without a copy on the same disk."""
        if path.stat().st_dev == self._folder.root.stat().st_dev:
            self._folder.check_room(size, already=size)
            with FileIO(path) as file:
                self._publish(file, path, digest, durable)
            return
        with self._folder.draft(size) as (draft, place):
            with FileIO(path) as file:
                for chunk in chunks(file):
                    write_all(draft, chunk)
            self._publish(draft, place, digest, durable)
