"""A number in half precision."""

from __future__ import annotations

import numpy as np

from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, Named
from fogline.stages.registry import STAGES
from fogline.stages.vector_code import VectorCode


@STAGES.add("fp16")
class Fp16(VectorCode):
    """Sixteen bits a number, eleven of them significant, up to 65,504 (IEEE 754 binary16).

    A number beyond 65,504 does not come out finite, and the receiver refuses what it is in; ``bf16`` has room for it.
    """

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        with np.errstate(over="ignore"):
            return {"half": vector.astype(np.float16)}

    def decode(self, parts: Named, extent: Extent) -> Vector:
        return parts["half"].astype(extent.dtype)

    def parts(self, extent: Extent) -> Layout:
        return {"half": Extent(np.dtype(np.float16), extent.count)}

    def error(self, count: int) -> float:
        """Of numbers of 2^-14 and more in magnitude; smaller ones err by 2^-25 at most."""
        return 2.0**-22
