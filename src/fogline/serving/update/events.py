"""What happens to a model on a node."""

from __future__ import annotations

from typing import Literal

import msgspec

from fogline.registry.release import Release, Tally
from fogline.serving.update.state import HeldVersion

Timer = Literal["retry", "probation", "restore"]
Delay = Literal["away", "absent", "storage", "installer"]
"""No parent now; the parent has it not; the disk is full or broken; a helper process failed."""


class UpdaterStarted(msgspec.Struct, frozen=True):
    """The node is up; blobs that should be here and are not. The server begins with what the state says."""

    missing: frozenset[str] = frozenset()


class Stopped(msgspec.Struct, frozen=True):
    """The node goes down in good order."""


class Announced(msgspec.Struct, frozen=True):
    """The newest release of a model is known, and verified."""

    release: Release
    allowed: frozenset[str] | None = None
    """Digests of the cards that may be served here; None: any."""
    epoch: int = 0
    """Numbers of releases begin anew when it rises: the keys before may have been stolen."""


class CardRead(msgspec.Struct, frozen=True):
    """The card of a version has been fetched and read."""

    attempt: int
    """Its serial, as in the other answers."""
    held: HeldVersion
    deltas: tuple[str, ...] = ()
    """Differences that may be fetched for it."""


class FilesReady(msgspec.Struct, frozen=True):
    """All files of a card are here."""

    attempt: int


class Delayed(msgspec.Struct, frozen=True):
    """Something cannot be had now."""

    attempt: int
    kind: Delay
    why: str


class Passed(msgspec.Struct, frozen=True):
    """The version was loaded beside, and answered as it must."""

    attempt: int
    runtime: str = ""
    """The fastest; empty: not known."""


class Loaded(msgspec.Struct, frozen=True):
    """The server has the version."""

    attempt: int


class Swapped(msgspec.Struct, frozen=True):
    """The server answers with the version."""

    attempt: int


class ServingFailed(msgspec.Struct, frozen=True):
    """The version cannot be served."""

    attempt: int
    why: str


class LastGoodRestored(msgspec.Struct, frozen=True):
    """The server answers with the last good version again."""

    card: str


class NotRestored(msgspec.Struct, frozen=True):
    """The server does not take the last good version back."""

    card: str
    why: str


class PersonalPartKept(msgspec.Struct, frozen=True):
    """This device has a newer part of its own of the model."""


class Recombined(msgspec.Struct, frozen=True):
    """The server answers with a version and the newest part that this device has of its own; or it goes on as before,
    and why."""

    card: str
    why: str = ""


class Crashed(msgspec.Struct, frozen=True):
    """The server process ended; it is started again with what the state says then."""

    why: str


class Broken(msgspec.Struct, frozen=True):
    """The server, started again, cannot load a version that it had before."""

    version: int
    why: str


class Pulse(msgspec.Struct, frozen=True):
    """How a version fared since the last pulse."""

    version: int
    tally: Tally


class RetryDue(msgspec.Struct, frozen=True):
    """A timer; ``retry`` also when the parent is back."""

    timer: Timer


class Revert(msgspec.Struct, frozen=True):
    """An operator sends the node back to the version before."""

    why: str


Event = (
    UpdaterStarted
    | Stopped
    | Announced
    | CardRead
    | FilesReady
    | Delayed
    | Passed
    | Loaded
    | Swapped
    | ServingFailed
    | LastGoodRestored
    | NotRestored
    | PersonalPartKept
    | Recombined
    | Crashed
    | Broken
    | Pulse
    | RetryDue
    | Revert
)
