"""TiFL: a cohort of one speed."""

from __future__ import annotations

import math
import random
from bisect import bisect_left

from fogline.nodes.policies.base import Candidates, Feedback, Selection
from fogline.nodes.policies.parameters import count
from fogline.nodes.policies.registry import POLICIES
from fogline.nodes.policies.sampling import draw

PROFILED = 1000
"""Children whose times set the borders between the tiers."""


@POLICIES.add("tifl", "each cohort from one of five tiers of equal speed")
class TiFL(Selection):
    """Sorts the children into tiers of equal size by speed, draws a tier, and the cohort uniformly in it.

    Chai et al., "TiFL: A Tier-based Federated Learning System", HPDC 2020, algorithm 2. A tier pays a credit
    for each round; without credits it is passed over, and when none has any left all get theirs back (the
    paper's run ends there). Every ``interval`` rounds the chances are set anew: with ``n`` tiers, the one with
    the highest mean loss gets ``n / (n(n+1)/2)``, the next ``(n-1) / (n(n+1)/2)`` and so on. The paper ranks
    by test accuracy on the tier's data; here by the losses that the children report, and without any the
    chances stay equal (the paper's "uniform" policy). Until half of the children have a known time (the
    paper's profiling), the cohort is uniform; later an unknown time counts as slow. A tier that is too small
    at the moment is filled up from the others. O(k) while most children are ready.

    Args:
        tiers: how many.
        credits: rounds that a tier may have before the others must have theirs.
        interval: rounds between two settings of borders and chances.
    """

    def __init__(self, *, tiers: int = 5, credits: int = 20, interval: int = 20) -> None:
        self._tiers = count("tiers", tiers)
        self._allowance = count("credits", credits)
        self._interval = count("interval", interval)
        self._borders: list[float] | None = None
        self._due = 0
        self._chances = [1.0] * self._tiers
        self._credits = [self._allowance] * self._tiers
        self._losses: dict[str, float] = {}

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        if self._borders is None or round >= self._due:
            self._profile(candidates, rng, round)
        if self._borders is None:
            return draw(candidates, k, rng, now)
        tier = self._next_tier(rng)
        picked = draw(candidates, k, rng, now, fits=lambda child: self._tier(candidates, child) == tier)
        return picked + draw(candidates, k - len(picked), rng, now, without=set(picked))

    def observe(self, child: str, feedback: Feedback, round: int) -> None:
        if feedback.loss_rms is not None and math.isfinite(feedback.loss_rms):
            self._losses[child] = feedback.loss_rms

    def _tier(self, candidates: Candidates, child: str) -> int:
        seconds = candidates.seconds(child)
        return self._in_use - 1 if seconds is None else bisect_left(self._borders or [], seconds)

    def _profile(self, candidates: Candidates, rng: random.Random, round: int) -> None:
        """Set the borders by quantiles of a uniform draw of children, and the chances by their tiers' losses."""
        everyone = len(candidates)
        drawn = rng.sample(range(everyone), min(PROFILED, everyone))
        times = (candidates.seconds(candidates.at(i)) for i in drawn)
        known = sorted(seconds for seconds in times if seconds is not None)
        if 2 * len(known) < len(drawn) or not known:
            return
        borders = {known[max(0, len(known) * i // self._tiers - 1)] for i in range(1, self._tiers)}
        self._borders = sorted(border for border in borders if border < known[-1])
        self._due = round + self._interval
        self._weigh(candidates)

    def _weigh(self, candidates: Candidates) -> None:
        sums, counts = [0.0] * self._in_use, [0] * self._in_use
        for child, loss in self._losses.items():
            tier = self._tier(candidates, child)
            sums[tier] += loss
            counts[tier] += 1
        if not all(counts):
            return
        worst_first = sorted(range(self._in_use), key=lambda tier: -sums[tier] / counts[tier])
        for place, tier in enumerate(worst_first):
            self._chances[tier] = float(self._in_use - place)

    def _next_tier(self, rng: random.Random) -> int:
        tiers = range(self._in_use)
        if not any(self._credits[tier] for tier in tiers):
            self._credits = [self._allowance] * self._tiers
        tier = rng.choices(tiers, [self._chances[t] if self._credits[t] else 0.0 for t in tiers])[0]
        self._credits[tier] -= 1
        return tier

    @property
    def _in_use(self) -> int:
        """Tiers that the borders make: fewer than asked for where many children are equally fast."""
        return len(self._borders or []) + 1
