"""``fogline backup`` and ``fogline restore``."""

from __future__ import annotations

import time
from pathlib import Path

from fogline.cli.options import COMMON, CommonOptions
from fogline.monitoring.human import human_bytes
from fogline.network.node.backups.archive import BackupManifest
from fogline.network.node.backups.backup import back_up
from fogline.network.node.backups.backup import restore as restored


def backup(folder: Path, file: Path, /, *, options: CommonOptions = COMMON) -> None:
    """Write the folder of a cloud, a fog or a device into a file, also while it runs.

    Of a node that runs, the file holds what was there at one instant.

    Parameters
    ----------
    folder
        The node's folder.
    file
        A new file. It holds the node's private keys: keep it where nobody else gets at it.
    """
    manifest = back_up(folder, file)
    made = time.strftime("%H:%M:%S", time.localtime(manifest.at))
    print(f"{_told(manifest)} as of {made} is in {file}. It holds private keys: keep it where nobody else gets at it.")
    if not manifest.records:
        print(
            "Its records are not in the folder, and so not in the file: back up the database (--store) and the bucket "
            "(--blobs) too, before the node is started again."
        )


def restore(file: Path, folder: Path, /, *, options: CommonOptions = COMMON) -> None:
    """Make the folder of a cloud, a fog or a device from a backup.

    Parameters
    ----------
    file
        As fogline backup wrote it.
    folder
        A new folder.
    """
    manifest = restored(file, folder)
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.at))
    print(f"{_told(manifest)} as of {made} is in {folder}. Never run it beside the node that it is a copy of.")
    print(f"Run it: fogline {manifest.role} run --folder {folder}")


def _told(manifest: BackupManifest) -> str:
    size = sum(file.size for file in manifest.files.values())
    return f"The {manifest.role} '{manifest.node}' ({len(manifest.files)} files, {human_bytes(size)})"
