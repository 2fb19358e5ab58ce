"""What the stages share that send a vector's largest numbers and where they stand, and keep the rest for later."""

from __future__ import annotations

import math

import numpy as np

from fogline.codecs.gaps import GapCode
from fogline.codecs.sparse import Positions
from fogline.parameters import bounded
from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, Named, StageError
from fogline.stages.vector_code import VectorCode

GAPS, NUMBER = "gaps", "number"
"""Parts of every code: where the numbers stand; and how many they are."""


class SparseCode(VectorCode):
    """Base: of each vector the ``share`` of its numbers that is largest in size, rounded up to a whole number.

    Places go as a bitmap or as Golomb-Rice codes of the gaps between them, whichever is smaller. Where they stand in
    clusters, up to a tenth of the numbers may have no room and wait with the rest.
    """

    share: float = bounded(0.01, gt=0, le=1)
    feedback = True

    def values(self, largest: Vector, most: int) -> Named:
        """The parts of the numbers that go, (n,), of which there are ``most`` at most."""
        raise NotImplementedError

    def restored(self, parts: Named, number: int) -> Vector:
        """So many numbers, of their parts."""
        raise NotImplementedError

    def value_parts(self, extent: Extent, most: int) -> Layout:
        """Type and length of the parts of ``most`` numbers."""
        raise NotImplementedError

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        code = self._gaps(vector.size)
        magnitudes = np.abs(vector)
        positions = largest(magnitudes, code.most)
        positions = code.fitting(positions, magnitudes[positions])
        return {
            GAPS: code.encode(positions),
            NUMBER: np.array([positions.size], np.int64),
            **self.values(vector[positions], code.most),
        }

    def decode(self, parts: Named, extent: Extent) -> Vector:
        number = int(parts[NUMBER][0])
        try:
            positions = self._gaps(extent.count).decode(parts[GAPS], number)
        except ValueError as error:
            raise StageError(str(error)) from None
        vector = np.zeros(extent.count, extent.dtype)
        vector[positions] = self.restored(parts, number)
        return vector

    def parts(self, extent: Extent) -> Layout:
        code = self._gaps(extent.count)
        return {
            GAPS: Extent(np.dtype(np.uint8), code.size),
            NUMBER: Extent(np.dtype(np.int64), 1),
            **self.value_parts(extent, code.most),
        }

    def _gaps(self, count: int) -> GapCode:
        return GapCode.of(count, math.ceil(self.share * count))


def largest(magnitudes: Vector, number: int) -> Positions:
    """Where the ``number`` largest of them stand, rising; what is no number is the largest of all."""
    if not number:
        return np.zeros(0, np.intp)
    if np.isnan(magnitudes.max()):
        magnitudes = np.nan_to_num(magnitudes, nan=np.inf, posinf=np.inf)
    least = np.partition(magnitudes, magnitudes.size - number)[magnitudes.size - number]
    positions = np.flatnonzero(magnitudes >= least)
    if positions.size > number:  # Of equal ones the first.
        equal = np.flatnonzero(magnitudes[positions] == least)
        positions = np.delete(positions, equal[number - positions.size :])
    return positions
