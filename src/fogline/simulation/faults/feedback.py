"""What senders remember of what a code lost, under crashes and with devices that change their fog.

Numbers are whole here, so that what was sent and what is remembered add up to all that devices have come to, exactly.
"""

from __future__ import annotations

from collections.abc import Callable

from fogline.nodes import Aggregator, Device
from fogline.nodes.effects import Effect, Train
from fogline.nodes.events import Left, Trained
from fogline.nodes.messages import Key
from fogline.nodes.records import Posted, Record
from fogline.simulation.faults.checks import Contributions, InvariantError
from fogline.simulation.faults.machines import Happening, SimulatedMachine
from fogline.simulation.faults.plan import FaultPlan
from fogline.simulation.faults.world import World

STEP = 16
"""A code that keeps whole steps only, and so is never right on average."""


class FeedbackWorld(World):
    """One run of a plan in which some devices change their fog, and each remembers what the code lost."""

    def __init__(
        self,
        plan: FaultPlan,
        *,
        aggregator: type[Aggregator] = Aggregator,
        device: type[Device] = Device,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(plan, aggregator=aggregator, device=device, tell=tell)
        self.moves = 0
        """How often a device changed its fog."""
        self.kept = dict.fromkeys(plan.devices, 0)
        """By device, what it remembers;"""
        self.sent = dict.fromkeys(plan.devices, 0)
        """what it has sent,"""
        self.meant = dict.fromkeys(plan.devices, 0)
        """and what it should have sent without a code."""
        self._begun: dict[tuple[str, Key], int] = {}
        """What was remembered when a training began that is under way."""
        self._done: dict[tuple[str, Key], tuple[int, int]] = {}
        """What trainings came to, and what would be remembered after them."""
        self._elsewhere: dict[tuple[str, str], tuple[list[bytes], dict[Key, Contributions]]] = {}
        """Journals and values that devices have of the time below other fogs."""

    def _schedule(self) -> None:
        super()._schedule()
        for name, home in self.plan.devices.items():
            others = sorted({*self.plan.devices.values()} - {home})
            if others and self._random.random() < 0.5:
                for _ in range(self._random.randint(1, 3)):
                    self._push(self._random.uniform(0.0, 1.2 * self.plan.chaos.until), name, "move")

    def _happen(self, name: str, machine: SimulatedMachine, happening: Happening, serial: int) -> None:
        if happening == "move":
            self._move(name, machine)
            return
        super()._happen(name, machine, happening, serial)

    def _move(self, name: str, machine: SimulatedMachine) -> None:
        """A device hangs below another fog, with a journal for that one. What its stages remember is its own."""
        old = self._parents[name]
        assert old is not None
        new = self._random.choice(sorted({*self.plan.devices.values()} - {old}))
        if machine.gone or machine.node is None or len(self._children[old]) < 3:
            return
        self.moves += 1
        machine.node, machine.timers = None, {}
        machine.life += 1
        self._elsewhere[name, old] = machine.journal, machine.store
        machine.journal, machine.store = self._elsewhere.pop((name, new), ([], {}))
        self._children[old].remove(name)
        self._children[new].append(name)
        self._parents[name] = new
        self._push(self.now + self._random.uniform(0.0, 2.0), old, Left(name))
        self._push(self.now + self._random.uniform(0.1, 5.0), name, "start")

    def _carry_out(self, name: str, machine: SimulatedMachine, effect: Effect) -> None:
        if isinstance(effect, Train):
            self._begun[name, effect.update] = self.kept[name]
        super()._carry_out(name, machine, effect)

    def _made(self, name: str, event: Trained) -> Contributions:
        moved = self._random.randint(1, 5 * STEP)
        total = moved + self._begun[name, event.update]
        self._done[name, event.update] = moved, total % STEP
        return super()._made(name, event)

    def _write(self, name: str, machine: SimulatedMachine, record: Record) -> None:
        super()._write(name, machine, record)
        if name in self.kept and isinstance(record, Posted) and record.report.update is not None:
            self._keep(name, record.report.update)

    def _keep(self, name: str, update: Key) -> None:
        """An update is to be sent: in the same transaction there is what its stages remember now."""
        moved, left = self._done.pop((name, update))
        self.sent[name] += moved + self._begun[name, update] - left
        self.meant[name] += moved
        self.kept[name] = left
        if self.sent[name] + self.kept[name] != self.meant[name]:
            raise InvariantError("memory", f"{name} sent {self.sent[name]} and remembers {left} of {self.meant[name]}")
