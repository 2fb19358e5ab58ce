"""What the stages share that send numbers at places that all senders of a round have in common."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fogline.codecs.sparse import Positions
from fogline.parameters import bounded
from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, Named
from fogline.stages.vector_code import VALUES, VectorCode

Seed = npt.NDArray[np.int64]
"""What the places are drawn from, (1,)."""


class PlacedCode(VectorCode):
    """Base: a vector, or what it is turned into, is cut in as many cells as numbers go, and of each one goes.

    The places are a seed of eight bytes, the same for all senders of a round: so codes are added as they are.
    """

    linear = True
    share: float = bounded(0.01, gt=0, le=1)
    feedback = True

    def turned(self, vector: Vector, seed: Seed) -> Vector:
        """What numbers are taken of, as long as the vector: by default itself."""
        return vector

    def turned_back(self, vector: Vector, seed: Seed) -> Vector:
        """What :meth:`turned` made this of."""
        return vector

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        seed = rng.integers(2**63, size=1)
        values = self.turned(vector, seed)[places(vector.size, self._number(vector.size), seed)]
        if not np.isfinite(vector).all():  # Wherever it is, the receiver must see it.
            values = np.full_like(values, np.nan)
        return {VALUES: values, "seed": seed}

    def decode(self, parts: Named, extent: Extent) -> Vector:
        vector = np.zeros(extent.count, extent.dtype)
        vector[places(extent.count, parts[VALUES].size, parts["seed"])] = parts[VALUES]
        return self.turned_back(vector, parts["seed"])

    def parts(self, extent: Extent) -> Layout:
        return {
            VALUES: Extent(extent.dtype, self._number(extent.count)),
            "seed": Extent(np.dtype(np.int64), 1),
        }

    def error(self, count: int) -> float:
        """What is not drawn, of the widest cell."""
        return 1 - 1 / math.ceil(count / self._number(count)) if count else 0.0

    def _number(self, count: int) -> int:
        return math.ceil(self.share * count)


def places(size: int, number: int, seed: Seed) -> Positions:
    """So many of ``size`` places, rising: one of each of as many cells, by the seed, (1,)."""
    edges = np.arange(number + 1) * size // max(1, number)
    drawn = np.random.PCG64(int(seed.view(np.uint64)[0])).random_raw(number)
    return edges[:-1] + ((drawn >> np.uint64(32)).astype(np.int64) * np.diff(edges) >> 32)
