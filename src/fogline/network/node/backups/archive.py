"""The archive: a tar of files that ends with a manifest, of which a part or a change is noticed."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import msgspec

from fogline.decoding import UNREADABLE
from fogline.network.node.backups.files import MANIFEST, BackupError
from fogline.storage.atomic import PRIVATE

FORMAT = 1
"""It changes when an archive means something else."""
LARGEST_MANIFEST = 256 << 20
PIECE = 1 << 20


class FileInBackup(msgspec.Struct, frozen=True):
    """What a file must be."""

    size: int
    sha256: str


class BackupManifest(msgspec.Struct, frozen=True):
    """What an archive holds."""

    node: str
    role: str
    at: float
    """Unix time at which it was made."""
    files: dict[str, FileInBackup]
    """By path."""
    records: bool
    """Whether the node's records are in it; else they lie in a database elsewhere."""
    format: int = FORMAT


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


class ArchivedFile(NamedTuple):
    """A file that goes into an archive."""

    name: str
    """Its path in the node's folder."""
    path: Path
    """Where its bytes lie now."""
    size: int | None = None
    """So many of them count; None: all."""


def write_archive(out: IO[bytes], sources: Iterable[ArchivedFile], manifest: BackupManifest) -> BackupManifest:
    """Write files, and a manifest that says what they are; that is returned.

    Args:
        out: takes the bytes.
        sources: the files.
        manifest: what else it says.

    Raises:
        BackupError: a file is shorter than it was.
        OSError: the disk does not allow it.
    """
    found: dict[str, FileInBackup] = {}
    with tarfile.open(fileobj=out, mode="w") as archive:
        for source in sources:
            found[source.name] = _add(archive, source)
        manifest = msgspec.structs.replace(manifest, files=found)
        _add_bytes(archive, MANIFEST, msgspec.json.encode(manifest))
    return manifest


def _add(archive: tarfile.TarFile, source: ArchivedFile) -> FileInBackup:
    with source.path.open("rb") as file:
        hashing = _Hashing(file)
        info = archive.gettarinfo(arcname=source.name, fileobj=file)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        if source.size is not None and info.size < source.size:
            raise BackupError(f"{source.name} was cut short while it was to be copied; try again")
        info.size = info.size if source.size is None else source.size
        archive.addfile(info, hashing)  # pyright: ignore[reportArgumentType] - it only reads
    return FileInBackup(info.size, hashing.digest.hexdigest())


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), PRIVATE
    archive.addfile(info, io.BytesIO(data))


def unpacked(file: Path, draft: Path) -> BackupManifest:
    """Unpack an archive, and check what it holds against its manifest."""
    found: dict[str, FileInBackup] = {}
    manifest: BackupManifest | None = None
    with _reading(file) as archive:
        for member in archive:
            source = archive.extractfile(member) if member.isreg() else None
            if source is None or manifest is not None:
                raise BackupError(f"{file} holds {member.name[:80]!r}, which no backup has; it was changed")
            if member.name == MANIFEST and member.size <= LARGEST_MANIFEST:
                manifest = _manifest(file, source.read())
                continue
            if member.name in found:
                raise BackupError(f"{file} was changed: {member.name[:80]!r} is there twice; take another one")
            path = draft / _checked(file, member.name)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            found[member.name] = _extract(source, path, member.mode)
    if manifest is None:
        raise BackupError(f"{file} is cut short, or no backup: it has no manifest; take another one")
    if found != manifest.files:
        wrong = sorted(name for name in found.keys() | manifest.files if found.get(name) != manifest.files.get(name))
        raise BackupError(f"{file} is damaged: {', '.join(wrong[:3])} is not what was backed up; take another one")
    return manifest


@contextmanager
def _reading(file: Path) -> Generator[tarfile.TarFile]:
    try:
        with tarfile.open(file, mode="r:") as archive:
            yield archive
    except FileNotFoundError:
        raise BackupError(f"There is no file {file}") from None
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"{file} is cut short, or no backup: {error}; take another one") from error


def _manifest(file: Path, data: bytes) -> BackupManifest:
    try:
        manifest = msgspec.json.decode(data, type=BackupManifest)
    except UNREADABLE as error:
        raise BackupError(f"{file} is damaged: its manifest cannot be read ({error}); take another one") from error
    if manifest.format != FORMAT:
        raise BackupError(
            f"{file} has format {manifest.format}; this version of Fogline reads {FORMAT}. Restore it with the version "
            "that made it"
        )
    return manifest


def _checked(file: Path, name: str) -> PurePosixPath:
    """A path that stays below the folder."""
    parsed = PurePosixPath(name)
    if parsed.is_absolute() or not parsed.parts or ".." in parsed.parts:
        raise BackupError(
            f"{file} names a file {name[:80]!r}, which would not lie in the node's folder; it was changed"
        )
    return parsed


def _extract(source: IO[bytes], path: Path, mode: int) -> FileInBackup:
    hashing = _Hashing(source)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o777)
    with open(descriptor, "wb") as out:
        while piece := hashing.read(PIECE):
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
        return FileInBackup(out.tell(), hashing.digest.hexdigest())
