"""What can go wrong with storage. Every text is one sentence for people: what, where, what to do.

Names say what happened, without a suffix.
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from fogline.errors import FoglineError


class StorageError(FoglineError):
    """Records or blobs cannot be read or written. A text that does not say otherwise means: no record was written."""


class StorageFullError(StorageError):
    """There is no room left."""


class BlobTooLargeError(StorageError):
    """A blob is larger than this node takes."""


class BlobBusyError(StorageError):
    """Somebody else is writing the same blob at the moment."""


class MissingBlobError(StorageError):
    """There is no such blob here."""


class CorruptBlobError(StorageError):
    """Bytes are not those that their digest or their size promises."""


@contextmanager
def explained(doing: str, where: Path) -> Generator[None]:
    """Turn what the file system says into a sentence. ``doing`` stands after "cannot".

    Raises:
        StorageFullError: the disk or the quota is full.
        StorageError: anything else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(
                f"Cannot {doing} in {where}: the disk is full; free some space and try again"
            ) from error
        reason = error.strerror or type(error).__name__
        raise StorageError(f"Cannot {doing} in {where}: {reason}; check the disk and the folder's owner") from error


def in_words(size: int) -> str:
    """A number of bytes as people read it."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
