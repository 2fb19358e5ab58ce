"""Bucketing."""

from __future__ import annotations

import numpy as np

from fogline.aggregation.geometry import Geometry, Matrix
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded

LEAST = 3
"""Buckets without which one that lies is half of all, or all there is."""


@RULES.add("bucketing")
class Bucketing(Rule):
    """Puts means of ``size`` updates, drawn at random, in the updates' place, unweighted (Karimireddy et al., 2022); it
    stands before another rule.

    A bucket with one that lies lies: the rule behind it has as many of them to withstand, among fewer. Of two buckets
    none is in the minority, so there must be three.
    """

    prepares = True
    size: int = bounded(2, ge=1)
    """Updates of a bucket; the last one may have fewer."""

    def needed(self, mixtures: int) -> int:
        return (max(mixtures, LEAST) - 1) * self.size + 1

    def mix(self, updates: Geometry) -> Matrix:
        order = updates.rng().permutation(len(updates))
        buckets = [order[low : low + self.size] for low in range(0, len(order), self.size)]
        matrix = np.zeros((len(buckets), len(updates)))
        for row, bucket in zip(matrix, buckets, strict=True):
            row[bucket] = 1.0 / len(bucket)
        return matrix
