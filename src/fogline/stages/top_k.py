"""The largest numbers of a vector."""

from __future__ import annotations

import numpy as np

from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, Named
from fogline.stages.registry import STAGES
from fogline.stages.sparse_code import SparseCode


@STAGES.add("top_k")
class TopK(SparseCode):
    """The ``share`` of the numbers that is largest in size, as they are, with error feedback (Stich, Cordonnier and
    Jaggi, NeurIPS 2018, arXiv 1809.07599).
    """

    def values(self, largest: Vector, most: int) -> Named:
        return {"values": np.pad(largest, (0, most - largest.size))}

    def restored(self, parts: Named, number: int) -> Vector:
        return parts["values"][:number]

    def value_parts(self, extent: Extent, most: int) -> Layout:
        return {"values": Extent(extent.dtype, most)}

    def error(self, count: int) -> float:
        """What the smallest have where all are alike."""
        return 1 - self._gaps(count).least / max(1, count)
