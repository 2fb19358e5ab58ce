"""What people see of a model: its versions, what is served where, and how it fares."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fogline.inference.card import Card, Digest, ModelName
from fogline.registry.release import NodeKind, Outcome, Release, Tally

Action = Literal["promote", "rollback", "pause", "resume", "abort", "advance"]


class Note(msgspec.Struct, frozen=True):
    """A line of a model's record."""

    at: float
    """Unix time."""
    text: str
    by: str = ""
    """Who wanted it; empty: it came about by itself."""


class ModelReport(msgspec.Struct, frozen=True):
    """A model at the cloud."""

    model: ModelName
    cards: tuple[Card, ...]
    """Versions, the newest first."""
    release: Release | None = None
    """The newest one."""
    outcomes: tuple[Outcome, ...] = ()
    """The last of each node."""
    digests: dict[int, Digest] = {}
    """Of the versions' cards, as published."""
    approved: dict[int, str] = {}
    """Versions that nodes of the stable channel may serve, and who approved them."""
    tallies: dict[int, Tally] = {}
    """How versions fare over the whole fleet."""
    psi: dict[int, float] = {}
    """How far inputs have moved from the reference, by version: the largest population stability index."""
    notes: tuple[Note, ...] = ()
    """The newest last."""
    next_ring: float | None = None
    """Unix time before which the newest release stays in its ring, however well it does; None: nothing waits for it."""


class Steer(msgspec.Struct, frozen=True):
    """What an operator wants of a model's rollout."""

    model: ModelName
    action: Action
    version: int = 0
    """0: the newest for ``promote``, the one before for ``rollback``."""
    shadow: bool = False
    rings: tuple[float, ...] = ()
    """Empty: at once for all."""
    ring_seconds: Annotated[float, Meta(ge=0)] | None = None
    """Least time of a ring; None: the same as before."""
    tiers: tuple[NodeKind, ...] = ()
    """Which nodes serve it; empty: the same as before."""
