"""A random rotation that everybody knows: after it no number of a vector is large, whatever the vector was.

Signs are drawn, and the Walsh-Hadamard transform spreads each number over all of its block (Suresh et al., ICML 2017;
Kairouz, Liu and Steinke, ICML 2021, section 3). A block's size is a power of two. So that a vector of any size needs no
padding, there are two blocks, the largest that fit, at its beginning and at its end; they overlap.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fogline.privacy.noise.source import Source  # Not above: who only plans a round needs no ciphers.


Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
FACTOR = 16
"""The transform is taken as products with small matrices of that order."""


class RandomRotation:
    """A rotation of vectors of one size.

    Args:
        size: at least 1.
        source: decides it.
    """

    def __init__(self, size: int, source: Source) -> None:
        self._size = size
        self.block = block_of(size)
        bits = np.unpackbits(source.words(-(-self.block // 32)).view(np.uint8), count=2 * self.block)
        self._signs = (1.0 - 2.0 * bits).reshape(2, self.block)

    def turn(self, vector: Doubles) -> Doubles:
        """The vector, (size,), turned; its L2 norm stays."""
        out = vector.copy()
        head, tail = out[: self.block], out[self._size - self.block :]
        head[:] = hadamard(head * self._signs[0])
        tail[:] = hadamard(tail * self._signs[1])
        return out

    def turn_back(self, vector: Doubles) -> Doubles:
        """What :meth:`turn` made this of, up to rounding."""
        out = vector.copy()
        head, tail = out[: self.block], out[self._size - self.block :]
        tail[:] = hadamard(tail) * self._signs[1]
        head[:] = hadamard(head) * self._signs[0]
        return out


def block_of(size: int) -> int:
    """Numbers in a block of a vector: the largest power of two that is not more than all."""
    return 1 << size.bit_length() - 1


def largest_after(size: int, doubt: float) -> float:
    """What no number of a rotated vector of L2 norm 1 exceeds, in magnitude; with probability ``doubt`` one does.

    Each is a sum of independent signs over numbers of norm 1, over the root of the block's size (Hoeffding).
    """
    return min(1.0, math.sqrt(2.0 * math.log(2.0 * size / doubt) / block_of(size)))


def hadamard(rows: Floats) -> Floats:
    """The Walsh-Hadamard transform of rows (..., n), n a power of two; a row's L2 norm stays, and twice is none."""
    return sylvester(rows) / rows.dtype.type(math.sqrt(rows.shape[-1]))


def sylvester(rows: Floats) -> Floats:
    """Rows (..., n) times Sylvester's matrix of ones and minus ones; n is a power of two. Twice is n times the rows.

    Whole numbers come out to the bit on every machine, whatever the order of its additions, as long as the L2 norm of
    a row times n fits among the type's whole numbers: so large no sum on the way becomes.
    """
    out, done, size = rows, 1, rows.shape[-1]
    while done < size:
        order = min(FACTOR, size // done)
        matrix = _matrix(order).astype(rows.dtype)
        out = out.reshape(-1, order) @ matrix if done == 1 else matrix @ out.reshape(-1, order, done)
        done *= order
    return out.reshape(rows.shape)


@cache
def _matrix(order: int) -> Doubles:
    """Sylvester's matrix of that order, of ones and minus ones."""
    if order == 1:
        return np.ones((1, 1))
    half = _matrix(order // 2)
    return np.block([[half, half], [half, -half]])
