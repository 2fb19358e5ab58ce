"""What can happen to a node."""

from __future__ import annotations

import msgspec

from fogline.nodes.messages import Count, Hello, Key, Message, Number


class Joined(msgspec.Struct, frozen=True, gc=False):
    """A child is there (again)."""

    child: str
    hello: Hello


class Left(msgspec.Struct, frozen=True, gc=False):
    """A child has left the job, or its connection is gone."""

    child: str


class Received(msgspec.Struct, frozen=True, gc=False):
    """A message came; the runtime vouches for the sender."""

    sender: str
    message: Message


class TimerFired(msgspec.Struct, frozen=True, gc=False):
    """A timer that the node set went off."""

    timer: str


class Trained(msgspec.Struct, frozen=True, gc=False):
    """The runtime finished the training that the node asked for; the update is stored under ``update``."""

    task: int
    update: Key
    samples: Count
    loss_rms: Number | None = None
    failure: str | None = None


class StepComputed(msgspec.Struct, frozen=True, gc=False):
    """The runtime carried out a half of an exchange's step; its values are stored."""

    task: int
    """The child's request; for the parent's half the first request of the round."""
    number: int
    replies: tuple[Key, ...] = ()
    """The parent's half: those that were made. A child without one is out."""
    failure: str | None = None
    upward: bool = False
    """Whether it is the child's half, of the exchange with the parent."""


class UpdatesChecked(msgspec.Struct, frozen=True, gc=False):
    """The runtime knows by now which of the updates that wait are none."""


class Scored(msgspec.Struct, frozen=True, gc=False):
    """The runtime has folded a round: how much the tier's rule has used of each child's update, beside the usual, from
    0 to 1. Told where the tier has a quarantine."""

    scores: tuple[tuple[str, float], ...]


class Started(msgspec.Struct, frozen=True, gc=False):
    """The node begins, or begins again after a crash and the replay of its journal."""


class Halt(msgspec.Struct, frozen=True, gc=False):
    """The operator (or a rule of the job) ends the job."""


Event = Joined | Left | Received | TimerFired | Trained | StepComputed | UpdatesChecked | Scored | Started | Halt
