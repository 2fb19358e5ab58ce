"""TimelyFL: everybody does as much as fits into the time that the round should take."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from statistics import quantiles
from typing import ClassVar, NamedTuple

from fogline.nodes.policies.base import Candidates, Feedback, Selection
from fogline.nodes.policies.parameters import number
from fogline.nodes.policies.registry import POLICIES
from fogline.nodes.policies.sampling import draw

WINDOW = 100
"""Reports by which the round's time is set, the last ones."""


class _Times(NamedTuple):
    """Of a child, smoothed."""

    training: float
    """Seconds for all of a round's work."""
    travel: float
    """Seconds for the rest: model and update on their way."""

    @property
    def whole(self) -> float:
        return self.training + self.travel


@POLICIES.add("timelyfl", "uniform; each is asked for as much work as fits into the round's time")
class TimelyFL(Selection):
    """Every ready child is equally likely, and is asked for as much work as it can do in time.

    Zhang et al., "TimelyFL: Heterogeneity-aware Asynchronous Federated Learning with Adaptive Partial Training",
    2023 (arXiv 2304.06947): the round takes T, and a child whose whole work takes ``t`` seconds of training and ``c``
    of travel does ``(T - c) / t`` of it. T is that quantile of ``t + c`` over the last reports. There a slow child
    trains some layers less, as it does here with the method ``partial_layers``; with any other it makes fewer steps. A
    child that nobody knows yet is asked for the least. O(k) for each round.

    Args:
        share: of the children, how many can do all their work in time.
        least: least share of its work that a child is asked for.
        most: most, where it is quicker than the round; above 1 it makes more steps than the job says.
    """

    partial: ClassVar[bool] = True

    def __init__(self, *, share: float = 0.5, least: float = 0.1, most: float = 1.0) -> None:
        self._share = number("share", share, 0.0, 1.0)
        self._least = number("least", least, 0.01, 1.0)
        self._most = number("most", most, 1.0, 10.0)
        self._times: dict[str, _Times] = {}
        self._wholes = deque[float](maxlen=WINDOW)

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        return draw(candidates, k, rng, now)

    def efforts(self, children: Sequence[str]) -> Sequence[float]:
        time = self._round_time()
        return [self._effort(child, time) for child in children]

    def observe(self, child: str, feedback: Feedback, round: int) -> None:
        before = self._times.get(child)
        if feedback.failed and not (feedback.late and before):
            return
        trained = feedback.seconds if feedback.training is None else min(feedback.training, feedback.seconds)
        seen = _Times(trained / feedback.effort, feedback.seconds - trained)
        if before is None:
            times = seen
        elif not feedback.failed:
            times = _Times(_nearer(before.training, seen.training), _nearer(before.travel, seen.travel))
        else:  # It was given up: it takes that long at least.
            times = _Times(max(before.training, (feedback.seconds - before.travel) / feedback.effort), before.travel)
        self._times[child] = times
        self._wholes.append(times.whole)

    def _round_time(self) -> float:
        """T in seconds; 0 while nobody knows."""
        if len(self._wholes) < 2:
            return sum(self._wholes)
        place = min(98, max(0, round(100 * self._share) - 1))
        return quantiles(self._wholes, n=100, method="inclusive")[place]

    def _effort(self, child: str, time: float) -> float:
        times = self._times.get(child)
        if times is None:
            return self._least
        wanted = self._most if times.training <= 0 else (time - times.travel) / times.training
        return min(self._most, max(self._least, wanted))


def _nearer(before: float, seen: float) -> float:
    """A quarter of the way, as a roster smooths."""
    return before + 0.25 * (seen - before)
