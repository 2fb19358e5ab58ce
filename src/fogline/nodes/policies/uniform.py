"""Uniform selection."""

from __future__ import annotations

import random

from fogline.nodes.policies.base import Candidates, Selection
from fogline.nodes.policies.registry import POLICIES
from fogline.nodes.policies.sampling import draw


@POLICIES.add("uniform", "every ready child is equally likely")
class Uniform(Selection):
    """Every child that is ready is equally likely (McMahan et al., "Communication-Efficient Learning of Deep
    Networks from Decentralized Data", AISTATS 2017, algorithm 1).

    O(k) while most children are ready, O(n) where few are.
    """

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        return draw(candidates, k, rng, now)
