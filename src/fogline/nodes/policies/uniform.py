"""Uniform selection."""

from __future__ import annotations

import random
from typing import ClassVar

from fogline.nodes.policies.base import Candidates, Selection
from fogline.nodes.policies.sampling import draw


class Uniform(Selection):
    """Every child that is ready is equally likely (McMahan et al., "Communication-Efficient Learning of Deep
    Networks from Decentralized Data", AISTATS 2017, algorithm 1).

    O(k) while most children are ready, O(n) where few are.
    """

    name: ClassVar[str] = "uniform"
    summary: ClassVar[str] = "every ready child is equally likely"

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        return draw(candidates, k, rng, now)
