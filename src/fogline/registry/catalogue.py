"""The versions of models in a node's records.

================================== ===============================================================================
document ``model/NAME``, NUMBER    the version's card, byte by byte as it was published; nothing once it is withdrawn
document ``models``, NAME          a mark that changes whenever the model's versions do
document ``models/withdrawn``, …   digests of what a withdrawn version named, until those blobs are gone
blobs                              the card, and every file that it names
================================== ===============================================================================

A version is there from the moment its document is, and its blobs are there before. A number is never given twice.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from fogline.inference.card import Asset, Card, read_card
from fogline.plugins import suggest
from fogline.registry.restored import read_floors
from fogline.storage import Blobs, Database
from fogline.storage.files import hash_file

MODELS = "models"
WITHDRAWN = "models/withdrawn"
GRACE_S = 3600.0
"""Seconds for which a blob stays that no version names: somebody may be about to publish one that does."""
FEW = 20
"""Numbers that an error lists one by one."""

_DIGESTS = msgspec.json.Decoder(list[str])


class CatalogueError(ValueError):
    """There is no such version, or a version cannot be published as asked; the text is a sentence."""


class _Needed(NamedTuple):
    """What the versions of a model need."""

    mark: bytes
    """The model's, when we looked."""
    cards: frozenset[str]
    """Digests of the cards,"""
    digests: frozenset[str]
    """and of all blobs, the cards among them."""


