"""The files of a version: which ones a node needs, the shortest way to have them, and what the server gets of them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from fogline.inference.card import Asset, Card, PersonalOrigin, WeightsDelta, read_card
from fogline.network.node.mirror import ServedFiles
from fogline.serving.update.personal import PersonalVersions
from fogline.serving.update.ports import Installer, UnfitModelError, Upstream
from fogline.serving.update.state import HeldVersion
from fogline.storage.errors import explained

log = logging.getLogger("fogline.serving")


class FileFetcher:
    """Fetches cards and files into the node's store.

    Args:
        upstream: where they come from.
        store: the node's blobs.
        installer: applies differences.
        drafts: folder for files that are being made; emptied here.
        variants: whether the node wants variants in fewer bits too.
    """

    def __init__(
        self, upstream: Upstream, store: ServedFiles, installer: Installer, drafts: Path, variants: bool
    ) -> None:
        self._upstream = upstream
        self._store = store
        self._installer = installer
        self._drafts = drafts
        self._variants = variants
        with explained("empty the folder for drafts", drafts):
            drafts.mkdir(parents=True, exist_ok=True)
            for left in drafts.iterdir():  # A crash left them.
                left.unlink()

    async def fetch_card(self, asset: Asset) -> Card:
        """A card.

        Raises:
            CardError: it is none.
            LookupError, ConnectionError, StorageError: as :meth:`Upstream.fetch`.
        """
        await self._fetch(asset)
        return read_card(self.card(asset))

    def card(self, asset: Asset) -> bytes:
        """A card that is here.

        Raises:
            StorageError: it is not.
        """
        path = self._store.path(asset.digest)
        with explained("read a model card", path):
            return path.read_bytes()

    def needs(self, card: Card) -> tuple[Asset, ...]:
        """Files that this node needs to serve it."""
        variants = [variant.graph for variant in card.variants] if self._variants else []
        return (*card.assets().values(), *variants)

    async def gather(self, card: Card) -> None:
        """See that all files are here.

        Raises:
            LookupError, ConnectionError, StorageError: as :meth:`Upstream.fetch`.
            InstallerError: a difference could not be tried.
        """
        for asset in self.needs(card):
            if asset == card.weights:
                await self._gather_weights(card, asset)
            else:
                await self._fetch(asset)

    def all_paths(self, held: HeldVersion) -> Mapping[str, Path]:
        """As :meth:`paths`, with the card.

        Raises:
            StorageError: one is not here.
        """
        return {held.card.digest: self._store.path(held.card.digest), **self.paths(held)}

    def paths(self, held: HeldVersion) -> Mapping[str, Path]:
        """Where the files lie, by digest.

        Raises:
            StorageError: one is not here.
        """
        return {asset.digest: self._store.path(asset.digest) for asset in held.files}

    def check_card(self, asset: Asset) -> None:
        """Delete a card that is not what its digest says, as after a power cut: it is fetched again then.

        Raises:
            StorageError: the disk is in the way.
        """
        if self._store.has(asset.digest) and hashlib.sha256(self.card(asset)).hexdigest() != asset.digest:
            log.warning("the card %s… was damaged on this node's disk; it is fetched again", asset.digest[:12])
            self._store.delete(asset.digest)

    def missing(self, digests: frozenset[str]) -> frozenset[str]:
        """Those that are not here."""
        return frozenset(digest for digest in digests if not self._store.has(digest))

    def delete(self, digest: str) -> None:
        """Delete a file; one that is not here is no error."""
        self._store.delete(digest)

    async def _gather_weights(self, card: Card, weights: Asset) -> None:
        if self._store.has(weights.digest):
            return
        delta = self._shortest(card, weights)
        if delta is not None:
            try:
                await self._add(delta, weights)
                return
            except (LookupError, UnfitModelError) as error:
                log.info("version %d of %s is fetched in full: %s", card.version, card.model, error)
        await self._fetch(weights)

    def _shortest(self, card: Card, weights: Asset) -> WeightsDelta | None:
        """The smallest difference from what is here, if it is smaller than the file itself."""
        usable = [d for d in card.deltas if d.asset.size < weights.size and self._store.has(d.base)]
        return min(usable, key=lambda delta: delta.asset.size, default=None)

    async def _add(self, delta: WeightsDelta, weights: Asset) -> None:
        await self._fetch(delta.asset)
        base, difference = self._store.path(delta.base), self._store.path(delta.asset.digest)
        out = self._drafts / weights.digest
        try:
            await self._installer.reconstruct(base, difference, delta.codec, weights, out)
            await asyncio.shield(asyncio.to_thread(self._store.adopt, out))
        finally:
            out.unlink(missing_ok=True)
        if not self._store.has(weights.digest):
            raise UnfitModelError("the difference gave another file than the one expected")

    async def _fetch(self, asset: Asset) -> None:
        if not self._store.has(asset.digest):
            await self._upstream.fetch(asset)


def served(
    files: FileFetcher, personal: PersonalVersions, held: HeldVersion
) -> tuple[bytes, Mapping[str, Path], PersonalOrigin | None]:
    """What the server gets of a version: card, files by digest, and where the part comes from that is this device's
    own.

    Raises:
        StorageError: something of it is not here, or damaged.
    """
    card = narrowed(files.card(held.card), held.runtime)
    paths, origin = personal.laid(read_card(card), files.paths(held))
    if origin is not None:  # Variants have weights of their own, which are those of all.
        card = replace(read_card(card), variants=()).encoded()
    return card, paths, origin


def narrowed(card: bytes, runtime: str) -> bytes:
    """A card that offers one runtime only: plain layers need no ONNX Runtime, which takes 28 MB of memory.

    Args:
        card: as it was published.
        runtime: ``dense``, ``onnx``, ``staged``, ``onnx/int8`` …; another, or none, leaves the card as it is.
    """
    found = read_card(card)
    match runtime.partition("/")[0]:
        case "dense":
            return replace(found, graph=None, variants=()).encoded()
        case "onnx":
            whole = None if found.exits is None else replace(found.exits, stages=())
            return replace(found, dense=(), exits=whole).encoded()
        case "staged":
            return replace(found, dense=(), graph=None, variants=()).encoded()
        case _:
            return card
