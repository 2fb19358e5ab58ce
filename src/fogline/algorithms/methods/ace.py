"""ACE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.cached_updates import HEARD, CachedUpdates
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector


@METHODS.add("ace")
class ACE(CachedUpdates):
    """Moves by the mean of what all devices sent last, whenever one reports (ACE and ACED, 2025).

    ``x += server_rate / |A| sum_(i in A) h_i`` where ``h_i`` is what device i sent last, and A are the devices that
    were heard in the last ``oldest`` moves. So no device weighs more for being quick. Each move goes by all of them, so
    that the rate is for as many moves as there are reports.
    """

    columnwise: ClassVar[bool] = True

    server_rate: float = bounded(0.1, gt=0)
    oldest: int = bounded(100, ge=1)
    buffer: int = bounded(1, ge=1)  # pyright: ignore[reportIncompatibleVariableOverride]

    def remembered(self, state: State, group: AggregatorContext) -> dict[str, Vector]:
        return {
            device: vector
            for device, vector in super().remembered(state, group).items()
            if group.round - float(state[HEARD + device][0]) < self.oldest
        }

    def step(self, new: Mapping[str, Vector], kept: Mapping[str, Vector], group: AggregatorContext) -> Vector:
        last = {**kept, **new}
        return sum(last.values(), 0.0 * next(iter(last.values()))) / len(last)
