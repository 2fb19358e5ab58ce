"""What a node believes about releases, and how it is kept: one file, replaced as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.safe_files import make_private_folder
from fogline.inference.card import Digest
from fogline.registry.release import Release
from fogline.storage.atomic import PRIVATE, sweep_drafts, write_file
from fogline.storage.errors import explained

FILE = "trusted.msgpack"

Kind = Literal["expired", "older", "tampered", "unreadable"]


class UntrustedReleaseError(Exception):
    """The releases that were offered must not be believed; the text is a sentence. What was believed before stays.

    ``kind`` is ``expired`` (nobody vouches for them any more), ``older`` (newer ones were seen here), ``tampered``
    (not what was signed) or ``unreadable`` (missing, or no metadata at all).
    """

    def __init__(self, kind: Kind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind: Kind = kind


class CardApproval(msgspec.Struct, frozen=True):
    """A card that a person approved."""

    card: Digest
    by: str
    at: float
    """Unix time."""


class Verified(msgspec.Struct, frozen=True):
    """What the cloud and the operator have signed."""

    releases: tuple[Release, ...]
    approved: dict[str, frozenset[str]]
    """Digests of approved cards, by model."""
    expires: float
    """Unix time from which on the releases need news from the cloud,"""
    targets_expires: float
    """and from which on they need the operator's keys."""
    root: int
    """Version of the root; numbers of releases count up within one."""


class Trusted(msgspec.Struct, frozen=True):
    """All that a verifier keeps: the newest of each file that it believed, and the last complete picture."""

    root: bytes
    timestamp: bytes = b""
    snapshot: bytes = b""
    targets: bytes = b""
    rounds: bytes = b""
    files: dict[str, bytes] = {}
    """Releases and approvals, by their names."""
    last: Verified | None = None


def read_trusted(folder: Path) -> Trusted | None:
    """What is kept in a folder; None if there is nothing, or a broken disk has damaged it."""
    try:
        return msgspec.msgpack.decode((folder / FILE).read_bytes(), type=Trusted)
    except (FileNotFoundError, *UNREADABLE):
        return None


def write_trusted(folder: Path, trusted: Trusted) -> None:
    """Keep it, in place of what was there, so that it survives a power cut. One process at a time may do so.

    Raises:
        StorageError: the disk does not allow it; what was there stays.
    """
    with explained("keep what is trusted", folder):
        make_private_folder(folder)
        sweep_drafts(folder)
        write_file(folder / FILE, msgspec.msgpack.encode(trusted), PRIVATE)


def last_verified(folder: Path) -> Verified | None:
    """The last complete picture that a verifier believed, without reading metadata again; None if there is none."""
    trusted = read_trusted(folder)
    return trusted.last if trusted else None
