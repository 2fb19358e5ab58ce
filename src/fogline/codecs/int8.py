"""Numbers in eight bits: blocks of neighbours share a scale, the largest of them in size by 127.

Restoring takes one multiplication and, for a delta, one addition a number, both rounded to the vector's own type: the
result is the same on every machine with IEEE arithmetic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fogline.codecs import blocks, planes
from fogline.codecs.payload import Streams
from fogline.params import Vector

BLOCK = 256
LARGEST = 127

Codes = npt.NDArray[np.int8]


def encode(base: Vector, target: Vector) -> list[npt.NDArray[np.generic]]:
    """The streams that lead from one vector close to another of its length and type."""
    return streams_of(target - base)


def apply(base: Vector, streams: Streams) -> Vector:
    """The vector that the streams lead to.

    Raises:
        DeltaError: they do not fit the base.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return base + read(streams, base.dtype, base.size)


def streams_of(values: Vector) -> list[npt.NDArray[np.generic]]:
    """Codes and scales of finite numbers."""
    codes, scales = quantised(values)
    return [codes, *planes.split(scales)]


def read(streams: Streams, dtype: np.dtype[np.floating], count: int) -> Vector:
    """The ``count`` numbers whose codes and scales come next.

    Raises:
        DeltaError: they do not.
    """
    codes = streams.next(count).view(np.int8)
    return blocks.restored(codes, planes.join(streams, dtype, blocks.count_of(count, BLOCK)), BLOCK)


def quantised(values: Vector) -> tuple[Codes, Vector]:
    """Codes (n,) and scales (blocks,) of finite numbers (n,)."""
    scales = blocks.largest(values, BLOCK) / LARGEST
    steps = np.rint(blocks.in_steps(values, scales, BLOCK))
    return np.clip(steps, -LARGEST, LARGEST).astype(np.int8), scales
