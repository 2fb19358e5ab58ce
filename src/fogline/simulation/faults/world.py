"""The nodes of a tree on a virtual clock, with everything going wrong that can."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import ClassVar, cast
from zlib import crc32

import msgspec
import numpy as np

from fogline.aggregation import Arrays
from fogline.exchanges import Exchange
from fogline.nodes import Aggregator, AggregatorRole, Device
from fogline.nodes.effects import (
    AddUp,
    Adopt,
    ChildStep,
    Combine,
    Effect,
    Examine,
    Finished,
    Forget,
    GroupUpdate,
    Merge,
    Move,
    ParentStep,
    Send,
    SetTimer,
    Train,
    Write,
)
from fogline.nodes.events import Event, Joined, Left, Received, Scored, Started, StepComputed, TimerFired, Trained
from fogline.nodes.exchange import is_combined
from fogline.nodes.ledger import AcceptedUpdate
from fogline.nodes.messages import Hello, Key, Message, Receipt, Report, Step, Stop, Work, model_key, update_key
from fogline.nodes.policies import policy_of
from fogline.nodes.records import Accepted, Entered, JobOver, Record, Resolved, Spoiled
from fogline.retries import REPORT_AGAIN
from fogline.simulation.faults.checks import Contributions, DeliveryLog, InvariantError, value_of
from fogline.simulation.faults.exchanging import ExchangeInWorld, update_of
from fogline.simulation.faults.machines import Alarm, Happening, Parcel, SeedOutcome, SimulatedMachine, blinking, lies
from fogline.simulation.faults.plan import POLL, FaultPlan, Where, draw_plan, with_exchange, with_privacy

MOST_EVENTS = 100_000
_encode = msgspec.msgpack.Encoder(enc_hook=np.ndarray.tobytes).encode
_decode = msgspec.msgpack.Decoder(Record).decode


class World:
    """One run of a plan.

    Args:
        plan: what happens.
        aggregator, device: classes of the nodes; tests give some with mistakes.
        exchange: what children and their aggregators do before these report, where the plan has room for it.
        tell: gets a line for every event and effect, for people.
    """

    beside: ClassVar[bool] = False
    """Whether devices are asked beside the training."""

    def __init__(
        self,
        plan: FaultPlan,
        *,
        aggregator: type[Aggregator] = Aggregator,
        device: type[Device] = Device,
        exchange: Exchange | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.plan = plan
        self.now = 0.0
        self.machines = {name: SimulatedMachine() for name in [*plan.roles, *plan.devices]}
        self._parents = {**{name: role.parent for name, role in plan.roles.items()}, **plan.devices}
        self._children = plan.children()
        patience = {name: plan.patience(role, len(self._children[name])) for name, role in plan.roles.items()}
        self.deliveries = DeliveryLog(plan.roles, patience)
        self._exchange = None if exchange is None else ExchangeInWorld(exchange, plan.seed)
        self._aggregator, self._device, self._tell = aggregator, device, tell
        self._random = random.Random(f"faults/{plan.seed}")
        self._queue: list[tuple[float, int, str, Happening]] = []
        self._serial = self._events = self._crashes = self._lost = self._trainings = 0
        self._trace = blake2b(digest_size=16)
        self._done_at: float | None = None
        self._bound = plan.chaos.until + 2 * patience[plan.root.name] + POLL

    def run(self) -> SeedOutcome:
        """Until nothing happens any more.

        Raises:
            InvariantError: something happened that must not.
        """
        root = self.plan.root.name
        self.machines[root].store[model_key(root, 0)] = ()
        self._schedule()
        while self._queue:
            self.now, serial, name, happening = heapq.heappop(self._queue)
            self._events += 1
            if (self._done_at is None and self.now > self._bound) or self._events > MOST_EVENTS:
                raise InvariantError("hang", f"the job is not over after {self.now:.0f} s and {self._events} events")
            self._trace.update(_encode((self.now, name, happening)))
            self._happen(name, self.machines[name], happening, serial)
        return self._close(root)

    def _schedule(self) -> None:
        for name in self.machines:
            self._push(self.plan.arrivals.get(name, 0.0), name, "start")
        for name, at in self.plan.departures.items():
            self._push(at, name, "leave")
        for cut in self.plan.cuts:
            self._push(cut.end, cut.child, "join")
            if cut.noticed:
                self._push(cut.start + self._random.uniform(0.0, 2.0), self._parents[cut.child] or "", Left(cut.child))

    def _close(self, root: str) -> SeedOutcome:
        if self._done_at is None:
            raise InvariantError("hang", "nothing happens any more, and the job is not over")
        for name, machine in self.machines.items():
            node = machine.node
            if node is None:
                continue
            outbox = node.ledger.outbox if isinstance(node, Aggregator) else node.outbox
            if outbox.reports or outbox.step is not None:
                raise InvariantError(
                    "hang", f"{name} still waits for its parent's answer, and nothing happens any more"
                )
        nodes = {name: node for name, m in self.machines.items() if isinstance(node := m.node, Aggregator)}
        self.deliveries.close(nodes, {name: self.machines[name].store for name in nodes})
        rounds, digest = nodes[root].ledger.rounds_done, self._trace.hexdigest()
        return SeedOutcome(self.plan.seed, rounds, self._events, self._crashes, self._lost, self._done_at, digest)

    # What happens.

    def _happen(self, name: str, machine: SimulatedMachine, happening: Happening, serial: int) -> None:
        node = machine.node
        match happening:
            case "start":
                self._start(name, machine)
            case "join":
                self._connect(name)
            case "leave":
                machine.node, machine.gone = None, True
                machine.life += 1
                self._push(self.now, self._parents[name] or "", Left(name))
            case Parcel(sender=sender, message=message):
                if node is None or self._is_cut(name, sender):
                    self._lost += 1
                else:
                    self._take(node, machine, happening)
                    self._handle(name, Received(sender, message))
            case Alarm(life=life, event=TimerFired(timer=timer) as event):
                if life == machine.life and machine.timers[timer] == serial:
                    self._handle(name, event)
            case Alarm(life=life, event=Trained() as event):
                if life == machine.life:
                    self._trainings += 1
                    if event.failure is None:
                        machine.store[event.update] = self._made(name, event)
                        self._bring(machine, event.update)
                    self._handle(name, event)
            case Alarm(life=life, event=StepComputed() | Scored() as event):
                if life == machine.life:
                    self._handle(name, event)
            case Joined(child=child):
                if node is not None and self.machines[child].node is not None and not self._is_cut(child, name):
                    self._handle(name, happening)
            case Left():
                if node is not None:
                    self._handle(name, happening)
            case _:
                raise AssertionError(happening)

    def _take(self, node: Aggregator | Device, machine: SimulatedMachine, parcel: Parcel) -> None:
        """Store the value that came with a message, as far as the node wants it."""
        message, key = parcel.message, None
        if isinstance(message, Work):
            key = message.model
        if isinstance(message, Report) and message.update is not None:
            assert isinstance(node, Aggregator)
            if node.expects(parcel.sender, message.task):
                key = update_key(node.name, message.task)
        if isinstance(message, Step) and node.expects_step(parcel.sender, message):
            key = message.value
        if key is None or parcel.value is None:
            return
        machine.store[key] = parcel.value
        if parcel.arrays is not None:
            machine.arrays[key] = parcel.arrays

    def _start(self, name: str, machine: SimulatedMachine) -> None:
        """Start a node, perhaps again: replay its journal, and let it connect with its neighbours."""
        if machine.gone or machine.node is not None:
            return
        role = self._role(name)
        if role is None:
            retry = REPORT_AGAIN._replace(first=self._random.uniform(1.0, 3.0))
            node = self._device(name, self._parents[name] or "", retry=retry, beside=self.beside)
        else:
            node = self._aggregator(
                role, policy_of(role.tier), blinking if self.plan.blinks else None, partial(self._failed, name)
            )
        for line in machine.journal:
            node.apply(_decode(line))
        machine.node = node
        if machine.life and self._random.random() < 0.5:
            kept = node.keys()
            machine.store = {key: value for key, value in machine.store.items() if key in kept}
            machine.arrays = {key: value for key, value in machine.arrays.items() if key in kept}
        if isinstance(node, Aggregator):
            self.deliveries.resume(node, self.now)
        self._handle(name, Started())
        for child in (name, *self._children.get(name, ())):
            self._connect(child)

    def _role(self, name: str) -> AggregatorRole | None:
        """What an aggregator is; None: it is a device."""
        return self.plan.roles.get(name)

    def _connect(self, child: str) -> None:
        parent = self._parents[child]
        if parent is not None and self.machines[child].node is not None:
            below = len(self._children.get(child, "1"))
            hello = Hello(devices=below, seconds=self._random.choice((None, 1.0, 2.0, 5.0)))
            self._push(self.now + self._random.uniform(0.0, 1.0), parent, Joined(child, hello))

    def _handle(self, name: str, event: Event) -> None:
        """One step of a node. If it crashes in between, what it did first is done and the rest is not."""
        machine = self.machines[name]
        assert machine.node is not None
        effects = machine.node.handle(event, self.now)
        if self._tell is not None:
            self._tell(f"{self.now:8.2f} {name:6} {event}")
        crashes = self._bad_weather and self._random.random() < self.plan.chaos.crash
        for effect in effects[: self._random.randint(0, len(effects)) if crashes else None]:
            if self._tell is not None:
                self._tell(f"{'':15} -> {effect}")
            self._carry_out(name, machine, effect)
        if crashes:
            self._crash(name, machine)

    def _crash(self, name: str, machine: SimulatedMachine) -> None:
        self._crashes += 1
        machine.node = None
        machine.life += 1
        machine.timers = {}
        self.deliveries.restart(name)
        if self._tell is not None:
            self._tell(f"{self.now:8.2f} {name:6} CRASH")
        self._push(self.now + self._random.uniform(0.1, 20.0), name, "start")
        parent = self._parents[name]
        if parent is not None and self._random.random() < 0.7:
            self._push(self.now + self._random.uniform(0.0, 2.0), parent, Left(name))

    # Effects.

    def _carry_out(self, name: str, machine: SimulatedMachine, effect: Effect) -> None:
        store = machine.store
        match effect:
            case Send(to=to, message=message):
                self._send(name, machine, to, message)
            case Write(record=record):
                self._write(name, machine, record)
            case SetTimer(timer=timer, at=at):
                machine.timers[timer] = self._push(max(at, self.now), name, Alarm(machine.life, TimerFired(timer)))
            case Forget(keys=keys):
                for key in keys:
                    store.pop(key, None)
                    machine.arrays.pop(key, None)
            case Train(task=task, model=model, update=update) | Examine(task=task, model=model, update=update):
                value_of(store, name, model)
                failure = "it had to fail" if self._random.random() < self.plan.chaos.failure else None
                done = Trained(task, update, 1, failure=failure)
                self._push(self.now + self._random.uniform(0.5, 12.0), name, Alarm(machine.life, done))
            case ChildStep() | ParentStep() | Combine():
                self._exchange_effect(name, machine, effect)
            case Adopt(source=source, base=base, model=model):
                for key in (source, base):
                    _ = () if key is None else value_of(store, name, key)
                store[model] = ()  # An inner group's value is what its update will be.
            case Move(base=base, model=model, members=members):
                moved = value_of(store, name, base)
                by = self._sum(name, store, [member.update for member in members])
                self.deliveries.moves(name, by)
                store[model] = moved + by
                if self.plan.roles[name].tier.quarantine is not None:
                    scores = {member.child: 0.0 if lies(member.child) else 1.0 for member in members}
                    self._push(self.now, name, Alarm(machine.life, Scored(tuple(scores.items()))))
            case Merge(update=update, members=members) | AddUp(update=update, members=members):
                store[update] = self._sum(name, store, [member.update for member in members])
                self._bring(machine, update)
            case GroupUpdate(base=base, update=update):
                store[update] = value_of(store, name, base)
                self._bring(machine, update)
            case Finished():
                if name == self.plan.root.name and self._done_at is None:
                    self._done_at = self.now
                for child in self._children[name]:
                    self._transmit(name, child, Stop(), None)
            case _:
                pass

    def _exchange_effect(self, name: str, machine: SimulatedMachine, effect: ChildStep | ParentStep | Combine) -> None:
        assert self._exchange is not None
        store, arrays, rng = machine.store, machine.arrays, self._random
        if isinstance(effect, Combine):
            for member in effect.members:
                self._check_not_none(name, member.update)
            self.deliveries.silent(self._exchange.combine(name, effect, store, arrays))
            return
        if isinstance(effect, ChildStep):
            event, most = self._exchange.child(effect, store, arrays), 3.0
        else:
            event, most = self._exchange.parent(name, effect, store, arrays), 0.2
        if rng.random() < self.plan.chaos.failure / 2:
            event = StepComputed(event.task, event.number, failure="it had to fail", upward=event.upward)
        self._push(self.now + rng.uniform(0.0, most), name, Alarm(machine.life, event))

    def _bring(self, machine: SimulatedMachine, update: Key) -> None:
        """In an exchange there are numbers behind what a child has made."""
        if self._exchange is not None:
            machine.arrays[update] = update_of(machine.store[update])

    def _made(self, name: str, event: Trained) -> Contributions:
        """The value of what a device has brought."""
        return ((name, self._trainings),)

    def _sum(self, name: str, store: dict[Key, Contributions], keys: list[Key]) -> Contributions:
        for key in keys:
            self._check_not_none(name, key)
            if self._hides(name) and not is_combined(key):
                raise InvariantError("raw", f"{name} folds {key}, which is one child's part of an exchange")
        return tuple(contribution for key in keys for contribution in value_of(store, name, key))

    def _hides(self, name: str) -> bool:
        """Whether what an aggregator's children have done now is only to be seen in a sum."""
        return self.plan.roles[name].steps > 0

    def _check_not_none(self, name: str, key: Key) -> None:
        if self._is_none(key):
            raise InvariantError("failed", f"{name} folds {key}, which is none")

    def _write(self, name: str, machine: SimulatedMachine, record: Record) -> None:
        machine.journal.append(_encode(record))
        node = machine.node
        if isinstance(node, Aggregator):
            self.deliveries.watch(name, record, [lane.index for lane in node.ledger.lanes if lane.open], self.now)
            if isinstance(record, Accepted):
                value_of(machine.store, name, record.update)
            elif isinstance(record, Resolved):
                self.deliveries.refuses(node, record.task, record.why)
            elif isinstance(record, Spoiled):
                self.deliveries.spoils(name, record)
            elif isinstance(record, Entered) and node.ledger.up is not None:
                up = node.ledger.up
                self.deliveries.enters(name, up.task, value_of(machine.store, name, up.keys()[0]))
            elif isinstance(record, JobOver) and self._done_at is None and name == self.plan.root.name:
                self._done_at = self.now  # The effect that says it may be lost in a crash.

    def _send(self, name: str, machine: SimulatedMachine, to: str, message: Message) -> None:
        value, key = None, None
        match message:
            case Step(value=key):
                value = value_of(machine.store, name, key)
                self._forge_step(name, to, message)
            case Work(model=model):
                value = value_of(machine.store, name, model)
            case Report(task=task, update=update) if update is not None:
                key = update
                value = value_of(machine.store, name, update)
                self.deliveries.reports(to, task, value)
                if self._bad_weather and self._random.random() < self.plan.chaos.imposture:
                    forger = self._random.choice(self._children[to])
                    if forger != name:
                        self._transmit(forger, to, message, (("forger", task),))
            case Receipt(task=task, accepted=accepted):
                if accepted:
                    self.deliveries.acknowledges(name, task)
                elif isinstance(machine.node, Aggregator) and task not in machine.node.ledger.asks:
                    self.deliveries.repeats_refusal(machine.node, task)
            case _:
                pass
        arrays = machine.arrays.get(key) if key is not None else None
        if arrays is not None and key is not None:
            self.deliveries.sends(name, key, arrays)
        self._transmit(name, to, message, value, arrays)

    def _forge_step(self, name: str, to: str, step: Step) -> None:
        """Another child sends something as that child's, and the child itself something else a second time."""
        if self._parents[name] == to and self._bad_weather and self._random.random() < self.plan.chaos.imposture:
            for forger in (self._random.choice(self._children[to]), name):
                self._transmit(forger, to, step, (("forger", step.task),), {})

    def _failed(self, name: str, accepted: Sequence[AcceptedUpdate]) -> dict[int, str]:
        """Which updates that wait are found to be none when a round may close."""
        failed = {one.task: "it is none" for one in accepted if self._is_none(update_key(name, one.task))}
        machine = self.machines[name]
        combine = cast("Aggregator", machine.node).combines([one for one in accepted if one.task not in failed])
        if combine is None or self._exchange is None:
            return failed
        out = self._exchange.failed(name, combine, machine.arrays)
        return failed | {one.task: out[one.child] for one in accepted if one.child in out}

    def _is_none(self, key: Key) -> bool:
        # What an exchange came to is more than one child's, and has been looked at.
        return (
            self.plan.chaos.failure > 0 and not is_combined(key) and crc32(f"{self.plan.seed}/{key}".encode()) % 25 == 0
        )

    # The links.

    def _transmit(
        self,
        sender: str,
        to: str,
        message: Message,
        value: Contributions | None,
        arrays: Arrays | None = None,
    ) -> None:
        rng, chaos = self._random, self.plan.chaos
        parcel = Parcel(sender, message, value, arrays)
        if not self._bad_weather:
            self._push(self.now + 0.05, to, parcel)
            return
        if rng.random() < chaos.loss:
            self._lost += 1
            return
        for _ in range(2 if rng.random() < chaos.duplicate else 1):
            seconds = rng.uniform(0.01, 0.3)
            if rng.random() < chaos.slow:
                seconds *= rng.uniform(1.0, 30.0)
            self._push(self.now + seconds, to, parcel)

    def _is_cut(self, a: str, b: str) -> bool:
        ends = {a, b}
        return any(
            cut.start <= self.now < cut.end and ends == {cut.child, self._parents[cut.child]} for cut in self.plan.cuts
        )

    @property
    def _bad_weather(self) -> bool:
        return self.now < self.plan.chaos.until

    def _push(self, at: float, name: str, happening: Happening) -> int:
        self._serial += 1
        heapq.heappush(self._queue, (at, self._serial, name, happening))
        return self._serial


def run(
    seed: int,
    *,
    aggregator: type[Aggregator] = Aggregator,
    device: type[Device] = Device,
    exchange: Exchange | None = None,
    where: Where = "devices",
    private: bool = False,
    tell: Callable[[str], None] | None = None,
) -> SeedOutcome:
    """Run the plan of a seed; with an exchange, between these children and those above them; ``private``: where noise
    protects devices.

    Raises:
        InvariantError: something happened that must not.
    """
    plan = draw_plan(seed) if exchange is None else with_exchange(draw_plan(seed), len(exchange.steps), where)
    plan = with_privacy(plan) if private else plan
    return World(plan, aggregator=aggregator, device=device, exchange=exchange, tell=tell).run()
