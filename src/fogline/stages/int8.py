"""A number in eight bits."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.codecs import int8 as blocks
from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, Named
from fogline.stages.registry import STAGES
from fogline.stages.vector_code import VectorCode


@STAGES.add("int8")
class Int8(VectorCode):
    """Eight bits a number: blocks of 256 with a scale each, rounded at random so that nothing is lost on average.

    The scale of a block is its largest magnitude by 127, and a number comes out at most one scale away from what it
    was (QSGD: Alistarh et al., NeurIPS 2017, with the largest magnitude in place of the norm).
    """

    unbiased: ClassVar[bool] = True

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        codes, scales = blocks.rounded(vector, rng)
        return {"codes": codes, "scales": scales}

    def decode(self, parts: Named, extent: Extent) -> Vector:
        return blocks.restored(parts["codes"], parts["scales"])

    def parts(self, extent: Extent) -> Layout:
        return {
            "codes": Extent(np.dtype(np.int8), extent.count),
            "scales": Extent(extent.dtype, -(-extent.count // blocks.BLOCK)),
        }

    def error(self, count: int) -> float:
        """A number errs by the variance of its rounding, a quarter of a squared scale at most."""
        return min(count, blocks.BLOCK) / (2 * blocks.LARGEST) ** 2
