"""What methods share in which an aggregator remembers the last update of each of its devices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded, Weight
from fogline.algorithms.base import AggregatorContext, Algorithm, ClientUpdate, Moved, Weighted
from fogline.modes import Mode
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext

SENT = "update-"
"""How the name begins under which a device sends; that of a fog, which sends how far its own model moved, is all of it.
"""
KEPT, HEARD = "kept-", "heard-"
"""How names begin in an aggregator's state: of a device's last update, and of the move in which it came."""


class CachedUpdates(Algorithm):
    """A device's update goes up under the device's name, and whoever has devices below keeps the last one of each.

    An aggregator of ``members`` devices needs that many models of memory, and writes them with each of its own. Of more
    devices it keeps those that it heard from last. Fogs keep their own devices' updates, and the root moves by the mean
    of what fogs send.
    """

    columnwise: ClassVar[bool] = True
    linear: ClassVar[bool] = False
    own_names: ClassVar[bool] = True
    own_prefix: ClassVar[str] = SENT
    alike: ClassVar[bool] = False
    movement: ClassVar[str] = f"{SENT}*"
    mode: ClassVar[Mode] = "async"

    server_rate: float = bounded(1.0, gt=0)
    members: int = bounded(100, ge=1)

    @abstractmethod
    def step(self, new: Mapping[str, Vector], kept: Mapping[str, Vector], group: AggregatorContext) -> Vector:
        """How far the model moves, (P,), at a rate of one.

        Args:
            new: means of what devices have sent since the last move, by device.
            kept: the last updates of devices before, by device.
            group: of the aggregator.
        """

    def remembered(self, state: State, group: AggregatorContext) -> dict[str, Vector]:
        """The last updates of devices, by device."""
        return {name.removeprefix(KEPT): vector for name, vector in state.items() if name.startswith(KEPT)}

    def report(self, device: DeviceContext) -> ClientUpdate:
        return ClientUpdate({SENT + device.name: Weighted(device.end - device.start, 1.0)}, device.local)

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        new = folded.means(SENT)
        if SENT in folded.sums:  # Of fogs, whose caches are their own.
            return model + self.server_rate * new.pop(""), state
        moved = model + self.server_rate * self.step(new, self.remembered(state, group), group)
        return moved, self._kept(state, new, group)

    def inner_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        return self.server_update(model, folded, state, group)

    def group_update(
        self, start: Vector, delta: Vector, weight: Weight, totals: dict[str, Weighted]
    ) -> dict[str, Weighted]:
        heard: Weight = sum((term.weight for name, term in totals.items() if name.startswith(SENT)), 0.0)
        return {SENT: Weighted(delta, heard)}

    def staleness_weight(self, staleness: int) -> float:
        return 1.0

    def _kept(self, state: State, new: Mapping[str, Vector], group: AggregatorContext) -> State:
        """The state with what is new, of as many devices as there is room for."""
        heard = {name: float(at[0]) for name, at in state.items() if name.startswith(HEARD)}
        heard |= {HEARD + device: float(group.round) for device in new}
        newest = sorted(heard, key=lambda name: (-heard[name], name))[: self.members]
        kept = {KEPT + name.removeprefix(HEARD) for name in newest}
        updates = {**state, **{KEPT + device: update for device, update in new.items()}}
        return {name: updates[name] for name in sorted(kept)} | {name: np.array([heard[name]]) for name in newest}
