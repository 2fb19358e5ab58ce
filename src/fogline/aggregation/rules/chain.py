"""Rules one after the other: some that prepare updates, and one that combines them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.geometry import Geometry, Mixture
from fogline.aggregation.rules.base import Rule, averaged
from fogline.params import Vector


class Chain(Rule):
    """What a list of rules in a job makes: ``["nnm(f=2)", "trimmed_mean(0.1)"]``."""

    links: tuple[Rule, ...]

    def __post_init__(self) -> None:
        *before, last = self.links
        # What a class says of itself hangs here on what is in the list.
        object.__setattr__(self, "combines", last.combines)
        object.__setattr__(self, "mixes", any(rule.mixes for rule in self.links))
        object.__setattr__(self, "tells", last.tells or (not last.needs_all and any(rule.tells for rule in before)))
        for rule in before:
            if not rule.prepares:
                raise ValueError(f"{rule} ends in one update, so that nothing can follow it; put it last")
        if type(last).fold is not Rule.fold:
            raise ValueError(f"{last} adds updates up as they come, so that nothing can stand before it; take mean")
        if last.trusted:
            raise ValueError(f"{last} compares updates with the one of '{last.trusted}'; nothing can stand before it")

    @property
    def least(self) -> int:
        needed = self.links[-1].least
        for rule in reversed(self.links[:-1]):
            needed = max(rule.least, rule.needed(needed))
        return needed

    @property
    def remembers(self) -> bool:
        return any(rule.remembers for rule in self.links)

    def combine(self, block: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> Vector:
        return self.links[-1].combine(block, weights)

    def kept(self, block: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
        return self.links[-1].kept(block)

    def prepare(self, updates: Geometry) -> Mixture:
        seen, matrix, mixture = updates, np.eye(len(updates)), Mixture(np.eye(len(updates)))
        for rule in self.links:
            if rule.mixes:
                mixture = rule.mixture(seen)
                seen, matrix = seen.mixed(mixture.matrix), mixture.matrix @ matrix
        whole = Mixture(matrix, mixture.noise)
        return whole if self.links[-1].combines else averaged(whole)
