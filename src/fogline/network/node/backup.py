"""A node's folder as one file, and a folder from such a file again.

The file is a tar archive that ends with a manifest: what each file's size and hash are. One that is cut short has none,
so it is noticed. It holds private keys, as the folder does: only its owner may read it, and it belongs where only they
can get at it.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
import tarfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from fogline.errors import InputError
from fogline.governance.errors import TrustError
from fogline.governance.identity.certificates import subject_of
from fogline.governance.identity.credentials import CERTIFICATE
from fogline.governance.subject import Subject
from fogline.network.node.process import LOCK, NodeFolder
from fogline.storage.atomic import DRAFT, PRIVATE, replacing
from fogline.storage.errors import explained
from fogline.storage.files import sync_folder

MANIFEST = "MANIFEST.json"
FORMAT = 1
"""It changes when an archive means something else."""
LARGEST_MANIFEST = 256 << 20
LEFT_OUT = ("drafts", "sessions")
"""What is made anew at every start."""
PIECE = 1 << 20


class BackupError(InputError, ValueError):
    """A backup cannot be made or used; one sentence with what to do."""


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


def back_up(folder: Path, file: Path) -> BackupManifest:
    """Write a node's folder into a file. The node must be stopped, and cannot be started meanwhile.

    Args:
        folder: the node's.
        file: a new one, outside the folder.

    Raises:
        BackupError: there is no node in the folder, or the file is there already or lies in the folder.
        StorageError: the node runs, or the disk does not allow it.
    """
    place, node = NodeFolder(folder), _subject(folder)
    if file.exists():
        raise BackupError(f"{file} is there already; name another file, so that no backup is lost")
    if folder.resolve() in file.resolve().parents:
        raise BackupError(f"{file} would lie in the folder that it is a copy of; name a file elsewhere")
    with place.occupied(), explained("write the backup", file), replacing(file, PRIVATE) as out:
        found: dict[str, FileInBackup] = {}
        with tarfile.open(fileobj=out, mode="w") as archive:
            for path in _files(folder):
                found[path.relative_to(folder).as_posix()] = _add(archive, folder, path)
            records = (folder / "records.sqlite").exists()
            manifest = BackupManifest(node.name, node.role, time.time(), found, records)
            _add_bytes(archive, MANIFEST, msgspec.json.encode(manifest))
    return manifest


def restore(file: Path, folder: Path) -> BackupManifest:
    """Make a node's folder from a backup. It is there as a whole or not at all.

    Args:
        file: as :func:`back_up` made it.
        folder: a new one, or an empty one.

    Raises:
        BackupError: the file is no backup or is damaged, or something lies in the folder.
        StorageError: the disk does not allow it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BackupError(f"{folder} is not empty; restore into a new folder, so that nothing there is lost")
    with explained("restore the backup", folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{DRAFT}")
        draft.mkdir(mode=0o700)
        try:
            manifest = _unpacked(file, draft)
            if folder.exists():
                folder.rmdir()
            draft.rename(folder)
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    return manifest


def _subject(folder: Path) -> Subject:
    try:
        return subject_of((folder / "identity" / CERTIFICATE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(f"There is no node in {folder}; name the folder of a cloud, a fog or a device") from None
    except TrustError as error:
        raise BackupError(f"The node in {folder} cannot be told: {error}") from error


def _files(folder: Path) -> Iterator[Path]:
    """Folders and files, in order; neither links nor sockets."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if parts[0] in LEFT_OUT or path.name == LOCK or path.name.endswith(DRAFT) or path.is_symlink():
            continue
        if path.is_file():
            yield path


def _add(archive: tarfile.TarFile, folder: Path, path: Path) -> FileInBackup:
    with path.open("rb") as source:
        hashing = _Hashing(source)
        info = archive.gettarinfo(arcname=path.relative_to(folder).as_posix(), fileobj=source)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        archive.addfile(info, hashing)  # pyright: ignore[reportArgumentType] - it only reads
    return FileInBackup(info.size, hashing.digest.hexdigest())


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), PRIVATE
    archive.addfile(info, io.BytesIO(data))


def _unpacked(file: Path, draft: Path) -> BackupManifest:
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
    except msgspec.DecodeError as error:
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
