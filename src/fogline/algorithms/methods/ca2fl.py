"""CA2FL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.cached_updates import CachedUpdates
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import Vector


@METHODS.add("ca2fl")
class CA2FL(CachedUpdates):
    """FedBuff that makes up for devices that report seldom by what they sent last (Wang et al., ICLR 2024).

    ``x += server_rate v`` with ``v = 1/n sum_i h_i + 1/K sum_(i in S) (D_i - h_i)``: ``h_i`` is what device i sent
    last, zero before it has sent anything, n counts all devices below the aggregator, and S are the K in the buffer.
    However old an update is, it weighs the same. A device that is in S twice counts once, with the mean.
    """

    columnwise: ClassVar[bool] = True

    buffer: int | None = bounded(None, ge=1)  # pyright: ignore[reportIncompatibleVariableOverride]

    def step(self, new: Mapping[str, Vector], kept: Mapping[str, Vector], group: AggregatorContext) -> Vector:
        zero = 0.0 * next(iter(new.values()))
        remembered = sum(kept.values(), zero) / max(group.population, len(kept))
        return remembered + sum((update - kept.get(device, zero) for device, update in new.items()), zero) / len(new)
