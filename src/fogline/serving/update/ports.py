"""What an updater needs of the rest of the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from fogline.inference.card import Asset, ModelName, PersonalOrigin
from fogline.registry.release import Outcome, Release
from fogline.serving.slots import VersionSlot

Distrust = Literal["expired", "older", "tampered", "unreadable"]
"""Why metadata is not believed."""
Ask = Callable[[str, int], Awaitable[bytes | None]]
"""The metadata or small target file of that name, of at most so many bytes; None if there is none."""


class ServerError(RuntimeError):
    """The server could not do it; the text is a sentence."""


class InstallerError(RuntimeError):
    """A helper process ended before it was done, which says nothing about a version; the text is a sentence."""


class UnfitModelError(ValueError):
    """A version failed its trial, or a difference does not give the file it should; the text is a sentence."""


class DamagedFileError(ValueError):
    """Files are not what their digests promise; they must be fetched again."""

    def __init__(self, digests: tuple[str, ...]) -> None:
        super().__init__(f"{len(digests)} of its files were damaged on this node's disk; they are fetched again")
        self.digests = digests


class UntrustedMetadataError(ValueError):
    """Metadata is not believed; the text is a sentence."""

    def __init__(self, kind: Distrust, why: str) -> None:
        super().__init__(why)
        self.kind: Distrust = kind


class VerifiedMetadata(msgspec.Struct, frozen=True, tag=True):
    """What verified metadata says of releases and approvals."""

    releases: tuple[Release, ...]
    """The newest of every model."""
    approved: dict[str, frozenset[str]]
    """Digests of the cards that the stable channel may serve, by model."""
    expires: float
    """Unix time from which on nobody vouches for them."""
    epoch: int = 0
    """Version of the root; numbers of releases count up within one."""


class Serving(msgspec.Struct, frozen=True):
    """A version that the server should have loaded."""

    model: ModelName
    version: int
    card: bytes
    paths: Mapping[str, Path]
    """Where its files lie, by digest."""
    slot: VersionSlot
    personal: PersonalOrigin | None = None
    """Where the part of it comes from that is this device's own."""


class Upstream(Protocol):
    """How a node reaches its parent for metadata and blobs, and reports to it."""

    async def metadata(self, name: str, largest: int, anew: bool) -> bytes | None:
        """A metadata or small target file; None: the parent has none of that name.

        Args:
            name: of the file.
            largest: bytes that it may have.
            anew: from the root of the tree, not from what is kept on the way: that was not believed.

        Raises:
            ConnectionError: there is no parent now.
        """
        ...

    async def fetch(self, asset: Asset) -> Path:
        """See that a file is in the node's blob store, whole and verified; it goes on where it broke off, also when
        the parent falls silent.

        Raises:
            LookupError: the parent has it not.
            ConnectionError: there is no parent now.
            StorageError: it cannot be kept here.
        """
        ...

    def outcome(self, outcome: Outcome) -> None:
        """Tell the cloud; one that is lost is told again when the parent is back."""
        ...


class PredictionServer(Protocol):
    """The process that answers predictions. Each call waits until it is up, and may come again."""

    def expect(self, model: str, coming: bool) -> None:
        """Tell who asks for a model that it is on its way; or, where it is not ``coming`` any more, that there is
        none."""
        ...

    async def load(
        self, card: bytes, paths: Mapping[str, Path], slot: VersionSlot, personal: PersonalOrigin | None = None
    ) -> None:
        """Load a version from its files, by digest; a ``live`` one takes the place of what answered before.

        ``personal``: where the part of it comes from that is this device's own.

        Raises:
            ServerError: it cannot be loaded, or the server ended.
        """
        ...

    async def swap(self, model: str, version: int) -> None:
        """Answer with a version that is loaded from now on; the one before goes with its last request.

        Raises:
            ServerError: it is not loaded, or the server ended.
        """
        ...

    async def drop(self, model: str, version: int) -> None:
        """Let go of a version; one that is not loaded is no error.

        Raises:
            ServerError: the server ended.
        """
        ...


class Installer(Protocol):
    """Does what is heavy, outside this process."""

    async def verify(self, ask: Ask) -> VerifiedMetadata:
        """The releases that the newest metadata names.

        Raises:
            UntrustedMetadataError: the metadata is not believed.
            InstallerError: it could not be checked.
            ConnectionError, StorageError: what ``ask`` raised, or the disk.
        """
        ...

    async def reconstruct(self, base: Path, delta: Path, codec: str, expected: Asset, out: Path) -> None:
        """Write the weights that a difference makes of others.

        Raises:
            UnfitModelError: they are not those expected.
            InstallerError: it could not be done.
            StorageError: they cannot be written.
        """
        ...

    async def combine(self, weights: Path, part: Path, out: Path) -> None:
        """Write a version's weights with this device's own part in their place.

        Raises:
            UnfitModelError: they do not fit each other.
            InstallerError: it could not be done.
            StorageError: they cannot be written.
        """
        ...

    async def trial(self, card: bytes, paths: Mapping[str, Path]) -> str:
        """Check all files, load the version and put its golden samples to it; the name of its fastest runtime.

        Raises:
            UnfitModelError: it failed.
            DamagedFileError: files are not what they should be.
            InstallerError: it could not be tried.
        """
        ...
