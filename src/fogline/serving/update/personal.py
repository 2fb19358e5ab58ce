"""Versions with the part of them that this device has of its own: made once, and served in the version's place."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from fogline.inference.card import Card, PersonalOrigin
from fogline.inference.personal import origin_of
from fogline.inference.personal_parts import PersonalParts
from fogline.inference.runtimes.base import ModelError
from fogline.serving.update.ports import Installer, UnfitModelError
from fogline.storage import StorageError
from fogline.storage.errors import explained

log = logging.getLogger("fogline.serving")


class PersonalVersions:
    """Weights of versions with this device's own part, by the digest of the version's own weights.

    What was made of a version stays until something newer was made of it: a part that does not fit takes nothing away.

    Args:
        folder: where they lie.
        parts: what this device has of its own.
        installer: makes them.
    """

    def __init__(self, folder: Path, parts: PersonalParts, installer: Installer) -> None:
        self._folder = folder
        self._parts = parts
        self._installer = installer

    async def make(self, card: Card, weights: Path) -> PersonalOrigin | None:
        """Make a version this device's own; None: it has nothing of its own.

        Args:
            card: of the version.
            weights: of the version.

        Raises:
            UnfitModelError: its part does not fit the version.
            LookupError: it has none, and the version is none without.
            InstallerError, StorageError: it could not be made.
        """
        part = self._parts.newest(card.model)
        if part is None:
            if card.personal:
                raise LookupError(
                    f"every device has {', '.join(card.personal)} of version {card.version} of its own, and this one "
                    "has not been judged with its own yet"
                )
            return None
        if card.weights is None:
            raise UnfitModelError("the version holds its weights in its graph, where no part of this device's can go")
        out = self._path(card.weights.digest)
        with explained("make room for personal models", self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        await self._installer.combine(weights, part, out)
        return _origin(out)

    def laid(self, card: Card, paths: Mapping[str, Path]) -> tuple[Mapping[str, Path], PersonalOrigin | None]:
        """The files of a version as they are served here, and where the part comes from that is this device's own.

        Raises:
            StorageError: what was made is damaged.
        """
        out = None if card.weights is None else self._path(card.weights.digest)
        if card.weights is None or out is None or not out.exists():
            return paths, None
        return {**paths, card.weights.digest: out}, _origin(out)

    def is_behind(self, card: Card) -> bool:
        """Whether this device has a part of its own that is newer than what was made of a version."""
        part = self._parts.newest(card.model)
        if part is None or card.weights is None:
            return False
        out = self._path(card.weights.digest)
        return not out.exists() or out.stat().st_mtime_ns < part.stat().st_mtime_ns

    def is_whole(self, digest: str) -> bool:
        """Whether what was made of the version with these weights, if anything was, can be read. What cannot is
        deleted: it is made anew when the version is taken again."""
        out = self._path(digest)
        try:
            if out.exists():
                origin_of(out)
        except ModelError as error:
            log.warning("what was made of this device's own part was damaged on its disk, and is made anew: %s", error)
            self.delete(digest)
            return False
        return True

    def delete(self, digest: str) -> None:
        """The version with these weights is not needed any more."""
        self._path(digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / digest


def _origin(path: Path) -> PersonalOrigin:
    try:
        return origin_of(path)
    except ModelError as error:
        raise StorageError(f"{error} Start the node again: it is made anew") from error
