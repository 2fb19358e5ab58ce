"""Files that only their owner may read, and files that others may have changed."""

from __future__ import annotations

import os
from pathlib import Path


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not exist yet, and bring it to disk.

    Raises:
        FileExistsError: it exists.
        OSError: the disk or the folder does not allow it.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter; one that exists stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def read_bounded(path: Path, most: int) -> bytes:
    """At most ``most`` bytes of a file, and one more if it is longer.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(most + 1)
