"""A blob on its way in."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from types import TracebackType

from fogline.storage.errors import CorruptBlobError, StorageError, explained, in_words
from fogline.storage.files import chunks

Publish = Callable[[FileIO, Path, str, bool], None]
"""Makes a blob of a finished file: the open file, its path, its digest, and whether durably."""


class BlobWriter:
    """Takes the bytes of one blob, in order, from ``offset`` on. One thread at a time may use it.

    What was written stays when the writer is closed or the process dies, and the next writer of the digest goes on
    there. As a context manager it closes itself.
    """

    def __init__(self, digest: str, size: int, file: FileIO | None, path: Path, publish: Publish) -> None:
        """``file``: the locked partial file, of at most ``size`` bytes; None if the blob is there already."""
        self.digest = digest
        """What the bytes must hash to (sha256 hex)."""
        self.size = size
        """Bytes that the blob has in the end."""
        self.offset = size if file is None else os.fstat(file.fileno()).st_size
        """Bytes that are there already: the next one to send. Equal to ``size``: only ``finish`` is left."""
        self._file = file
        self._path = path
        self._publish = publish
        self._hash = hashlib.sha256()
        self._hashed = 0

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()

    def write(self, chunk: bytes | memoryview) -> None:
        """Write the bytes at ``offset``.

        Raises:
            CorruptBlobError: more bytes than the blob has; what was written is deleted.
            StorageFullError: the disk is full; ``offset`` says how much was written.
            StorageError: the disk refuses, or the writer is closed.
        """
        view = memoryview(chunk).cast("B")
        if self.offset + len(view) > self.size:
            self._discard()
            raise CorruptBlobError(f"{self._name} was to have {in_words(self.size)}, but more came; send it anew")
        if not view:
            return
        file = self._open_file()
        with explained(f"write {self._name}", self._path):
            while view:
                written = file.write(view)
                self._hash.update(view[:written])
                self.offset = self._hashed = self.offset + written
                view = view[written:]

    def finish(self, durable: bool = True) -> None:
        """Check the bytes and make a blob of them; unless told otherwise, it is durable when this returns. A second
        call does nothing.

        Raises:
            CorruptBlobError: the bytes do not hash to the digest; they are deleted.
            StorageError: bytes are missing, or the blob cannot be stored; what was written stays.
        """
        if self._file is None:
            return
        file = self._open_file()
        if self.offset < self.size:
            raise StorageError(f"{self._name} has {self.offset} of its {self.size} bytes; send the rest first")
        if self._hash.hexdigest() != self.digest:
            self._discard()
            raise CorruptBlobError(
                f"{self._name} hashes to {self._hash.hexdigest()[:12]}…, not its digest; send it anew"
            )
        self._publish(file, self._path, self.digest, durable)
        self.close()
        self._file = None

    def close(self) -> None:
        """Let go of the partial file, for now; what was written stays."""
        if self._file is not None:
            self._file.close()

    @property
    def _name(self) -> str:
        return f"blob {self.digest[:12]}…"

    def _open_file(self) -> FileIO:
        if self._file is None or self._file.closed:
            raise StorageError(f"The writer of {self._name} is closed; ask for another")
        if self._hashed < self.offset:
            # What an earlier writer left. Reading it leaves the file at its end, where we go on.
            with explained(f"go on with {self._name}", self._path):
                for chunk in chunks(self._file):
                    self._hash.update(chunk)
            self._hashed = self.offset
        return self._file

    def _discard(self) -> None:
        if self._file is not None and not self._file.closed:
            # While the lock is held, so that nobody goes on with it in between.
            with explained(f"delete {self._name}", self._path):
                os.unlink(self._path)
        self.close()
