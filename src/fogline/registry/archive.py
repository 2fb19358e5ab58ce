"""A version as one file, to carry it to another site: a zip, not compressed, of its card and its blobs.

=================== ==================================================================
``card.json``       the card, byte by byte as it was published
``blobs/<digest>``  every file that it names but the deltas, by rising digest
=================== ==================================================================

The same version gives the same bytes. Differences from other versions stay behind, for who imports has not got those.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from fogline.errors import InputError
from fogline.governance.bundles.archive import Archive, ArchiveLimits, Form, write_to
from fogline.inference.card import LARGEST as LARGEST_CARD
from fogline.inference.card import Asset, Card, CardError, read_card
from fogline.registry.catalogue import Catalogue
from fogline.storage.atomic import replacing
from fogline.storage.files import CHUNK

CARD = "card.json"
BLOBS = "blobs/"
LARGEST = 2_000_000_000
"""Bytes of the largest archive."""
MOST_FILES = 32


class ArchiveError(InputError, ValueError):
    """A version that cannot be exported, or a file that cannot be imported; the text is a sentence."""


FORM = Form("model archive", zipfile.ZIP_STORED, ArchiveError)


def export_version(catalogue: Catalogue, model: str, version: int, path: Path) -> None:
    """Write a version into a file, which is whole or not there.

    Raises:
        CatalogueError: there is no such version.
        CorruptBlobError: a file of the version was damaged.
        ArchiveError: it is too large, or the file cannot be written.
    """
    own = catalogue.asset(model, version)
    assets = _carried(catalogue.get(model, version))
    if sum(asset.size for asset in assets) > LARGEST - LARGEST_CARD:
        raise ArchiveError(
            f"Version {version} of '{model}' has more than the {LARGEST} bytes that an archive may have."
        )
    for asset in (own, *assets):
        catalogue.blobs.verify(asset.digest)
    names = {CARD: own} | {BLOBS + asset.digest: asset for asset in assets}
    try:
        with replacing(path) as out:
            write_to(out, {name: _pieces(catalogue.blobs.path(a.digest)) for name, a in names.items()}, FORM)
    except OSError as error:
        raise ArchiveError(f"The model archive {path} cannot be written: {error.strerror}.") from error


def import_version(catalogue: Catalogue, path: Path, limit: int = LARGEST) -> Card:
    """Make a version of what is in a file, with a number of this catalogue's; nothing is stored before all is checked.

    The version says in its lineage which card it came from. Approvals of the other site do not count here, so they
    are left out.

    Args:
        catalogue: where it goes.
        path: the file.
        limit: bytes of the largest that is accepted.

    Returns:
        The new version's card; that of the version that is there, if the file was imported before.

    Raises:
        ArchiveError: the file cannot be read, is too large, or is not exactly a version with all its files.
    """
    try:
        with path.open("rb") as file:
            archive, body, card = _checked(file, limit)
            for asset in _carried(card):
                _store(archive, asset, catalogue)
    except OSError as error:
        raise ArchiveError(f"The model archive {path} cannot be read: {error.strerror}.") from error
    origin = hashlib.sha256(body).hexdigest()
    lineage = msgspec.structs.replace(card.lineage, origin=origin, parent=0, approved=())
    return catalogue.publish(msgspec.structs.replace(card, lineage=lineage, deltas=()), {})


def unpack_version(path: Path, folder: Path, limit: int = LARGEST) -> Card:
    """Write the files of an exported version into ``blobs`` of a folder, each under its digest; nothing is written
    before all is checked.

    Args:
        path: the file.
        folder: where they go.
        limit: bytes of the largest that is accepted.

    Returns:
        Its card, without the differences from other versions, which no archive holds.

    Raises:
        ArchiveError: the file cannot be read, is too large, or is not exactly a version with all its files.
    """
    try:
        with path.open("rb") as file:
            archive, _, card = _checked(file, limit)
            (folder / BLOBS).mkdir(parents=True, exist_ok=True)
            for asset in _carried(card):
                with (folder / BLOBS / asset.digest).open("wb") as out:
                    for piece in archive.read(BLOBS + asset.digest, asset.size):
                        out.write(piece)
    except OSError as error:
        raise ArchiveError(f"The model archive {path} cannot be unpacked to {folder}: {error.strerror}.") from error
    return msgspec.structs.replace(card, deltas=())


def _carried(card: Card) -> list[Asset]:
    """The files of a card that go along, by rising digest."""
    return sorted(set(msgspec.structs.replace(card, deltas=()).files()), key=lambda asset: (asset.digest, asset.size))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece


def _checked(file: BinaryIO, limit: int) -> tuple[Archive, bytes, Card]:
    """An archive that holds exactly what its card names, to be read once more from its beginning, and its card."""
    limits = ArchiveLimits(limit, limit, MOST_FILES, 1)
    archive = Archive(file, limits, FORM)
    body = b"".join(archive.read(CARD, LARGEST_CARD))
    try:
        card = read_card(body)
    except CardError as error:
        raise ArchiveError(f"The model archive cannot be used: {error}") from None
    assets = _carried(card)
    if archive.names != [CARD, *(BLOBS + asset.digest for asset in assets)]:
        raise ArchiveError("The model archive does not hold exactly the files that its card names, in their order.")
    for asset in assets:
        size, digest = 0, hashlib.sha256()
        for piece in archive.read(BLOBS + asset.digest, asset.size):
            size += len(piece)
            digest.update(piece)
        if (digest.hexdigest(), size) != (asset.digest, asset.size):
            raise ArchiveError(f"The file {asset.digest[:12]}… of the model archive is damaged.")
    return Archive(file, limits, FORM), body, card


def _store(archive: Archive, asset: Asset, catalogue: Catalogue) -> None:
    with catalogue.blobs.writer(asset.digest, asset.size) as writer:
        place = 0
        for piece in archive.read(BLOBS + asset.digest, asset.size):
            # An earlier try may have left the beginning.
            writer.write(piece[max(0, writer.offset - place) :])
            place += len(piece)
        writer.finish()
