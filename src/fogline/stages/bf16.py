"""A number in the upper half of a float32."""

from __future__ import annotations

import numpy as np

from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, Named
from fogline.stages.registry import STAGES
from fogline.stages.vector_code import VectorCode


@STAGES.add("bf16")
class Bf16(VectorCode):
    """Sixteen bits a number, eight of them significant, with the range of float32 (bfloat16)."""

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        with np.errstate(over="ignore"):
            single = vector.astype(np.float32)
        pattern = single.view(np.uint32)
        upper = pattern + (np.uint32(0x7FFF) + (pattern >> 16 & 1))  # To the nearest, ties to the even one.
        np.copyto(upper, pattern | 0x0040_0000, where=np.isnan(single))  # Which must not run over.
        return {"upper": (upper >> 16).astype(np.uint16).view(np.int16)}

    def decode(self, parts: Named, extent: Extent) -> Vector:
        pattern = parts["upper"].view(np.uint16).astype(np.uint32) << 16
        return pattern.view(np.float32).astype(extent.dtype, copy=False)

    def parts(self, extent: Extent) -> Layout:
        return {"upper": Extent(np.dtype(np.int16), extent.count)}

    def error(self, count: int) -> float:
        return 2.0**-16
