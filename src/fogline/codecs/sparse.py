"""The tenth of a difference that is largest in size; the rest waits for the next version's difference.

Where the values stand is told by the gaps before them, in bytes: 255 goes on by 255 places without a value, a smaller
one skips so many places and takes the next. (A bitmap was never smaller after compression, at shares from 1 to 10 %.)
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fogline.codecs import int8
from fogline.codecs.payload import Bytes, DeltaError, Streams
from fogline.params import Vector

SHARE = 0.1
FAR = 255
"""The gap that has no value after it."""

Positions = npt.NDArray[np.intp]
"""Rising."""


def encode(base: Vector, target: Vector) -> list[npt.NDArray[np.generic]]:
    """The streams that lead from one vector towards another of its length and type."""
    difference = target - base
    positions = largest(difference, math.ceil(SHARE * difference.size))
    return [gaps_before(positions), *int8.streams_of(difference[positions])]


def apply(base: Vector, streams: Streams) -> Vector:
    """The vector that the streams lead to.

    Raises:
        DeltaError: they do not fit the base.
    """
    positions = positions_after(streams.next(base.size, least=0))
    if positions.size and positions[-1] >= base.size:
        raise DeltaError("The delta changes a number beyond the end of the model.")
    vector = base.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        vector[positions] += int8.read(streams, base.dtype, positions.size)
    return vector


def largest(values: Vector, count: int) -> Positions:
    """Where the ``count`` numbers of the largest size stand; zeros are never among them."""
    positions = np.argpartition(np.abs(values), values.size - count)[values.size - count :] if count else _NOWHERE
    return np.sort(positions[values[positions] != 0])


def gaps_before(positions: Positions) -> Bytes:
    """The gaps of rising positions."""
    gaps = np.diff(positions, prepend=-1) - 1
    far = gaps // FAR
    stops = np.arange(gaps.size) + np.cumsum(far)
    coded = np.full(gaps.size + int(far.sum()), FAR, np.uint8)
    coded[stops] = gaps % FAR
    return coded


def positions_after(gaps: Bytes) -> Positions:
    """The positions of gaps."""
    ends = np.cumsum(np.where(gaps == FAR, FAR, gaps.astype(np.intp) + 1))
    return ends[gaps != FAR] - 1


_NOWHERE: Positions = np.zeros(0, np.intp)
