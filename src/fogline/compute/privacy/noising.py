"""The noise on a sum of what units have given: added before anything is made of the sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from fogline.aggregation import Partial
from fogline.aggregation.exact import UNIT
from fogline.compute.privacy.contributions import COUNTED
from fogline.jobs.protection.protection import Protection
from fogline.privacy.adaptive import next_clip, noise_of_count, noise_of_sum
from fogline.privacy.mechanisms import Integers
from fogline.privacy.noise.gaussian import rounded_gaussian
from fogline.privacy.noise.source import Source
from fogline.privacy.noise_state import NoiseState

LARGEST = 2.0**62
"""A number of a sum reaches less: half of what 64 bits hold."""


@dataclass(frozen=True, slots=True)
class Noising:
    """Makes sums that may be given out.

    Args:
        protection: of the job.
        movement: name of the vector that moves the model.
    """

    protection: Protection
    movement: str

    def released(self, partial: Partial, state: NoiseState, population: int, round: int) -> tuple[Partial, NoiseState]:
        """A sum with noise, weighing as many units as were expected, and what to keep.

        Args:
            partial: the sum, of an exact fold; it is used up.
            state: what was kept.
            population: devices below the aggregator now.
            round: of the job, counted from 0.

        Raises:
            ValueError: it is no sum of what units give, or there are too few units to adapt the clip; one sentence.
        """
        population = max(population, state.population)
        privacy, units = self.protection.privacy, self.protection.units(population)
        total, clip = _steps(partial, self.movement), state.clip
        if privacy.quantile is None:
            deviation = privacy.noise * clip * UNIT
        else:  # What units give is over the clip, and the sum is of what is at most 1 long.
            deviation = noise_of_sum(privacy.noise, units) * UNIT
            clip = self._adapted(state, _steps(partial, COUNTED), units)
        source = _source(state, self.movement, total, deviation)
        total, own = self.protection.mechanism.noised(total, deviation, state.own, source, round)
        if privacy.quantile is not None:
            total = _times(total, state.clip)
        made = Partial({self.movement: total}, {self.movement: units}, partial.counters, partial.count, partial.double)
        return made, NoiseState(state.next_key, clip, population, own)

    def _adapted(self, state: NoiseState, count: Integers, units: float) -> float:
        """The clip of the next round, by how many units said that they were within this one."""
        quantile = self.protection.privacy.quantile
        assert quantile is not None
        deviation = noise_of_count(units) * UNIT
        source = _source(state, COUNTED, count, deviation)
        told = count + rounded_gaussian(deviation, count.size, source)
        return next_clip(state.clip, float(told[0]) / UNIT, units, quantile)


def _times(total: Integers, clip: float) -> Integers:
    """A sum over the clip, as it would be without.

    Raises:
        ValueError: it has no room in whole numbers.
    """
    lengthened = np.rint(total * clip)
    if not np.abs(lengthened).max(initial=0.0) < LARGEST:
        raise ValueError(f"The clip has come to {clip:g}, for which sums in whole numbers have no room.")
    return lengthened.astype(np.int64)


def _source(state: NoiseState, name: str, total: Integers, deviation: float) -> Source:
    """The noise of one sum and one width: twice the same noise on one sum, once wider, would give the sum away."""
    return Source(state.key_of(name, np.float64(deviation).tobytes() + total.tobytes()))


def _steps(partial: Partial, name: str) -> Integers:
    total = partial.sums.get(name)
    if total is None or total.dtype != np.int64:
        raise ValueError(f"The sum has no '{name}' in whole numbers, to which noise could be added.")
    return cast("Integers", total)
