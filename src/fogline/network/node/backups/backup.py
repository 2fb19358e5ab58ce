"""A node's folder as one file, and a folder from such a file again.

The file is a tar archive that ends with a manifest: what each file's size and hash are. One that is cut short has none,
so it is noticed. It holds private keys, as the folder does: only its owner may read it, and it belongs where only they
can get at it.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from fogline.governance.errors import TrustError
from fogline.governance.identity.certificates import subject_of
from fogline.governance.identity.credentials import CERTIFICATE
from fogline.governance.subject import Subject
from fogline.network.node.backups.archive import ArchivedFile, BackupManifest, unpacked, write_archive
from fogline.network.node.backups.files import RECORDS, STAGING, TURN, BackupError, files_of
from fogline.network.node.backups.image import FolderImage, take_image
from fogline.network.node.process import NodeFolder
from fogline.storage.atomic import DRAFT, PRIVATE, replacing
from fogline.storage.errors import explained
from fogline.storage.files import open_locked, sync_folder


def back_up(folder: Path, file: Path) -> BackupManifest:
    """Write a node's folder into a file. Of a node that runs, as it is at one instant
    (:mod:`fogline.network.node.backups.image`); one that is stopped cannot be started meanwhile.

    Args:
        folder: the node's.
        file: a new one, outside the folder.

    Raises:
        BackupError: there is no node in the folder, or the file is there already or lies in the folder; or the node
            runs, and what it keeps is not all in the folder, or changes too fast.
        StorageError: the disk does not allow it.
    """
    place, node = NodeFolder(folder), _subject(folder)
    if file.exists():
        raise BackupError(f"{file} is there already; name another file, so that no backup is lost")
    if folder.resolve() in file.resolve().parents:
        raise BackupError(f"{file} would lie in the folder that it is a copy of; name a file elsewhere")
    with (
        _running(place, file) if place.runs() else _stopped(place) as (at, sources),
        explained("write the backup", file),
        replacing(file, PRIVATE) as out,
    ):
        records = any(source.name == RECORDS for source in sources)
        return write_archive(out, sources, BackupManifest(node.name, node.role, at, {}, records))


def restore(file: Path, folder: Path) -> BackupManifest:
    """Make a node's folder from a backup. It is there as a whole or not at all.

    Args:
        file: as :func:`back_up` made it.
        folder: a new one, or an empty one.

    Raises:
        BackupError: the file is no backup or is damaged, or something lies in the folder.
        StorageError: the disk does not allow it.
    """
    folder = folder.resolve()
    if folder == Path.cwd():
        raise BackupError(f"{folder} is where you are, and a restore makes it anew; name a new folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BackupError(f"{folder} is not empty; restore into a new folder, so that nothing there is lost")
    with explained("restore the backup", folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{DRAFT}")
        draft.mkdir(mode=0o700)
        try:
            manifest = unpacked(file, draft)
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


@contextmanager
def _stopped(place: NodeFolder) -> Generator[tuple[float, list[ArchivedFile]]]:
    """The files of a node that does not run, and the time; it cannot be started meanwhile."""
    folder = place.folder
    with place.occupied(), _turn(folder), explained("read the node", folder):
        sources = [ArchivedFile(name, folder / name) for name in files_of(folder)]
        yield time.time(), sources


@contextmanager
def _running(place: NodeFolder, file: Path) -> Generator[tuple[float, list[ArchivedFile]]]:
    """The files of a node that runs as they were at one instant, and when that was.

    What its records were lies beside the backup, as the node's own disk may have no room for it.
    """
    folder = place.folder
    _check_whole(place)
    records = file.with_name(f".{file.name}.{secrets.token_hex(8)}{DRAFT}")
    staging = folder / STAGING
    with _turn(folder):
        image = FolderImage(folder, staging)
        try:
            with explained("copy the node", folder):
                staging.mkdir(mode=0o700)
                at = _driven(take_image(image, folder / RECORDS, records))
            sources = [ArchivedFile(name, taken.path, taken.size) for name, taken in sorted(image.files.items())]
            yield at, [*sources, ArchivedFile(RECORDS, records)]
        finally:
            with suppress(OSError):  # Where it could not be made, that is what is said.
                records.unlink(missing_ok=True)


def _check_whole(place: NodeFolder) -> None:
    """Refuse where what a node that runs keeps is not all in its folder: the rest would be of another instant."""
    kept = place.kept_by_runner()
    if kept is None:
        raise BackupError(
            f"The node in {place.folder} was started by an older version, which does not say where its records lie; "
            "stop it first, or start it again"
        )
    if not kept.records or not kept.models:
        what = " and ".join(["records (--store)"] * (not kept.records) + ["models (--blobs)"] * (not kept.models))
        raise BackupError(
            f"The node in {place.folder} runs and keeps its {what} elsewhere, which would be of another moment; stop "
            "it, and back those up with their own tools before it is started again"
        )


@contextmanager
def _turn(folder: Path) -> Generator[None]:
    """One backup at a time, and nothing is there of those before, nor afterwards of this one."""
    with explained("copy the node", folder):
        turn = open_locked(folder / TURN)
        if turn is None:
            raise BackupError(f"Another backup of {folder} is being made; wait until it has ended")
    with turn:
        try:
            shutil.rmtree(folder / STAGING, ignore_errors=True)  # A backup that was killed has left it.
            yield
        finally:
            shutil.rmtree(folder / STAGING, ignore_errors=True)
            (folder / TURN).unlink(missing_ok=True)


def _driven(steps: Generator[str, None, float]) -> float:
    """What steps give in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value
