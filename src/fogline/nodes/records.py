"""What a node writes into its journal. Replaying the records gives the state back."""

from __future__ import annotations

import math

import msgspec

from fogline.nodes.messages import Key, Kind, Marks, Report


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
    steps: int = 0
    """Steps of an exchange between a device's training and its report."""
    effort: float = 1.0
    """Of a device: of the work that a round means, how much it is asked for."""


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
    efforts: tuple[float, ...] = ()
    """How much work each is asked for; empty: all of it."""


class Entered(msgspec.Struct, frozen=True, gc=False, tag=True, omit_defaults=True):
    """What the parent asked for is there (a device has trained, an aggregator has merged), and the exchange with it
    begins."""

    task: int
    devices: int = 1
    """Different devices whose updates are in it,"""
    marks: Marks = b""
    """and which, where reports say that."""
    query: str = ""
    """Where it is a device's answer: to which."""
    judged: int = -1
    """Where it is what a device found of a model: of that after which round of the job; -1: it is not."""


class Stepped(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What a child sends in a step of the exchange is stored, and kept until the parent answers."""

    task: int
    number: int


class StepTaken(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What a child sent in a step of the exchange is stored."""

    task: int
    number: int


class Advanced(msgspec.Struct, frozen=True, gc=False, tag=True, omit_defaults=True):
    """The answers to a step are stored, and the next step begins. Those that are gone take no part any more."""

    number: int
    gone: tuple[int, ...]
    at: float
    lane: int = 0


class Accepted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A child's update is stored and will count."""

    task: int
    update: Key
    devices: int
    samples: int
    at: float
    loss_rms: float | None = None
    training: float | None = None
    """Seconds that it trained, if it said so."""
    marks: Marks = b""
    """The devices in it, where the child says that."""


class Resolved(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A request ended without an update that counts."""

    task: int
    why: str
    at: float
    samples: int = 0
    loss_rms: float | None = None
    training: float | None = None


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
    combined: Key | None = None
    """What the round's exchange made of the updates that waited, and that stands for them from now on."""


class Rated(msgspec.Struct, frozen=True, gc=False, tag=True):
    """How much the tier's rule has used of each child's update in a round, from 0 to 1."""

    scores: tuple[tuple[str, float], ...]


class Posted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A report for the parent is ready and is kept until the parent's receipt."""

    report: Report


class Confirmed(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The parent has the report of that task, or has refused it; or an aggregator is out of the exchange in which it
    would have reported."""

    task: int
    accepted: bool


class JobOver(msgspec.Struct, frozen=True, gc=False, tag=True):
    """In the journal: the job is over at this node."""


Record = (
    Assigned
    | Asked
    | Entered
    | Stepped
    | StepTaken
    | Advanced
    | Accepted
    | Resolved
    | Spoiled
    | Closed
    | Rated
    | Posted
    | Confirmed
    | JobOver
)
