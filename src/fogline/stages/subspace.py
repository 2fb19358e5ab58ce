"""A vector's part in a random subspace."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fogline.parameters import bounded
from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.privacy.rotation import sylvester
from fogline.stages.base import Layout, Named
from fogline.stages.random_k import places
from fogline.stages.registry import STAGES
from fogline.stages.vector_code import VectorCode

WIDEST = 4096
"""Numbers in a block, a power of two."""
Signs = npt.NDArray[np.int8]


@STAGES.add("subspace")
class Subspace(VectorCode):
    """A vector's part in a subspace of ``share`` of its dimensions, drawn anew in every round, the same for all
    senders, with error feedback (random rotation and subsampling: Konecny et al., arXiv 1610.05492).

    Blocks of 4,096 numbers are turned by random signs and a Walsh-Hadamard transform, the last one over the end of the
    one before; of what comes out, numbers go as in ``random_k``. So what goes has the same part of every vector, also
    of one with few large numbers. The subspace is a seed of eight bytes. What several senders' codes come to lies in it
    too, so a fog that sends it on by the same code loses nothing but the rounding of last bits.
    """

    linear = True
    share: float = bounded(0.01, gt=0, le=1)
    feedback = True

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        seed = rng.integers(2**63, size=1)
        with np.errstate(invalid="ignore", over="ignore"):
            turned = _turned(vector, seed)
        values = turned[places(vector.size, self._number(vector.size), seed)]
        if not np.isfinite(vector).all():  # Wherever it is, the receiver must see it.
            values = np.full_like(values, np.nan)
        return {"values": values, "seed": seed}

    def decode(self, parts: Named, extent: Extent) -> Vector:
        turned = np.zeros(extent.count, extent.dtype)
        turned[places(extent.count, parts["values"].size, parts["seed"])] = parts["values"]
        return _turned_back(turned, parts["seed"])

    def parts(self, extent: Extent) -> Layout:
        return {
            "values": Extent(extent.dtype, self._number(extent.count)),
            "seed": Extent(np.dtype(np.int64), 1),
        }

    def error(self, count: int) -> float:
        """On average all but the share of the dimensions, of the widest cell."""
        return 1 - 1 / math.ceil(count / self._number(count)) if count else 0.0

    def _number(self, count: int) -> int:
        return math.ceil(self.share * count)


def _turned(vector: Vector, seed: npt.NDArray[np.int64]) -> Vector:
    """The vector (n,) in other coordinates; its L2 norm stays."""
    width, out = _width(vector.size), vector.copy()
    signs, whole = _signs(vector.size, seed), vector.size - vector.size % width
    out[:whole] = _transformed(out[:whole].reshape(-1, width) * signs[:-1]).reshape(-1)
    if whole < vector.size:
        out[-width:] = _transformed(out[-width:] * signs[-1])
    return out


def _turned_back(vector: Vector, seed: npt.NDArray[np.int64]) -> Vector:
    """What :func:`_turned` made this of, up to rounding."""
    width, out = _width(vector.size), vector.copy()
    signs, whole = _signs(vector.size, seed), vector.size - vector.size % width
    if whole < vector.size:
        out[-width:] = _transformed(out[-width:]) * signs[-1]
    out[:whole] = (_transformed(out[:whole].reshape(-1, width)) * signs[:-1]).reshape(-1)
    return out


def _width(size: int) -> int:
    """Numbers in a block: the largest power of two that fits."""
    return min(WIDEST, 1 << max(1, size).bit_length() - 1)


def _transformed(rows: Vector) -> Vector:
    """Rows (..., width) by the transform, as long as they were; twice is what they were."""
    return sylvester(rows) / rows.dtype.type(math.sqrt(rows.shape[-1]))


def _signs(size: int, seed: npt.NDArray[np.int64]) -> Signs:
    """Of each block and of the last one, (blocks + 1, width), by the seed, (1,)."""
    width = _width(size)
    count = (size // width + 1) * width
    drawn = np.random.PCG64(~int(seed.view(np.uint64)[0]) & (1 << 64) - 1).random_raw(-(-count // 64))
    ones = np.unpackbits(drawn.astype("<u8").view(np.uint8), count=count)
    return (np.int8(1) - np.int8(2) * ones.view(np.int8)).reshape(-1, width)
