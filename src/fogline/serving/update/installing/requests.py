"""What an agent asks of an installer process, and the answers: one job for each process."""

from __future__ import annotations

import msgspec

from fogline.inference.card import Asset
from fogline.processes.messages import Decoder, decoder
from fogline.serving.update.ports import Distrust, VerifiedMetadata

LARGEST = 64 << 20
"""Bytes of the largest frame: foreign models run at the other end."""


class Verify(msgspec.Struct, frozen=True, tag=True):
    """Check metadata; the process asks for files that it lacks with ``FileMissing``."""

    folder: str
    """Of the metadata that is trusted so far."""
    authority: bytes
    """The certificate of the fleet's authority (PEM), which signed the first root of releases."""


class Reconstruct(msgspec.Struct, frozen=True, tag=True):
    """Add a difference to weights."""

    base: str
    delta: str
    codec: str
    expected: Asset
    out: str


class CombinePersonal(msgspec.Struct, frozen=True, tag=True):
    """Write a version's weights with this device's own part in their place."""

    weights: str
    part: str
    out: str


class TryVersion(msgspec.Struct, frozen=True, tag=True):
    """Check and try a version."""

    card: bytes
    paths: dict[str, str]
    """Its files by digest."""
    variants: bool
    """Whether those in fewer bits are tried too."""
    code: str | None
    """Folder with tasks' code."""


class Here(msgspec.Struct, frozen=True, tag=True):
    """The request after the answer ``FileMissing``: go on with this."""

    data: bytes | None


class InstallerJob(msgspec.Struct, frozen=True, tag=True):
    """The first request."""

    request: Verify | Reconstruct | CombinePersonal | TryVersion
    memory: int | None
    """Bytes of memory of its own that the process may take; None: no limit."""
    niceness: int


class FileMissing(msgspec.Struct, frozen=True, tag=True):
    """A file is needed to go on; the next request brings it."""

    name: str
    largest: int


class InstallerDone(msgspec.Struct, frozen=True, tag=True):
    """Answer of an installer that has carried its request out."""

    runtime: str = ""
    """Of a trial: the one that was the fastest."""


class Distrusted(msgspec.Struct, frozen=True, tag=True):
    """The metadata is not believed."""

    kind: Distrust
    why: str


class Spoilt(msgspec.Struct, frozen=True, tag=True):
    """Answer of an installer that found these files damaged."""

    digests: tuple[str, ...]


class Bad(msgspec.Struct, frozen=True, tag=True):
    """The version, or the difference, is no good."""

    why: str


class Stuck(msgspec.Struct, frozen=True, tag=True):
    """The disk is in the way."""

    why: str


Answer = VerifiedMetadata | FileMissing | InstallerDone | Distrusted | Spoilt | Bad | Stuck

REQUESTS: Decoder[InstallerJob | Here] = decoder(InstallerJob | Here)
ANSWERS: Decoder[Answer] = decoder(Answer)
