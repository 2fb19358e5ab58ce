"""A number as a share of its bucket's norm."""

from __future__ import annotations

import math

from fogline.codecs import blocks
from fogline.parameters import bounded
from fogline.params import Vector
from fogline.stages.block_code import BlockCode
from fogline.stages.registry import STAGES


@STAGES.add("qsgd")
class Qsgd(BlockCode):
    """Each number as one of ``levels`` steps of its bucket's L2 norm, rounded at random.

    QSGD: Alistarh et al., NeurIPS 2017 (arXiv 1610.02132). Numbers take a fixed number of bits, as many as ``2 levels +
    1`` codes need, where the paper has Elias codes: so the size is known beforehand.
    """

    levels: int = bounded(15, ge=1, le=127)
    bucket: int = bounded(128, ge=1)

    @property
    def block_size(self) -> int:
        return self.bucket

    @property
    def top(self) -> int:
        return self.levels

    def sizes(self, vector: Vector) -> Vector:
        return blocks.norms(vector, self.bucket)

    def error(self, count: int) -> float:
        """Lemma 3.1 there."""
        numbers = min(count, self.bucket)
        return min(numbers / self.levels**2, math.sqrt(numbers) / self.levels)
