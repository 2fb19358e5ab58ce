"""What the world of faults is made of: the nodes' machines, what happens to them, and what a run comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from zlib import crc32

from fogline.aggregation import Arrays
from fogline.nodes import Aggregator, Device
from fogline.nodes.events import Joined, Left, Scored, StepComputed, TimerFired, Trained
from fogline.nodes.messages import Key, Message
from fogline.simulation.faults.checks import Contributions


@dataclass(frozen=True, slots=True)
class SeedOutcome:
    """What came of a seed."""

    seed: int
    rounds: int
    events: int
    crashes: int
    lost_messages: int
    seconds: float
    """Virtual time until the root was done."""
    trace: str
    """Digest of all events, in order."""


@dataclass(slots=True)
class SimulatedMachine:
    """What a node runs on. Journal and store survive a crash; the node itself does not."""

    node: Aggregator | Device | None = None
    journal: list[bytes] = field(default_factory=list[bytes])
    store: dict[Key, Contributions] = field(default_factory=dict[Key, Contributions])
    arrays: dict[Key, Arrays] = field(default_factory=dict[Key, Arrays])
    """In an exchange: the numbers behind values of the store."""
    life: int = 0
    """Counts the starts: timers and training of an earlier life are gone."""
    timers: dict[str, int] = field(default_factory=dict[str, int])
    gone: bool = False
    """Whether it left for good."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way, with the value it names."""

    sender: str
    message: Message
    value: Contributions | None
    arrays: Arrays | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """A timer, a training or a step that ends, or what a fold has shown of the children; void in a later life of the
    node."""

    life: int
    event: TimerFired | Trained | StepComputed | Scored


Happening = Parcel | Alarm | Joined | Left | str
"""What the queue holds; a word is for the world itself: ``start``, ``join`` or ``leave``."""


def lies(child: str) -> bool:
    """Whether a rule, where there is a quarantine, leaves a child's updates out: of every fourth."""
    return crc32(f"lies/{child}".encode()) % 4 == 0


def blinking(child: str, now: float) -> bool:
    """Whether a device that comes and goes is available: two thirds of the time. Aggregators always are."""
    return not child.startswith("d") or (crc32(child.encode()) + int(now / 5.0)) % 3 > 0
