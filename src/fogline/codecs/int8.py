"""Numbers in eight bits: blocks of neighbours share a scale, the largest of them in size by 127.

Restoring takes one multiplication and, for a delta, one addition a number, both rounded to the vector's own type: the
result is the same on every machine with IEEE arithmetic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fogline.codecs import planes
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
    return restored(codes, planes.join(streams, dtype, -(-count // BLOCK)))


def quantised(values: Vector) -> tuple[Codes, Vector]:
    """Codes (n,) and scales (blocks,) of finite numbers (n,)."""
    steps, scales = _in_steps(values)
    codes = np.clip(np.rint(steps), -LARGEST, LARGEST).astype(np.int8)
    return codes.reshape(-1)[: values.size], scales


def rounded(values: Vector, rng: np.random.Generator) -> tuple[Codes, Vector]:
    """As :func:`quantised`, but rounded up or down at random, by how near each is: right on average.

    Numbers that are not finite leave a scale that is not.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        steps, scales = _in_steps(values)
        # In place, and as few numbers drawn as there are.
        steps = steps.reshape(-1)[: values.size]
        steps += rng.random(values.size, np.float32)
        np.floor(steps, out=steps)
        np.clip(steps, -LARGEST, LARGEST, out=steps)
        return steps.astype(np.int8), scales


def restored(codes: Codes, scales: Vector) -> Vector:
    """Numbers (n,) of their codes (n,) and scales (blocks,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        blocks = _in_blocks(codes).astype(scales.dtype) * scales[:, None]
    return blocks.reshape(-1)[: codes.size]


def _in_steps(values: Vector) -> tuple[Vector, Vector]:
    """Numbers (blocks, 256) in multiples of their block's scale, and the scales (blocks,)."""
    blocks = _in_blocks(values)
    scales = np.abs(blocks).max(axis=1, initial=0) / LARGEST
    return blocks / np.where(scales == 0, 1, scales)[:, None], scales


def _in_blocks(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Rows of a block's length, the last filled up with zeros."""
    return np.pad(values, (0, -values.size % BLOCK)).reshape(-1, BLOCK)
