"""Small tools for files that must survive a power cut."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path

CHUNK = 1 << 20
"""Bytes read or written at once."""


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def put_in_place(descriptor: int, draft: Path, final: Path, durable: bool = True) -> None:
    """Give a finished file, which is open, its final name; if durably, bytes first, then the name."""
    if not durable:
        final.parent.mkdir(exist_ok=True)
        draft.replace(final)
        return
    os.fsync(descriptor)
    make_folder(final.parent)
    draft.replace(final)
    sync_folder(final.parent)


def chunks(file: FileIO) -> Iterator[bytes]:
    """The bytes of a file from where it stands."""
    while chunk := file.read(CHUNK):
        yield chunk


def write_all(file: FileIO, data: bytes) -> None:
    """Write all of it, where the system takes only a part at once."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def free_bytes(folder: Path) -> int:
    """Free space on the folder's disk."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def hash_file(path: Path) -> tuple[str, int]:
    """Digest (sha256 hex) and size of a file."""
    digest, size = hashlib.sha256(), 0
    with FileIO(path) as file:
        for chunk in chunks(file):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def open_locked(path: Path, create: bool = True) -> FileIO | None:
    """Open a file for reading and writing that nobody else has open in this way; None if somebody has.

    The lock ends when the file is closed, so a process that dies holds none.

    Raises:
        FileNotFoundError: there is none, and none is to be created.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    while True:
        file = FileIO(os.open(path, flags, 0o600), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        # Who had the lock before may have renamed or deleted the file: then it is not the one of this name any more.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
