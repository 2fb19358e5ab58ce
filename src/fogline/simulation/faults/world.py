"""The nodes of a tree on a virtual clock, with everything going wrong that can."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from zlib import crc32

import msgspec

from fogline.nodes import Aggregator, Device
from fogline.nodes.effects import Adopt, Effect, Finished, Forget, Lift, Merge, Move, Send, SetTimer, Train, Write
from fogline.nodes.events import Event, Fired, Joined, Left, Received, Started, Trained
from fogline.nodes.messages import Hello, Key, Message, Receipt, Report, Stop, Work, model_key, update_key
from fogline.nodes.policies import make_policy
from fogline.nodes.records import Accepted, Record, Resolved
from fogline.simulation.faults.checks import Books, Contributions, Violation, value_of
from fogline.simulation.faults.plan import POLL, Plan, draw_plan

MOST_EVENTS = 100_000
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


@dataclass(frozen=True, slots=True)
class Outcome:
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
class Machine:
    """What a node runs on. Journal and store survive a crash; the node itself does not."""

    node: Aggregator | Device | None
    journal: list[bytes] = field(default_factory=list[bytes])
    store: dict[Key, Contributions] = field(default_factory=dict[Key, Contributions])
    life: int = 0
    """Counts the starts: timers and training of an earlier life are gone."""
    timers: dict[str, int] = field(default_factory=dict[str, int])
    joined: bool = True
    """Whether it takes part now."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way, with the value it names."""

    sender: str
    message: Message
    value: Contributions | None


@dataclass(frozen=True, slots=True)
class Alarm:
    """A timer or a training that ends; it is void in a later life."""

    life: int
    event: Fired | Trained


Happening = Parcel | Alarm | Joined | Left | str
"""What the queue holds; a word is for the world itself: ``start``, ``join``, ``leave``, ``end``."""


class World:
    """One run of a plan.

    Args:
        plan: what happens.
        aggregator, device: classes of the nodes; tests give some with mistakes.
        tell: gets a line for every event, for people.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        aggregator: type[Aggregator] = Aggregator,
        device: type[Device] = Device,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.plan = plan
        self.now = 0.0
        self.machines = {name: Machine(None) for name in [*plan.roles, *plan.devices]}
        self._parents = {**{name: role.parent for name, role in plan.roles.items()}, **plan.devices}
        self._children = plan.children()
        patience = {name: plan.patience(role, len(self._children[name])) for name, role in plan.roles.items()}
        self.books = Books(plan.roles, patience)
        self._aggregator, self._device, self._tell = aggregator, device, tell
        self._random = random.Random(f"faults/{plan.seed}")
        self._queue: list[tuple[float, int, str, Happening]] = []
        self._serial = self._events = self._crashes = self._lost = self._trainings = 0
        self._trace = blake2b(digest_size=16)
        self._done_at: float | None = None
        self._bound = plan.chaos.until + 2 * patience[plan.root.name] + POLL

    def run(self) -> Outcome:
        """Until nothing happens any more.

        Raises:
            Violation: something happened that must not.
        """
        root = self.plan.root.name
        self.machines[root].store[model_key(root, 0)] = ()
        for name in self.machines:
            self._push(self.plan.arrivals.get(name, 0.0), name, "start")
        for name, at in self.plan.departures.items():
            self._push(at, name, "leave")
        for cut in self.plan.cuts:
            self._push(cut.end, cut.child, "join")
            if cut.noticed:
                self._push(cut.start + self._random.uniform(0.0, 2.0), self._parents[cut.child] or "", Left(cut.child))
        while self._queue:
            at, _, name, happening = heapq.heappop(self._queue)
            self.now = at
            self._events += 1
            if (self._done_at is None and at > self._bound) or self._events > MOST_EVENTS:
                raise Violation("hang", f"the job is not over after {at:.0f} s and {self._events} events")
            self._happen(name, happening)
        if self._done_at is None:
            raise Violation("hang", "nothing happens any more, and the job is not over")
        aggregators = {name: node for name, m in self.machines.items() if isinstance(node := m.node, Aggregator)}
        for name, machine in self.machines.items():
            if machine.node is not None and machine.node.outbox_size:
                raise Violation("hang", f"{name} still waits for a receipt, and nothing happens any more")
        self.books.close(aggregators, {name: self.machines[name].store for name in aggregators})
        rounds = aggregators[root].ledger.rounds_done
        digest = self._trace.hexdigest()
        return Outcome(self.plan.seed, rounds, self._events, self._crashes, self._lost, self._done_at, digest)

    # What happens.

    def _happen(self, name: str, happening: Happening) -> None:
        machine = self.machines[name]
        match happening:
            case "start":
                self._start(name, machine)
            case "join":
                self._join(name)
            case "leave":
                machine.node, machine.joined = None, False
                self._push(self.now, self._parents[name] or "", Left(name))
            case _ if machine.node is None:
                self._lost += type(happening) is Parcel
            case Parcel(sender=sender, message=message, value=value):
                if self._cut_off(name, sender):
                    self._lost += 1
                    return
                self._take(name, machine, sender, message, value)
                self._handle(name, Received(sender, message))
            case Alarm(life=life, event=event):
                if life == machine.life and self._is_due(machine, event):
                    self._handle(name, event)
            case Joined() | Left():
                self._handle(name, happening)
            case _:
                raise AssertionError(happening)

    def _is_due(self, machine: Machine, event: Fired | Trained) -> bool:
        if isinstance(event, Trained):
            self._trainings += 1
            if event.failure is None:
                device = event.update
                machine.store[event.update] = ((device, self._trainings),)
            return True
        return True

    def _take(self, name: str, machine: Machine, sender: str, message: Message, value: Contributions | None) -> None:
        """Store the value that came with a message, as far as the node will have it."""
        if isinstance(message, Work) and value is not None:
            machine.store[message.model] = value
        elif isinstance(message, Report) and value is not None:
            assert isinstance(machine.node, Aggregator)
            if machine.node.expects(sender, message.task):
                machine.store[update_key(name, message.task)] = value

    def _start(self, name: str, machine: Machine) -> None:
        """Start a node, or start it again: replay its journal, and let all connect."""
        role = self.plan.roles.get(name)
        if role is None:
            node = self._device(name, self.plan.devices[name], retry=self._random.uniform(1.0, 3.0))
        else:
            presence = self._blinking if self.plan.blinks else None
            node = self._aggregator(role, make_policy("uniform"), presence)
        for line in machine.journal:
            node.apply(_decode(line))
        machine.node = node
        if machine.life and self._random.random() < 0.5:
            kept = node.keys()
            machine.store = {key: value for key, value in machine.store.items() if key in kept}
        if isinstance(node, Aggregator):
            self.books.resume(node, self.now)
        self._handle(name, Started())
        self._join(name)
        for child in self._children.get(name, ()):
            self._join(child)
