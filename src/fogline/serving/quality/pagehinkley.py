"""Whether a mean has fallen: the Page-Hinkley test (Page, Biometrika 41, 1954; Hinkley, Biometrika 58, 1971).

With the running mean ``m_t`` of the values so far, the statistic is ``U_t - min U`` for
``U_t = sum (m_i - x_i - delta)``: it rises while values lie more than ``delta`` below the mean, else it falls back.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class PageHinkley:
    """Watches confidences, or any values in [0, 1], for a fall.

    The defaults are for a confidence whose standard deviation is about 0.2. ``delta`` is half of the smallest fall
    worth an alarm, 0.05. Without a fall the statistic passes ``threshold`` from one of its lowest points with a chance
    of about ``exp(-2 delta threshold / variance)``, here 3e-7; a fall by 0.15 is seen after about
    ``threshold / (0.15 - delta)``, some hundred values.

    Args:
        delta: what a value may lie below the mean without counting.
        threshold: of the statistic, above which the mean has fallen.
        minimum: values before anything is said.
    """

    def __init__(self, delta: float = 0.025, threshold: float = 12.0, minimum: int = 100) -> None:
        self.delta, self.threshold, self.minimum = delta, threshold, minimum
        self.count = 0
        self.mean = 0.0
        self._sum = 0.0
        self._lowest = 0.0

    def update(self, values: npt.NDArray[np.floating]) -> None:
        """Take in a group of values, in their order."""
        if not len(values):
            return
        counts = self.count + np.arange(1, len(values) + 1)
        means = (self.mean * self.count + np.cumsum(values, dtype=np.float64)) / counts
        sums = self._sum + np.cumsum(means - values - self.delta)
        self._lowest = min(self._lowest, float(sums.min()))
        self.count, self.mean, self._sum = int(counts[-1]), float(means[-1]), float(sums[-1])

    @property
    def statistic(self) -> float:
        """How far the sum stands above its lowest."""
        return self._sum - self._lowest

    @property
    def fallen(self) -> bool:
        """Whether the mean has fallen. It becomes false again when values come back up for as long."""
        return self.count >= self.minimum and self.statistic > self.threshold
