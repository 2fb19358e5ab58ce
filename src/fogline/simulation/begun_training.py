"""Training that others have begun: what is computed now takes it along, so that a cohort is large."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fogline.simulation.values import Training

AHEAD = 256 << 20
"""Bytes of updates that are computed beforehand."""


class BegunTraining:
    """Training that was begun since some was computed last, below aggregators of which all is needed soon.

    Args:
        homes: the aggregator above each device.
        update: bytes of an update.
    """

    def __init__(self, homes: Sequence[str], update: int) -> None:
        self._homes = homes
        self._update = update
        self._begun: deque[Training] = deque()
        self.add = self._begun.append
        """Note one that begins."""

    def take(self, but: str | None) -> list[Training]:
        """What is to be computed beforehand, which is not looked at again.

        Args:
            but: the aggregator whose devices are left for later, if any.
        """
        begun, most = self._begun, max(1, AHEAD // self._update)
        chosen: list[Training] = []
        later: list[Training] = []
        while begun and len(chosen) < most:
            training = begun.popleft()
            if training.done:
                continue
            (later if self._homes[training.client] == but else chosen).append(training)
        if begun:  # Else all the others are computed now, and these are no company any more.
            begun.extendleft(reversed(later))
        return chosen
