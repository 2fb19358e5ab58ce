"""Models that go down as differences, under losses, duplicates and crashes: a child has its parent's idea, to the bit.

The models of this world are numbers, which go through the stages of a link; what of them is kept, and what a child
takes, is decided as on real nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fogline.aggregation import Arrays
from fogline.algorithms.group import Down
from fogline.compute.differences import model_from, next_model
from fogline.nodes import Aggregator, AggregatorRole, Device
from fogline.nodes.effects import Adopt, Effect, Move
from fogline.nodes.messages import Key, Message, Work, model_key
from fogline.nodes.records import Assigned, Posted, Record
from fogline.nodes.versions import DIFFERENCE, before, chain, lacked, useful
from fogline.params import Vector
from fogline.simulation.faults.checks import Contributions, InvariantError
from fogline.simulation.faults.machines import Parcel, SimulatedMachine
from fogline.simulation.faults.plan import FaultPlan
from fogline.simulation.faults.world import World
from fogline.stages import LinkContext, pipeline

SIZE = 256
CODES = ("int4", "eden(bits=1)", "stc(share=0.1, feedback=false)", "top_k(share=0.05, feedback=false)")
HELD, OWN = "held", "own"
"""Of a model: what children have of it, and what its aggregator has."""


class Keeping(Device):
    """A device that keeps the last model that it got."""

    keeps: bool = True


class DifferencesWorld(World):
    """One run of a plan in which every aggregator with a model of its own sends differences."""

    def __init__(
        self,
        plan: FaultPlan,
        *,
        aggregator: type[Aggregator] = Aggregator,
        device: type[Device] = Keeping,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(plan, aggregator=aggregator, device=device, tell=tell)
        self._numbers = np.random.default_rng(plan.seed)
        self._stages = pipeline((f"delta(every={5 + plan.seed % 9})", CODES[plan.seed % len(CODES)]))
        self.ways: Counter[str] = Counter()
        """How often a model came whole, or by how many differences."""
        root, first = plan.root.name, self._drawn()
        self.machines[root].arrays[model_key(root, 0)] = {HELD: first, OWN: first}

    def _role(self, name: str) -> AggregatorRole | None:
        role = super()._role(name)
        return role if role is None else replace(role, keeps=role.parent is not None)

    def _drawn(self) -> Vector:
        return self._numbers.standard_normal(SIZE, np.float32)

    # At a parent.

    def _carry_out(self, name: str, machine: SimulatedMachine, effect: Effect) -> None:
        super()._carry_out(name, machine, effect)
        if isinstance(effect, Adopt):
            self._make(machine, effect, machine.arrays[effect.source][HELD])
        elif isinstance(effect, Move):
            self._make(machine, effect, machine.arrays[effect.base][OWN] + self._drawn())

    def _make(self, machine: SimulatedMachine, effect: Adopt | Move, own: Vector) -> None:
        arrays, key = machine.arrays, effect.model
        held = None if effect.base is None else _down(arrays[effect.base][HELD])
        link = LinkContext(int(self._numbers.integers(2**32)))
        made, difference = next_model(_down(own), held, key, SIZE, self._stages, link)
        arrays[key] = {HELD: made.vector, OWN: own}
        arrays.pop(key + DIFFERENCE, None)
        if difference is not None:
            arrays[key + DIFFERENCE] = difference
        self._trim(machine, key)

    def _trim(self, machine: SimulatedMachine, key: Key) -> None:
        """Keep the differences that lead to a model, and no others of that node."""
        kept = {link + DIFFERENCE for link in _links(machine, key)}
        for other in [one for one in machine.arrays if one.endswith(DIFFERENCE) and one not in kept]:
            if other.partition("@")[0] == key.partition("@")[0]:
                del machine.arrays[other]

    def _transmit(
        self, sender: str, to: str, message: Message, value: Contributions | None, arrays: Arrays | None = None
    ) -> None:
        if isinstance(message, Work):
            machine, key = self.machines[sender], message.model
            arrays = {HELD: machine.arrays[key][HELD]}
            for link in _links(machine, key):
                arrays |= {f"{link}|{name}": array for name, array in machine.arrays[link + DIFFERENCE].items()}
        super()._transmit(sender, to, message, value, arrays)

    # At a child.

    def _start(self, name: str, machine: SimulatedMachine) -> None:
        if machine.node is None and machine.life and self._role(name) is None and self._random.random() < 0.2:
            machine.arrays.clear()  # Its disk is another one.
        super()._start(name, machine)

    def _take(self, node: Aggregator | Device, machine: SimulatedMachine, parcel: Parcel) -> None:
        if not isinstance(parcel.message, Work):
            super()._take(node, machine, parcel)
            return
        assert parcel.value is not None
        assert parcel.arrays is not None
        key, idea, told = parcel.message.model, parcel.arrays[HELD], _told(parcel.arrays)
        machine.store[key] = parcel.value
        if isinstance(node, Aggregator) and not node.role.moves:
            machine.arrays |= {link + DIFFERENCE: difference for link, difference in told.items()}
            machine.arrays[key] = {HELD: idea}
            self._trim(machine, key)
            return
        made = self._obtained(machine, key, idea, told)
        if made.tobytes() != idea.tobytes():
            raise InvariantError("drift", f"{node.name} has another {key} than its parent thinks")
        machine.arrays[key] = {HELD: made}

    def _obtained(self, machine: SimulatedMachine, key: Key, idea: Vector, told: dict[Key, Arrays]) -> Vector:
        if key in machine.arrays:
            return machine.arrays[key][HELD]
        way = lacked(list(told), machine.arrays)
        self.ways["whole" if way is None else f"{len(way)} differences"] += 1
        if way is None:
            return idea
        down = _down(machine.arrays[before(way[0])][HELD])
        for link in way:
            down = model_from(down, told[link], SIZE, self._stages)
        return down.vector

    def _write(self, name: str, machine: SimulatedMachine, record: Record) -> None:
        super()._write(name, machine, record)
        if isinstance(record, Assigned | Posted) and machine.node is not None:
            needed = machine.node.keys()
            for key in [key for key in machine.arrays if not key.startswith(f"{name}@")]:
                if key not in needed and not key.endswith(DIFFERENCE):
                    del machine.arrays[key]


def _down(vector: Vector) -> Down:
    return Down(vector, np.zeros(0, np.int64))


def _links(machine: SimulatedMachine, key: Key) -> list[Key]:
    links = chain(key, machine.arrays)
    sizes = {link: _size(machine.arrays[link + DIFFERENCE]) for link in links}
    return useful(links, sizes, machine.arrays[key][HELD].nbytes)


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _told(arrays: Arrays) -> dict[Key, Arrays]:
    """The differences in a parcel, by the version that each leads to."""
    told: dict[Key, Arrays] = {}
    for name, array in arrays.items():
        link, bar, part = name.partition("|")
        if bar:
            told.setdefault(link, {})[part] = array
    return told
