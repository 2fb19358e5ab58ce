"""What a node asks of its runtime. Effects are carried out in order, and each is durable before the next.

After a crash the effects before a ``Write`` may come again. A value that is stored under a key replaces the one
that was there: nobody else has seen it, because messages that name it follow the record.
"""

from __future__ import annotations

import msgspec

from fogline.nodes.messages import Key, Kind, Message
from fogline.nodes.records import Record


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send a message, and see that the value it names is reachable there."""

    to: str
    message: Message


class SetTimer(msgspec.Struct, frozen=True, gc=False):
    """Fire ``timer`` at that time; setting it again replaces it."""

    timer: str
    at: float


class Train(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Train on this device's data from that model; store the update under ``update``, then say ``Trained``."""

    task: int
    model: Key
    update: Key
    round: int
    effort: float = 1.0
    """Of the work that a round means, how much."""


class Examine(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Judge that model on this device's held-out examples, or ask a function of its examples; store the sums under
    ``update``, then say ``Trained``."""

    task: int
    model: Key
    update: Key
    round: int
    kind: Kind
    query: str = ""


class ChildStep(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Carry out the child's half of a step, then say ``StepComputed``."""

    child: str
    task: int
    number: int
    state: Key
    """What the step before left; for the first step the trained update."""
    received: Key | None
    """The parent's answer to the step before."""
    payload: Key
    """Takes what is sent,"""
    after: Key
    """and this the next state."""


class ParentStep(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Carry out the parent's half of a step, then say ``StepComputed``."""

    first: int
    """First request of the round."""
    number: int
    state: Key | None
    """What the step before left."""
    payloads: tuple[tuple[str, Key], ...]
    """By child, in the order of the requests."""
    replies: tuple[tuple[str, Key], ...]
    """Take the replies,"""
    after: Key
    """and this the next state."""


class FoldInput(msgspec.Struct, frozen=True, gc=False):
    """An update that goes into an aggregate."""

    update: Key
    staleness: int
    child: str


class Adopt(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Take the parent's model ``source`` as the group's own: from the group at ``base`` (None: there was none)
    to the group at ``model``, which is what children get."""

    source: Key
    base: Key | None
    model: Key


class Move(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Fold updates and move the group from ``base`` to ``model``, which is what children get next."""

    base: Key
    model: Key
    members: tuple[FoldInput, ...]
    inside: bool
    """Whether this is a round of an inner aggregator between two parent rounds."""
    round: int
    final: bool
    """Whether the round is over with it (a hop of a ring is not)."""
    lane: int = 0
    lanes: int = 1
    devices: int = 0
    """Different devices below the node whose updates are in it."""


class RoundDevices:
    """Counts the devices of a round from its moves: a ring moves the model with one device after the other."""

    def __init__(self) -> None:
        self._round, self._devices, self._over = -1, 0, True

    def saw(self, move: Move) -> int:
        """Devices in the round, up to that move."""
        self._devices = move.devices + (self._devices if move.round == self._round and not self._over else 0)
        self._round, self._over = move.round, move.final
        return self._devices


class Merge(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Fold updates into a partial result for the parent, stored under ``update``."""

    update: Key
    members: tuple[FoldInput, ...]
    round: int = 0
    """Of the root."""


class AddUp(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Add children's sums up, stored under ``update``."""

    update: Key
    members: tuple[FoldInput, ...]
    part: str = ""
    """Above devices: the name under which the sums are told apart from those of other aggregators."""


class Combine(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Carry out the parent's half of an exchange's last step on what children reported; store its result under
    ``update``, to be folded in place of their updates."""

    state: Key | None
    """What the step before left."""
    members: tuple[FoldInput, ...]
    update: Key


class GroupUpdate(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Make the movement of the group at ``base`` since the parent's model into an update for the parent."""

    base: Key
    update: Key
    round: int = 0
    """Of the root."""


class Forget(msgspec.Struct, frozen=True, gc=False):
    """The node does not need these values any more; another node may have its own copies."""

    keys: tuple[Key, ...]


class Write(msgspec.Struct, frozen=True, gc=False):
    """Append a record to the journal."""

    record: Record


class Count(msgspec.Struct, frozen=True, gc=False):
    """Something that reports must show: a late, failed, stale, refused or surplus update, an abandoned round."""

    what: str
    child: str | None = None
    why: str | None = None


SURVEYED = {"failed": "not judged", "abandoned": "no answer"}


def surveyed(count: Count) -> Count:
    """What a machine that asks beside the training counts, told apart from what training counts."""
    return Count(SURVEYED.get(count.what, f"{count.what} when asked"), count.child, count.why)


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The job is over at this node. The runtime says ``Stop`` to every child that is connected."""


Effect = (
    Send
    | SetTimer
    | Train
    | Examine
    | ChildStep
    | ParentStep
    | Combine
    | Adopt
    | Move
    | Merge
    | AddUp
    | GroupUpdate
    | Forget
    | Write
    | Count
    | Finished
)
