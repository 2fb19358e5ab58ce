"""A rule: how the updates of an aggregator's children become one.

The weighted mean streams: an update is added when it comes, and not kept. A rule that overrides :meth:`Rule.combine`
needs all updates at once: they stay on disk, and it sees them in one block of columns after another::

    @RULES.add("median")
    class Median(Rule):
        \"\"\"Coordinate-wise median.\"\"\"

        def combine(self, block, weights):
            return np.median(block, axis=0)

Parameters of a rule are annotated fields: a subclass becomes a frozen dataclass by itself.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fogline.aggregation.fold import Fold
from fogline.aggregation.gathering import GatheringFold, Keep, as_it_is, copied
from fogline.aggregation.look import MeanLook
from fogline.aggregation.mean import MeanFold
from fogline.parameters import Parametrised
from fogline.params import Vector


class Rule(Parametrised):
    """How updates become one, at the weighted mean's values."""

    needs_all: ClassVar[bool] = False
    """Whether it needs all updates at once: set by itself where ``combine`` is overridden."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.needs_all = cls.combine is not Rule.combine

    def combine(self, block: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> Vector:
        """One of many, for some columns of a named vector. It is called from several threads at once.

        Args:
            block: (updates, columns), all finite; its own to change.
            weights: (updates,), each above 0.

        Returns:
            (columns,) floating-point numbers.
        """
        return np.average(block, axis=0, weights=weights)

    def fold(self, keep: Keep = copied) -> Fold:
        """An empty fold that ends in what the rule makes of its updates.

        Args:
            keep: gives a vector that stays as it is for as long as the fold lives; only a rule that needs all updates
                keeps any.
        """
        return GatheringFold(self.combine, keep) if self.needs_all else MeanFold()

    def look(self) -> Fold:
        """A fold that refuses what :meth:`fold` does, and computes nothing."""
        return GatheringFold(self.combine, as_it_is) if self.needs_all else MeanLook()
