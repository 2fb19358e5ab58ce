"""Which files of a node's folder are worth a backup."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fogline.errors import InputError
from fogline.network.node.process import LOCK
from fogline.storage.atomic import DRAFT
from fogline.storage.value import is_digest

RECORDS = "records.sqlite"
BESIDE_RECORDS = (RECORDS, f"{RECORDS}-wal", f"{RECORDS}-shm")
"""The records of a node that runs, and what SQLite keeps beside them: only SQLite may open these."""
STAGING, TURN = ".backup", "backup.lock"
"""In the node's folder: where a backup of a node that runs is put together, and who does that now."""
MANIFEST = "MANIFEST.json"
"""In an archive: what the other files are. Who has unpacked one by hand has it in the folder, too."""
LEFT_OUT = frozenset({"drafts", "sessions", LOCK, STAGING, TURN, MANIFEST, "node.pid"})
"""What is made anew at every start, or with every backup."""
PARTIAL = "partial"
"""Beside blobs: what comes in just now. Without it a transfer begins anew."""
LOOSE = frozenset({"logs", "samples"})
"""Folders in which each file stands for itself, whatever the others say."""


class BackupError(InputError, ValueError):
    """A backup cannot be made or used; one sentence with what to do."""


def files_of(folder: Path, below: str = "") -> Iterator[str]:
    """Paths of files below a folder, in order; no sockets. A folder that goes meanwhile has none.

    Raises:
        BackupError: there is a link, which may lead to what belongs to the node, or a name that cannot be written down.
        OSError: the disk does not allow it.
    """
    try:
        found = sorted(os.scandir(folder / below), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in found:
        path = f"{below}/{entry.name}" if below else entry.name
        if (not below and entry.name in LEFT_OUT) or entry.name.endswith(DRAFT):
            continue
        _check(folder / path, entry.is_symlink())
        if entry.is_dir(follow_symlinks=False):
            yield from files_of(folder, path)
        elif entry.is_file(follow_symlinks=False):
            yield path


def _check(path: Path, is_link: bool) -> None:
    if is_link:
        raise BackupError(
            f"{path} is a link, and what it leads to would not be in the backup; put that in its place (a disk of its "
            "own can be mounted there), or delete the link if the node does not need it"
        )
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise BackupError(f"{str(path)!r} has a name that is no text, and is none of the node's; rename it") from None


def is_blob(path: str) -> bool:
    """Whether a file is named by its bytes, and so never changes."""
    name = path.rpartition("/")[2]
    return is_digest(name) and path.endswith(f"/{name[:2]}/{name}")


def is_partial(path: str) -> bool:
    """Whether a file is the beginning of a blob."""
    return path.split("/")[-2:-1] == [PARTIAL]


def is_loose(path: str) -> bool:
    """Whether a file may be a moment younger or older than the others."""
    return is_blob(path) or path.partition("/")[0] in LOOSE


class FileStamp(tuple[int, int, int, int]):
    """What shows that a file is another one, or another than it was: its inode, size, time of change and mode."""

    __slots__ = ()

    @classmethod
    def of(cls, facts: os.stat_result) -> FileStamp:
        """From what the system says of it."""
        return cls((facts.st_ino, facts.st_size, facts.st_mtime_ns, stat.S_IMODE(facts.st_mode)))
