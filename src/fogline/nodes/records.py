"""What a node writes into its journal. Replaying the records gives the state back."""

from __future__ import annotations

import math

import msgspec

from fogline.nodes.messages import Key, Kind, Report


class Assigned(msgspec.Struct, frozen=True, gc=False, tag=True, omit_defaults=True):
    """The parent's request was taken (or, at the root, the job began)."""

    task: int
    round: int
    model: Key
    keep_since: float = math.inf
    """An aggregator's requests made before that time are no longer open. Finite where rounds go on beside the
    parent's (async, semi-async): else every round begins with the parent's model."""
    kind: Kind = "train"
    query: str = ""


class Asked(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Children were asked for updates of the current model; tasks are numbered from ``first``."""

    lane: int
    first: int
    children: tuple[str, ...]
    need: int
    quorum: int
    at: float
    ring_order: tuple[str, ...] = ()
    """Ring mode, where a ring begins: all its children in order."""


class Accepted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A child's update is stored and will count."""

    task: int
    update: Key
    devices: int
    samples: int
    at: float
    loss_rms: float | None = None


class Resolved(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A request ended without an update that counts."""

    task: int
    why: str
    at: float
    samples: int = 0
    loss_rms: float | None = None


class Spoiled(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Updates that had been accepted turned out to be none before their round was closed: their devices failed."""

    lane: int
    tasks: tuple[int, ...]


class Closed(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A round ended. ``met``: with its quorum, so that what waited was used: the group's model moved to the
    next version, or the updates will be in the next report."""

    lane: int
    met: bool
    final: bool
    """Whether a round is over with it (a hop of a ring is not)."""
    keep_since: float
    """Requests made before that time are no longer open (async mode keeps the younger ones)."""
    at: float


class Posted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A report for the parent is ready and is kept until the parent's receipt."""

    report: Report


class Confirmed(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The parent has the report of that task, or has refused it."""

    task: int
    accepted: bool


class JobOver(msgspec.Struct, frozen=True, gc=False, tag=True):
    """In the journal: the job is over at this node."""


Record = Assigned | Asked | Accepted | Resolved | Spoiled | Closed | Posted | Confirmed | JobOver
