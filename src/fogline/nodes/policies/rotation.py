"""Selection by turns."""

from __future__ import annotations

import random
from hashlib import blake2b

from fogline.jobs.tree import PERIOD
from fogline.nodes.policies.base import Candidates, Selection
from fogline.nodes.policies.parameters import count
from fogline.nodes.policies.registry import POLICIES
from fogline.nodes.policies.sampling import draw


@POLICIES.add("rotation", "each child's turn comes once in so many rounds, at the earliest")
class Rotation(Selection):
    """Children take turns: each has one round in every ``period`` in which it may be asked, and no other.

    Which one, its name decides, so that it stays the same over crashes, whoever joins or leaves, and at whichever
    aggregator it is. So between two rounds of the job that a child takes part in there are at least ``period - 1``
    without it, which is what DP-FTRL counts on (Kairouz et al., "Practical and Private (Deep) Learning without Sampling
    or Shuffling", ICML 2021). A round has about one in ``period`` of the children; of those whose turn it is, a smaller
    cohort is drawn uniformly.
    """

    def __init__(self, *, period: int = PERIOD) -> None:
        self.period = count("period", period)

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        return draw(candidates, k, rng, now, fits=lambda child: self.has_turn(child, round))

    def has_turn(self, child: str, round: int) -> bool:
        return turn_of(child, self.period) == round % self.period


def turn_of(child: str, period: int) -> int:
    """In which round of every ``period`` a child's turn is, counted from 0."""
    return int.from_bytes(blake2b(child.encode(), digest_size=8).digest(), "little") % period
