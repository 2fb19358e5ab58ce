"""A release: which version of a model nodes should serve, signed by the cloud and carried by whoever is between.

A release is small JSON and is the only thing that changes while a rollout goes on: each step (a wider ring, a pause, an
abort, a rollback) is a new release with a higher number. So a node needs nothing but the newest signed release to know
what to do, also when it was away for long.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fogline.decoding import UNREADABLE
from fogline.inference.card import Asset, ModelName

NodeKind = Literal["device", "fog", "cloud"]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Amount = Annotated[float, Meta(ge=0.0)]
Count = Annotated[int, Meta(ge=0)]


class Probation(msgspec.Struct, frozen=True):
    """How long a node watches a new version, and what sends it back to the last good one."""

    seconds: Amount = 30.0
    """It ends after so long,"""
    requests: Count = 50
    """and after so many answers; without requests, after ``longest`` seconds."""
    longest: Amount = 600.0
    error_rate: Share = 0.02
    """Largest share of failed requests."""
    latency_ratio: Amount = 3.0
    """Largest 95th percentile of latency, as a multiple of the last good version's on the same node."""
    latency_floor: Amount = 0.005
    """Seconds below which latency is never held against a version."""
    confidence_drop: Amount = 0.15
    """Largest fall of the mean confidence against the last good version, absolute."""
    accuracy_drop: Amount = 0.03
    """Largest fall of the accuracy on delayed labels against the last good version, absolute,"""
    labels: Count = 30
    """once so many labels have come."""


class Thresholds(msgspec.Struct, frozen=True):
    """What ends a ring, over all nodes in it."""

    success: Share = 0.9
    """Share of the ring's nodes that must have committed before the next ring begins."""
    failure: Share = 0.2
    """Share of the ring's nodes that reverted or failed at which the rollout is aborted."""
    accuracy_drop: Amount = 0.02
    """Fall of the fleet's accuracy on delayed labels, against the version before, that aborts,"""
    labels: Count = 50
    """once so many labels have come."""
    confidence_drop: Amount = 0.1
    """Fall of the fleet's mean confidence, against the version before, that aborts,"""
    answers: Count = 200
    """once so many answers have been given."""
    error_rate: Share = 0.02
    """Rise of the share of failed requests, against the version before, that aborts, once so many were answered."""
    latency_ratio: Amount = 3.0
    """95th percentile of latency, as a multiple of the version before's, that aborts, once so many were answered,"""
    latency_floor: Amount = 0.005
    """and if it is above so many seconds."""
    agreement: Share | None = None
    """Least share of a shadow's answers that agree with the version served; below it aborts. None: reported only."""
    psi: Amount | None = None
    """Population stability index against the reference that aborts; None: drift is reported only."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """What nodes should serve under a model's name."""

    model: ModelName
    number: int
    """Counts up with every release of the model; a node never goes back to a lower one."""
    version: int
    card: Asset
    """Of the version that the ring serves."""
    width: Share = 1.0
    """Part of the nodes that the ring may hold."""
    share: Share = 1.0
    """Nodes placed below it are in the ring (see :func:`place`),"""
    named: tuple[str, ...] = ()
    """and these: while a ring is small it names its nodes, so that it does not grow when others connect."""
    salt: str = ""
    """The same for all steps of one rollout, so that rings only grow."""
    before: Asset | None = None
    """Card of the version that the others serve; None: whatever they have."""
    mode: Literal["live", "shadow"] = "live"
    """``shadow``: it answers silently beside the one that is served, and is compared."""
    state: Literal["rolling", "paused", "done", "aborted"] = "done"
    tiers: tuple[NodeKind, ...] = ("device", "fog", "cloud")
    """Which nodes serve it."""
    probation: Probation = Probation()

    def holds(self, node: str) -> bool:
        """Whether a node is in the ring."""
        return node in self.named or place(node, self.salt) < self.share


def place(node: str, salt: str) -> float:
    """Where a node stands in a rollout, in [0, 1): rings take the lowest first."""
    return int.from_bytes(hashlib.sha256(f"{salt}/{node}".encode()).digest()[:6], "big") / 2**48


class Outcome(msgspec.Struct, frozen=True):
    """What became of a release on a node."""

    node: str
    model: ModelName
    number: int
    version: int
    what: Literal["probation", "committed", "reverted", "failed", "alarm", "shadowing"]
    """``failed``: it was never served; ``alarm``: something that needs a person, such as expired metadata."""
    why: str = ""
    at: float = 0.0


class Tally(msgspec.Struct, frozen=True):
    """Counts of answers, which add up over time and over nodes."""

    answers: int = 0
    """Requests that were answered,"""
    rows: int = 0
    """rows in these,"""
    errors: int = 0
    """and requests that failed."""
    offloaded: int = 0
    """Rows that a tier above answered."""
    labels: int = 0
    correct: int = 0
    """Of the labelled ones."""
    confidence: float = 0.0
    """Sum over answers that have one,"""
    confident: int = 0
    """and how many these are."""
    seconds: float = 0.0
    """Sum of latencies."""
    latency: tuple[int, ...] = ()
    """Counts in buckets that double from 16 µs on (see :data:`BUCKETS`)."""
    compared: int = 0
    """Answers that a shadow gave too,"""
    agreed: int = 0
    """and those in which it agreed."""

    def __bool__(self) -> bool:
        """Whether anything was counted."""
        return any((self.answers, self.errors, self.labels, self.compared))

    def __add__(self, other: Tally) -> Tally:
        longer, shorter = sorted((self.latency, other.latency), key=len, reverse=True)
        latency = tuple(n + (shorter[i] if i < len(shorter) else 0) for i, n in enumerate(longer))
        sums = {
            name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__ if name != "latency"
        }
        return Tally(**sums, latency=latency)


BUCKETS = tuple(16e-6 * 2**i for i in range(20))
"""Upper bounds of the latency buckets, in seconds; a last bucket takes what is slower."""


class Vitals(msgspec.Struct, frozen=True):
    """How a version fares on the nodes below a link, since the last message: it adds up on the way."""

    model: ModelName
    version: int
    tally: Tally
    sketch: bytes = b""
    """Of inputs and confidence (:mod:`fogline.inference.sketches`); empty where there is none."""


_RELEASE = msgspec.json.Decoder(Release)


class ReleaseError(ValueError):
    """What should be a release is none, or cannot be used; the text is a sentence."""


def read_release(data: bytes) -> Release:
    """The release of these bytes.

    Raises:
        ReleaseError: they are none.
    """
    try:
        return _RELEASE.decode(data)
    except UNREADABLE as error:
        raise ReleaseError(f"The release cannot be read: {error}.") from None
