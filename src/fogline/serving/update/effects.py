"""What a state machine asks for. The state is in the journal before; after a crash effects may come again."""

from __future__ import annotations

from typing import Literal

import msgspec

from fogline.inference.card import Asset
from fogline.serving.update.events import Timer
from fogline.serving.update.state import HeldVersion


class FetchCard(msgspec.Struct, frozen=True):
    """Fetch a card and read it, then say ``CardRead``, ``Delayed`` or ``Failed``."""

    attempt: int
    """Its serial, to be given back with the answer."""
    card: Asset
    number: int


class FetchFiles(msgspec.Struct, frozen=True):
    """See that the files are here, then say ``Ready`` or ``Delayed``."""

    attempt: int
    held: HeldVersion


class Try(msgspec.Struct, frozen=True):
    """Load the version in a process of its own and put its golden samples to it; then say ``Passed``, ``Failed``, or
    ``Delayed`` where a file turned out to be damaged."""

    attempt: int
    held: HeldVersion


class Load(msgspec.Struct, frozen=True):
    """Have the server load it; then say ``Loaded`` or ``Failed``."""

    attempt: int
    held: HeldVersion
    slot: Literal["beside", "shadow"]


class Swap(msgspec.Struct, frozen=True):
    """Have the server answer with it; then say ``Swapped`` or ``Failed``."""

    attempt: int
    held: HeldVersion


class Restore(msgspec.Struct, frozen=True):
    """Have the server load the last good version and answer with it, if it still is the current one; then say
    ``Restored`` or ``NotRestored``."""

    held: HeldVersion


class Recombine(msgspec.Struct, frozen=True):
    """Make the version that answers anew with what this device has of its own, and have the server answer with that;
    then say ``Recombined``."""

    held: HeldVersion


class Drop(msgspec.Struct, frozen=True):
    """Have the server let go of a version."""

    version: int


class Abandon(msgspec.Struct, frozen=True):
    """Stop what is fetched or tried for the release at hand."""


class SetRetryTimer(msgspec.Struct, frozen=True):
    """Fire at that time; setting it again replaces it."""

    timer: Timer
    at: float


Effect = FetchCard | FetchFiles | Try | Load | Swap | Restore | Recombine | Drop | Abandon | SetRetryTimer
