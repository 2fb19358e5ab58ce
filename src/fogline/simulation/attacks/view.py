"""What malicious nodes know of a round: everything. A rule that withstands that withstands those who know less."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from fogline.aggregation.geometry import Geometry, Matrix
from fogline.aggregation.rows import UpdateRows
from fogline.aggregation.rules import Rule
from fogline.aggregation.sweep import blocks
from fogline.aggregation.update import DOUBLE
from fogline.params import Vector

NUMBERS = 1 << 20
"""Numbers that are worked on at once, over all updates."""


class RoundView:
    """What malicious nodes know of what the children of one aggregator send in a round, under one name.

    Args:
        honest: what the honest send; where there are none, what the malicious would send if they were.
        malicious: how many lie.
        rule: of the aggregator.
        last: what it made of the round before, (numbers,), where it remembers that.
    """

    def __init__(self, honest: UpdateRows, malicious: int, rule: Rule, last: Vector | None = None) -> None:
        self.honest = honest
        self.malicious = malicious
        self.rule = rule
        self.last = last
        self._agreed: Vector | None = None

    @property
    def count(self) -> int:
        """Updates in the round."""
        return len(self.honest) + self.malicious

    @property
    def mean(self) -> Matrix:
        """(numbers,), the mean of the honest updates, unweighted, in float64."""
        return self._moments[0]

    @property
    def std(self) -> Matrix:
        """(numbers,), their standard deviation, number by number, in float64."""
        return self._moments[1]

    @cached_property
    def geometry(self) -> Geometry:
        """Lengths, angles and distances of the honest updates."""
        return self.honest.geometry()

    def products(self, vector: Matrix) -> Matrix:
        """(updates,), the inner product of each honest update with a vector, (numbers,)."""
        total = np.zeros(len(self.honest))
        for columns in self._blocks():
            total += self.honest.block(columns, DOUBLE) @ vector[columns]
        return total

    def agreed(self, make: Callable[[], Vector]) -> Vector:
        """What all malicious nodes send, made once."""
        if self._agreed is None:
            self._agreed = make()
        return self._agreed

    @cached_property
    def _moments(self) -> tuple[Matrix, Matrix]:
        mean, std = np.zeros(self.honest.size), np.zeros(self.honest.size)
        for columns in self._blocks():
            table = self.honest.block(columns, DOUBLE)
            mean[columns], std[columns] = table.mean(axis=0), table.std(axis=0)
        return mean, std

    def _blocks(self) -> list[slice]:
        return list(blocks(self.honest.size, max(1, NUMBERS // len(self.honest))))
