"""Oort's pacer: how slow a child may be before it costs."""

from __future__ import annotations

import math

FLAT = 0.1
"""Utility gained changed by less than this share: there is nothing left to gain from the quick ones."""
STEEP = 5.0
"""Utility gained changed by more than so many times: the quick ones suffice."""


class Pacer:
    """Sets the preferred duration as a percentile of the known durations, and moves it.

    Every ``every`` rounds it compares the utility gained over the last ``every`` rounds with that of the
    ``every`` rounds before. Flat: ``step`` percentiles more, so that slower children with untouched data come
    in. Steep: ``step`` percentiles less (Lai et al., OSDI 2021, section 4.3, as in the authors' code).
    """

    def __init__(self, percentile: float, every: int, step: float) -> None:
        self.percentile = percentile
        self._every = every
        self._step = step
        self._gains: list[float] = []
        self._sum, self._count = 0.0, 0
        self._round: int | None = None

    def gained(self, utility: float) -> None:
        """A child reported that utility."""
        self._sum += utility
        self._count += 1

    def preferred(self, round: int, durations: list[float]) -> float:
        """Preferred duration in seconds for that round, given all known ones; infinite at percentile 100."""
        if self._round is not None and round > self._round:
            self._gains.append(self._sum / self._count if self._count else 0.0)
            self._sum, self._count = 0.0, 0
            self._move()
        self._round = round
        if self.percentile >= 100.0 or not durations:
            return math.inf
        return sorted(durations)[int(len(durations) * self.percentile / 100.0)]

    def _move(self) -> None:
        every = self._every
        if len(self._gains) < 2 * every:
            return
        before, lately = sum(self._gains[:every]), sum(self._gains[every:])
        change = abs(lately - before)
        if change <= FLAT * before:
            self.percentile = min(100.0, self.percentile + self._step)
        elif change >= STEEP * before:
            self.percentile = max(self._step, self.percentile - self._step)
        del self._gains[:every]
