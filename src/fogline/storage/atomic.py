"""The one writer of files that are whole or not there: beside their place first, then moved into it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fogline.storage.files import put_in_place

DRAFT = ".part"
"""The end of the names of drafts; what a process that was killed leaves may be deleted (:func:`sweep_drafts`)."""
RANDOM = 8
"""Bytes of chance in the name of a draft, so that several may write the same file at once."""
PRIVATE = 0o600
PUBLIC = 0o644
USUAL = 0o666
"""What the user's mask takes its part of."""


@contextmanager
def replacing(path: Path, mode: int = USUAL, durable: bool = True) -> Generator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block ends; if it ends with an error, nothing changes.

    Who reads meanwhile, or after a crash, sees the old file or the new one, never half of it. Several may write the
    same file at once; the last one wins. :func:`~fogline.storage.errors.explained` makes sentences of the errors.

    Args:
        path: the file; its folder must be there.
        mode: of the file, from its first moment on.
        durable: whether it survives a power cut once the block has ended.

    Raises:
        OSError: the disk or the folder does not allow it.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(RANDOM)}{DRAFT}")
    try:
        with open(draft, "x+b", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            put_in_place(file.fileno(), draft, path, durable)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def write_file(path: Path, data: bytes | str, mode: int = USUAL, durable: bool = True) -> None:
    """Write a file with these bytes, or this text in UTF-8, as :func:`replacing` does.

    Raises:
        OSError: the disk or the folder does not allow it.
    """
    with replacing(path, mode, durable) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def sweep_drafts(*folders: Path) -> None:
    """Delete the drafts that writers which were killed left in folders; a folder that is not there has none.

    Only for who is the only writer there: what others are writing now would be deleted too.

    Raises:
        OSError: the disk or the folder does not allow it.
    """
    for folder in folders:
        for draft in folder.glob(f".*.{'[0-9a-f]' * (2 * RANDOM)}{DRAFT}"):
            draft.unlink(missing_ok=True)
