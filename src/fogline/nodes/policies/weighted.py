"""Selection in proportion to data."""

from __future__ import annotations

import random

from fogline.nodes.policies.base import Candidates, Selection
from fogline.nodes.policies.registry import POLICIES
from fogline.nodes.policies.sampling import all_ready, draw_weighted


@POLICIES.add("weighted", "chances in proportion to the examples a child holds")
class WeightedSampling(Selection):
    """A child's chance is in proportion to its examples, without replacement.

    The first scheme of Li et al., "On the Convergence of FedAvg on Non-IID Data", ICLR 2020, section 3.3,
    but without replacement. Every ready child is looked at: O(n log k). A child that does not say how much it
    holds counts as one example.
    """

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        return draw_weighted(by_data(candidates, all_ready(candidates, now)), k, rng)


def by_data(candidates: Candidates, children: list[str]) -> list[tuple[str, float]]:
    """Children with their examples as weights; at least one each."""
    return [(child, float(max(1, candidates.samples(child)))) for child in children]
