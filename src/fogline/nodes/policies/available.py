"""Selection that looks at who will be there later."""

from __future__ import annotations

import random

from fogline.nodes.policies.base import Candidates, Feedback, Selection
from fogline.nodes.policies.parameters import choice, count
from fogline.nodes.policies.registry import POLICIES
from fogline.nodes.policies.sampling import all_ready, draw


@POLICIES.add("available", "rarely available children first, or only those expected to stay")
class Available(Selection):
    """Prefers the children that are rarely there, or takes only those that will stay.

    ``prefer = "rare"``: least available first (Abdelmoniem et al., "REFL: Resource-Efficient Federated
    Learning", EuroSys 2023, section 4.1). With ``m`` the mean duration of a round, each ready child's
    availability is forecast at ``probes`` points of ``[now + m, now + 2m]``; the lowest share comes first and
    ties are drawn. A child that took part rests for ``rest`` rounds, as in the paper, and stands in only when
    the others are too few. O(n * probes).

    ``prefer = "stay"``: uniformly among those forecast to be there, at ``probes`` points, until they should be
    done (their expected time, or else the deadline). O(k * probes) while most stay.
    """

    def __init__(self, *, prefer: str = "rare", probes: int = 4, rest: int = 5) -> None:
        self._prefer = choice("prefer", prefer, ("rare", "stay"))
        self._probes = count("probes", probes)
        self._rest = count("rest", rest, 0)
        self._took_part: dict[str, int] = {}
        self._mean: float | None = None

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        if self._prefer == "stay":
            return draw(candidates, k, rng, now, fits=lambda child: self._stays(candidates, child, now))
        return self._rarest(candidates, k, rng, round, now)

    def observe(self, child: str, feedback: Feedback, round: int) -> None:
        self._took_part[child] = round
        if not feedback.failed:
            old = self._mean
            self._mean = feedback.seconds if old is None else 0.75 * old + 0.25 * feedback.seconds

    def _stays(self, candidates: Candidates, child: str, now: float) -> bool:
        seconds = candidates.seconds(child)
        span = candidates.deadline if seconds is None else min(seconds, candidates.deadline)
        steps = self._probes
        return all(candidates.available(child, now + span * (i + 1) / steps) for i in range(steps))

    def _rarest(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        mean = candidates.deadline if self._mean is None else self._mean
        points = [now + mean * (1.0 + (i + 0.5) / self._probes) for i in range(self._probes)]

        def rank(child: str) -> tuple[bool, int]:
            last = self._took_part.get(child)
            resting = last is not None and round - last <= self._rest
            return resting, sum(candidates.available(child, at) for at in points)

        children = all_ready(candidates, now)
        rng.shuffle(children)
        return sorted(children, key=rank)[:k]
