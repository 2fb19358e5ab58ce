"""The largest numbers of a vector, as their signs."""

from __future__ import annotations

import numpy as np

from fogline.codecs import bits
from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, Named
from fogline.stages.registry import STAGES
from fogline.stages.sparse_code import SparseCode


@STAGES.add("stc")
class Stc(SparseCode):
    """The ``share`` of the numbers that is largest in size, each as its sign times the mean magnitude of them all, with
    error feedback (sparse ternary compression: Sattler et al., IEEE TNNLS 2020, arXiv 1903.02891, algorithm 1).
    """

    def values(self, largest: Vector, most: int) -> Named:
        signs = np.zeros(most, np.uint8)
        signs[: largest.size] = np.signbit(largest)
        mean = np.abs(largest).mean(dtype=np.float64) if largest.size else 0
        return {"signs": bits.pack(signs, 1), "mean": np.array([mean]).astype(largest.dtype)}

    def restored(self, parts: Named, number: int) -> Vector:
        return np.where(bits.unpack(parts["signs"], number, 1), -parts["mean"], parts["mean"])

    def value_parts(self, extent: Extent, most: int) -> Layout:
        return {
            "signs": Extent(np.dtype(np.uint8), bits.packed_size(most, 1)),
            "mean": Extent(extent.dtype, 1),
        }

    def error(self, count: int) -> float:
        """What goes has the square of the largest numbers' mean magnitude for each of them: of all that is in the
        vector, no less than one number's part.
        """
        return 1 - 1 / max(1, count)
