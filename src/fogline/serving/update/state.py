"""What a node remembers of one model: it is in the journal before anything is done about it."""

from __future__ import annotations

from typing import Literal

import msgspec

from fogline.inference.card import Asset, ModelName
from fogline.registry.release import Probation, Release, Tally
from fogline.serving.slots import VersionSlot

Step = Literal["card", "files", "trial", "load", "swap"]
What = Literal["probation", "committed", "reverted", "failed", "alarm", "shadowing"]

WINDOW = 2000
"""Answers of the last good version that a new one is compared with, at least; at most twice as many."""
REMEMBERED = 16
"""Refused releases whose reasons are kept."""


class HeldVersion(msgspec.Struct, frozen=True):
    """A version that lies on the node, or is on its way."""

    card: Asset
    version: int
    number: int
    """The newest release that asked for it."""
    files: tuple[Asset, ...] = ()
    """Of the card, as far as this node needs them."""
    runtime: str = ""
    """The fastest here, as its trial has shown; empty: the server measures."""

    @property
    def digests(self) -> frozenset[str]:
        """Blobs that it is made of."""
        return frozenset({self.card.digest, *(file.digest for file in self.files)})


class Attempt(msgspec.Struct, frozen=True):
    """A version that is to be served."""

    serial: int
    """Of the attempts on this node: what was asked for an earlier one may still be answered."""
    number: int
    """The newest release that asks for it."""
    card: Asset
    slot: VersionSlot = msgspec.field(name="role")
    """What it is to be in the end; journals call it so."""
    step: Step
    version: int = 0
    """As the release says it; 0 where it does not."""
    held: HeldVersion | None = None
    """Once the card was read."""
    deltas: tuple[str, ...] = ()
    """Differences that may have been fetched for it."""
    proven: bool = False
    """It was good on this node before: it needs neither a trial nor a probation."""
    why: str = ""
    """Not empty: no release asked for it, but an operator, or need; and why."""
    waiting: bool = False
    """Something could not be had; a timer tries again."""
    tries: int = 0
    delayed_by: str = ""
    """Kind of the delay that was told already."""
    restarts: int = 0
    """Times that the node went down while the version was tried."""


class ProbationWatch(msgspec.Struct, frozen=True):
    """The probation of the version that is served."""

    rules: Probation
    since: float
    tally: Tally = Tally()
    crashes: int = 0


class ProbationBaseline(msgspec.Struct, frozen=True):
    """How the last good version fared lately."""

    older: Tally = Tally()
    recent: Tally = Tally()

    @property
    def tally(self) -> Tally:
        """The counts of the whole baseline."""
        return self.older + self.recent

    def plus(self, tally: Tally) -> ProbationBaseline:
        """With more answers; those of long ago are forgotten."""
        recent = self.recent + tally
        return ProbationBaseline(recent) if recent.answers >= WINDOW else ProbationBaseline(self.older, recent)


class ModelNews(msgspec.Struct, frozen=True):
    """Something that people and the cloud must hear of."""

    number: int
    version: int
    what: What
    why: str = ""
    at: float = 0.0
    """Unix time; 0 until it is told."""


class RefusedRelease(msgspec.Struct, frozen=True):
    """A release that is not tried again."""

    number: int
    version: int
    why: str


class ModelOnNode(msgspec.Struct, frozen=True):
    """A model on a node."""

    model: ModelName
    release: Release | None = None
    """The newest one."""
    epoch: int = 0
    """Within which its number counts."""
    allowed: tuple[str, ...] | None = None
    """Of its cards, those that may be served here; None: any."""
    current: HeldVersion | None = None
    """What answers."""
    watch: ProbationWatch | None = None
    """None: the current version is good."""
    previous: HeldVersion | None = None
    """The last good version before it."""
    baseline: ProbationBaseline = ProbationBaseline()
    shadow: HeldVersion | None = None
    """What answers silently beside."""
    attempt: Attempt | None = None
    attempts: int = 0
    """So far."""
    refused: tuple[RefusedRelease, ...] = ()
    shadow_crashes: int = 0
    crashes: int = 0
    """Times in a row that the server ended, without an answer of the good version between them."""
    restoring: int = 0
    """Not 0: the server was not yet seen to answer with the current version after it was reverted to; times that it
    was asked to."""
    clean: bool = False
    """The node was stopped in good order."""
    news: tuple[ModelNews, ...] = ()
    """What was not told yet."""
    said: tuple[ModelNews, ...] = ()
    """What was told last: the cloud may have been away."""
    trash: tuple[str, ...] = ()
    """Blobs that were not deleted yet."""

    @property
    def serves(self) -> bool:
        """Whether a version answers, or will."""
        return self.current is not None or self.attempt is not None

    @property
    def good(self) -> HeldVersion | None:
        """The last version that was found good."""
        return self.current if self.watch is None else self.previous

    @property
    def needed(self) -> frozenset[str]:
        """Digests of the blobs that must stay on the node."""
        held = [self.current, self.previous, self.shadow]
        needed = {digest for one in held if one is not None for digest in one.digests}
        if self.attempt is not None:
            needed |= {self.attempt.card.digest, *self.attempt.deltas}
            needed |= set() if self.attempt.held is None else self.attempt.held.digests
        return frozenset(needed)

    def refuses(self, number: int) -> bool:
        """Whether a release was tried and found bad."""
        return any(refused.number == number for refused in self.refused)


# MessagePack: a sum of confidences that is not a number must survive.
STATES = msgspec.msgpack.Decoder(ModelOnNode)
encode = msgspec.msgpack.Encoder().encode
