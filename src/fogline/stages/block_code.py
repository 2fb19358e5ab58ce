"""What the stages share that round numbers at random to whole multiples of their block's scale."""

from __future__ import annotations

import numpy as np

from fogline.codecs import bits, blocks
from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, Named, StageError
from fogline.stages.vector_code import VectorCode


class BlockCode(VectorCode):
    """Base: a number is rounded up or down at random, by how near each multiple is, so that it is right on average."""

    unbiased = True

    @property
    def block_size(self) -> int:
        """Numbers that share a scale."""
        raise NotImplementedError

    @property
    def top(self) -> int:
        """The largest multiple; codes are from -``top`` to ``top``."""
        raise NotImplementedError

    def sizes(self, vector: Vector) -> Vector:
        """What ``top`` times the scale is in each block, (blocks,): no number is larger."""
        return blocks.largest(vector, self.block_size)

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        scales = self.sizes(vector) / vector.dtype.type(self.top)
        codes = blocks.rounded(vector, scales, self.block_size, self.top, rng)
        return {"codes": bits.pack(codes, self._bits), "scales": scales}

    def decode(self, parts: Named, extent: Extent) -> Vector:
        codes = bits.unpack(parts["codes"], extent.count, self._bits)
        if codes.max(initial=0) > 2 * self.top:
            raise StageError(f"it has a code of {codes.max()}, and {2 * self.top} is the largest")
        return blocks.restored((codes - np.uint8(self.top)).view(np.int8), parts["scales"], self.block_size)

    def parts(self, extent: Extent) -> Layout:
        return {
            "codes": Extent(np.dtype(np.uint8), bits.packed_size(extent.count, self._bits)),
            "scales": Extent(extent.dtype, blocks.count_of(extent.count, self.block_size)),
        }

    def error(self, count: int) -> float:
        """A number errs by the variance of its rounding, a quarter of a squared scale at most."""
        return min(count, self.block_size) / (2 * self.top) ** 2

    @property
    def _bits(self) -> int:
        return (2 * self.top).bit_length()
