"""A vector's part in a random subspace."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fogline.params import Vector
from fogline.privacy.rotation import sylvester
from fogline.stages.placed_code import PlacedCode, Seed
from fogline.stages.registry import STAGES

WIDEST = 4096
"""Numbers in a block, a power of two."""
Signs = npt.NDArray[np.int8]


@STAGES.add("subspace")
class Subspace(PlacedCode):
    """A vector's part in a subspace of ``share`` of its dimensions, drawn anew in every round, the same for all
    senders, with error feedback (random rotation and subsampling: Konecny et al., arXiv 1610.05492).

    Blocks of 4,096 numbers are turned by random signs and a Walsh-Hadamard transform, the last one over the end of the
    one before; of what comes out, numbers go as in ``random_k``. So what goes has the same part of every vector, also
    of one with few large numbers. The subspace is a seed of eight bytes. What several senders' codes come to lies in it
    too, so a fog that sends it on by the same code loses nothing but the rounding of last bits.
    """

    def turned(self, vector: Vector, seed: Seed) -> Vector:
        """The vector (n,) in other coordinates; its L2 norm stays."""
        width, out = _width(vector.size), vector.copy()
        signs, whole = _signs(vector.size, seed), vector.size - vector.size % width
        with np.errstate(invalid="ignore", over="ignore"):
            out[:whole] = _transformed(out[:whole].reshape(-1, width) * signs[:-1]).reshape(-1)
            if whole < vector.size:
                out[-width:] = _transformed(out[-width:] * signs[-1])
        return out

    def turned_back(self, vector: Vector, seed: Seed) -> Vector:
        """What :meth:`turned` made this of, up to rounding."""
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


def _signs(size: int, seed: Seed) -> Signs:
    """Of each block and of the last one, (blocks + 1, width), by the seed, (1,)."""
    width = _width(size)
    count = (size // width + 1) * width
    drawn = np.random.PCG64(~int(seed.view(np.uint64)[0]) & (1 << 64) - 1).random_raw(-(-count // 64))
    ones = np.unpackbits(drawn.astype("<u8").view(np.uint8), count=count)
    return (np.int8(1) - np.int8(2) * ones.view(np.int8)).reshape(-1, width)
