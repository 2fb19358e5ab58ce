"""Drawing children: uniformly in O(k), by weight in O(n)."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Collection, Iterable

from fogline.nodes.policies.base import Candidates

PATIENCE = 12
"""Blind draws per child wanted before all children are looked at."""


def ready(candidates: Candidates, child: str, now: float) -> bool:
    """Whether a child can be asked to train now."""
    return candidates.free(child) and candidates.available(child, now)


def all_ready(candidates: Candidates, now: float) -> list[str]:
    """All children that can be asked now, in the roster's order. O(n)."""
    children = map(candidates.at, range(len(candidates)))
    return [child for child in children if ready(candidates, child, now)]


def draw(
    candidates: Candidates,
    k: int,
    rng: random.Random,
    now: float,
    *,
    fits: Callable[[str], bool] | None = None,
    without: Collection[str] = (),
) -> list[str]:
    """Uniformly ``k`` distinct children that are ready, fit and not in ``without``.

    Blind draws with rejection cost O(k) whatever the population. Where too many are refused, or ``k`` is a
    large part of the children, all are looked at once: O(n). Both ways every fit child is equally likely.
    """
    if k <= 0:
        return []

    free, available = candidates.free, candidates.available
    picked: list[str] = []
    if PATIENCE * k < len(candidates):
        picked = _blind(candidates, k, rng, now, fits, without)
    if len(picked) < k:
        taken = {*picked, *without}
        children = map(candidates.at, range(len(candidates)))
        rest = [
            child
            for child in children
            if child not in taken and free(child) and available(child, now) and (fits is None or fits(child))
        ]
        picked += rng.sample(rest, min(k - len(picked), len(rest)))
    return picked


def _blind(
    candidates: Candidates,
    k: int,
    rng: random.Random,
    now: float,
    fits: Callable[[str], bool] | None,
    without: Collection[str],
) -> list[str]:
    at, free, available, drawn = candidates.at, candidates.free, candidates.available, rng.random
    picked: list[str] = []
    tried: set[int] = set()
    count = len(candidates)
    for _ in range(PATIENCE * k + PATIENCE):
        i = int(drawn() * count)
        if i in tried:
            continue
        tried.add(i)
        child = at(i)
        if child not in without and free(child) and available(child, now) and (fits is None or fits(child)):
            picked.append(child)
            if len(picked) == k:
                break
    return picked


def draw_weighted(weighted: Iterable[tuple[str, float]], k: int, rng: random.Random) -> list[str]:
    """``k`` children one after the other, each with a chance in proportion to its weight among those left.

    Exponential keys: the ``k`` smallest of ``-ln(u) / weight`` (Efraimidis and Spirakis, 2006, algorithm A-Res
    in logarithms). O(n log k). A weight of zero or less comes only after all positive ones.
    """

    def key(weight: float) -> float:
        exponential = -math.log(1.0 - rng.random())
        return exponential / weight if weight > 0 else math.inf

    keyed = ((key(weight), i, child) for i, (child, weight) in enumerate(weighted))
    return [child for _, _, child in heapq.nsmallest(k, keyed)]
