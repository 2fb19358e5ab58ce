"""A number as its sign."""

from __future__ import annotations

import numpy as np

from fogline.codecs import bits, blocks
from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, Named
from fogline.stages.registry import STAGES
from fogline.stages.vector_code import VectorCode

BLOCK = 1024


@STAGES.add("sign")
class Sign(VectorCode):
    """One bit a number: its sign, times the mean magnitude of its block of 1,024, with error feedback.

    Algorithm 1 of Karimireddy et al., ICML 2019 (arXiv 1901.09847). Without feedback what is small against its block
    comes out too large again and again.
    """

    feedback = True

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        return {"signs": bits.pack(np.signbit(vector).view(np.uint8), 1), "scales": blocks.means(vector, BLOCK)}

    def decode(self, parts: Named, extent: Extent) -> Vector:
        signs = np.int8(1) - np.int8(2) * bits.unpack(parts["signs"], extent.count, 1).view(np.int8)
        return blocks.restored(signs, parts["scales"], BLOCK)

    def parts(self, extent: Extent) -> Layout:
        return {
            "signs": Extent(np.dtype(np.uint8), bits.packed_size(extent.count, 1)),
            "scales": Extent(extent.dtype, blocks.count_of(extent.count, BLOCK)),
        }

    def error(self, count: int) -> float:
        """All but the squared mean magnitude, which is the least where one number has it all."""
        return 1 - 1 / max(1, min(count, BLOCK))