class Catalogue:
    """Model versions. Every call may come from any thread, and from other processes on the same records.

    What the disk or the database refuses is a ``StorageError``.

    Args:
        database: where the records are.
        blobs: where the files are. Who else deletes blobs there must keep :meth:`digests`.
    """

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self.blobs = blobs
        self._seen: dict[str, _Needed] = {}

    # Looking

    def models(self) -> list[str]:
        """Names of the models that have a version, sorted."""
        return [model for model, needed in self._needed() if needed.cards]

    def versions(self, model: str) -> list[Card]:
        """The cards of a model's versions, by rising number.

        Raises:
            CatalogueError: there is no such model.
        """
        return [read_card(body) for body in self._live(model).values()]

    def get(self, model: str, version: int) -> Card:
        """The card of a version.

        Raises:
            CatalogueError: there is no such version.
        """
        return read_card(self._body(model, version))

    def highest(self) -> dict[str, int]:
        """The highest number that each model's versions have had, also of those that were withdrawn."""
        return {model: max(self._bodies(model), default=0) for model, _ in self._database.all(MODELS)}

    def latest(self, model: str) -> Card:
        """The card of the version with the highest number.

        Raises:
            CatalogueError: there is no such model.
        """
        live = self._live(model)
        return read_card(live[max(live)])

    def asset(self, model: str, version: int) -> Asset:
        """The card of a version as a file: what a release names it by.

        Raises:
            CatalogueError: there is no such version.
        """
        body = self._body(model, version)
        return Asset(_digest(body), len(body))

    def card(self, digest: str) -> Card:
        """The card of that digest.

        Raises:
            CatalogueError: no version has it.
        """
        if not any(digest in needed.cards for _, needed in self._needed()):
            raise CatalogueError(f"No version here has the card {digest[:12]}…; it was withdrawn, or never published.")
        return read_card(self.blobs.path(digest).read_bytes())

    # Which blobs are needed

    def digests(self) -> set[str]:
        """Digests of all cards and of every file that they name."""
        return set[str]().union(*(needed.digests for _, needed in self._needed()))

    def names(self, digest: str) -> bool:
        """Whether a version needs the blob, and so whoever may have models may fetch it."""
        return any(digest in needed.digests for _, needed in self._needed())

    # Changing

    def publish(self, card: Card, files: Mapping[str, Path]) -> Card:
        """Make a version of a card; its number is the next one of the model.

        The model of a job after so many rounds is published once: a second time gives the version that there is.

        Args:
            card: its own number does not count.
            files: where the files lie that the card names, by digest; they are moved away. What is among the blobs
                already need not be there.

        Returns:
            The card as published, with its number.

        Raises:
            CatalogueError: a file is missing, or is not the one that the card names.
            CardError: nobody could read the card.
        """
        _encoded(card)
        published = _same(card, self._bodies(card.model))
        if published is None:
            for asset in card.files():
                self._store(card, asset, files.get(asset.digest))
            # First the model: were it not known after a crash, nobody would see its version.
            self._mark(card.model)
            published = self._add(card)
        self._mark(card.model)
        return published

    def forget(self, model: str, version: int) -> None:
        """Withdraw a version. Blobs that only it needs are deleted when they are old enough (:meth:`collect`).

        Raises:
            CatalogueError: there is no such version.
        """
        body = self._body(model, version)
        self._database.put(WITHDRAWN, f"{model}/{version}", msgspec.json.encode(sorted(_named(body))))
        self._database.swap(_kind(model), str(version), body, b"")
        self._mark(model)
        self.collect()

    def collect(self, older_than_s: float = GRACE_S) -> None:
        """Delete blobs of withdrawn versions that nothing in the records needs any more.

        Args:
            older_than_s: seconds; what is younger stays until the next time.
        """
        withdrawn = {key: set(_DIGESTS.decode(body)) for key, body in self._database.all(WITHDRAWN)}
        if not withdrawn:
            return
        useless = set[str]().union(*withdrawn.values()) - self.digests() - self._database.digests()
        self.blobs.sweep(set(self.blobs.all()) - useless, older_than_s)
        left = useless.intersection(self.blobs.all())
        for key, digests in withdrawn.items():
            if not digests & left:
                self._database.delete(WITHDRAWN, key)

    # Inside

    def _bodies(self, model: str) -> dict[int, bytes]:
        """What the documents of a model hold, by rising number."""
        documents = self._database.all(_kind(model)) if model.isprintable() else []
        return dict(sorted((int(key), body) for key, body in documents))

    def _live(self, model: str) -> dict[int, bytes]:
        """The cards of a model, by rising number; at least one."""
        live = {number: body for number, body in self._bodies(model).items() if body}
        if not live:
            raise CatalogueError(f"There is no model {model[:80]!r} here{suggest(model, self.models()) or '.'}")
        return live

    def _body(self, model: str, version: int) -> bytes:
        live = self._live(model)
        if version not in live:
            known = ", ".join(map(str, live)) if len(live) <= FEW else f"{min(live)} to {max(live)}"
            raise CatalogueError(f"Model '{model}' has no version {version}; there are {known}.")
        return live[version]

    def _add(self, card: Card) -> Card:
        """Give a card the next number, unless its version is there by now."""
        while True:
            bodies = self._bodies(card.model)
            if (published := _same(card, bodies)) is not None:
                return published
            number = 1 + max(*bodies, read_floors(self._database).version(card.model), 0)
            numbered = msgspec.structs.replace(card, version=number)
            body = _encoded(numbered)
            self.blobs.put(body)
            if self._database.swap(_kind(card.model), str(numbered.version), None, body):
                return numbered
            # Somebody took the number, perhaps for this very version.

    def _store(self, card: Card, asset: Asset, path: Path | None) -> None:
        """Make a blob of a file that a card names."""
        if path is not None and path.exists():
            if hash_file(path) != (asset.digest, asset.size):
                raise CatalogueError(
                    f"{path} is not the file {asset.digest[:12]}… that the card of {card.model} names."
                )
            self.blobs.adopt(path)
        elif self.blobs.has(asset.digest):
            # From now on it counts as new, and no sweep takes it before the version is there.
            self.blobs.writer(asset.digest, asset.size).close()
        else:
            raise CatalogueError(f"The card of {card.model} names a file {asset.digest[:12]}… that is not here.")

    def _mark(self, model: str) -> None:
        self._database.put(MODELS, model, secrets.token_bytes(8))

    def _needed(self) -> list[tuple[str, _Needed]]:
        """By model. The records of a model are read again only when its mark has changed."""
        return [(model, self._needed_by(model, mark)) for model, mark in self._database.all(MODELS)]

    def _needed_by(self, model: str, mark: bytes) -> _Needed:
        seen = self._seen.get(model)
        if seen is None or seen.mark != mark:
            live = [body for body in self._bodies(model).values() if body]
            seen = _Needed(mark, frozenset(map(_digest, live)), frozenset[str]().union(*map(_named, live)))
            self._seen[model] = seen
        return seen


def _encoded(card: Card) -> bytes:
    """The bytes of a card that can be read again."""
    body = card.encoded()
    read_card(body)
    return body


def _same(card: Card, bodies: Mapping[int, bytes]) -> Card | None:
    """The version that was made of the same job after as many rounds, or imported from the same card."""
    if not card.lineage.job and not card.lineage.origin:
        return None
    published = (read_card(body) for body in bodies.values() if body)
    return next((other for other in published if _source(other) == _source(card)), None)


def _source(card: Card) -> tuple[str, int, str]:
    return card.lineage.job, card.lineage.rounds, card.lineage.origin


def _kind(model: str) -> str:
    return f"model/{model}"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _named(body: bytes) -> set[str]:
    """Digests of a card and of all that it names."""
    return {_digest(body), *(asset.digest for asset in read_card(body).files())}
