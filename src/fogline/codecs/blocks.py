"""Numbers as whole multiples of a scale that a block of neighbours shares.

Restoring takes one multiplication a number, rounded to the vector's own type: the result is the same on every machine
with IEEE arithmetic. Numbers that are not finite leave a scale that is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.codecs.bits import Small
from fogline.params import Vector

CACHED = 1 << 15
"""Numbers that are worked on at once: what is made of them on the way fits in a processor's cache."""
Codes = npt.NDArray[np.signedinteger[Any]]


def count_of(size: int, block: int) -> int:
    """Blocks of a vector of that size; the last may be shorter."""
    return -(-size // block)


def largest(values: Vector, block: int) -> Vector:
    """The largest magnitude in each block, (blocks,)."""
    return _of_each(values, block, lambda rows: np.maximum(rows.max(axis=1), -rows.min(axis=1)))


def norms(values: Vector, block: int) -> Vector:
    """The L2 norm of each block, (blocks,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _of_each(values, block, lambda rows: np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))


def means(values: Vector, block: int) -> Vector:
    """The mean magnitude of each block, (blocks,)."""
    return _of_each(values, block, lambda rows: np.abs(rows).mean(axis=1, dtype=np.float64))


def rounded(values: Vector, scales: Vector, block: int, most: int, rng: np.random.Generator) -> Small:
    """Codes (n,) from 0 to twice ``most``, rounded up or down at random, by how near each is: right on average.

    A number is the code less ``most``, times the scale.

    Args:
        values: (n,), none larger in size than ``most`` times its block's scale.
        scales: (blocks,).
        block: numbers that share a scale.
        most: at most 127.
        rng: decides the rounding.
    """
    codes = np.empty(values.size, np.uint8)
    group = max(1, CACHED // block)
    with np.errstate(invalid="ignore", over="ignore"):
        for first in range(0, scales.size, group):
            some = slice(first * block, (first + group) * block)
            steps = in_steps(values[some], scales[first : first + group], block)
            steps += rng.random(steps.size, np.float32)
            steps += most
            if not np.isfinite(scales[first : first + group]).all():
                np.nan_to_num(steps, copy=False)  # Whatever the code, the scale tells.
            codes[some] = np.clip(steps, 0, 2 * most, out=steps)  # Cut off after the point: rounded down.
    return codes


def restored(codes: Codes, scales: Vector, block: int) -> Vector:
    """Numbers (n,) of their codes (n,) and scales (blocks,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows = in_rows(codes, block).astype(scales.dtype)
        rows *= scales[:, None]
    return rows.reshape(-1)[: codes.size]


def in_steps(values: Vector, scales: Vector, block: int) -> Vector:
    """Numbers (n,) in multiples of their block's scale."""
    rows = in_rows(values, block) / np.where(scales == 0, 1, scales)[:, None]
    return rows.reshape(-1)[: values.size]


def in_rows(values: npt.NDArray[Any], block: int) -> npt.NDArray[Any]:
    """Rows of a block's length, the last filled up with zeros."""
    whole = values if values.size % block == 0 else np.pad(values, (0, -values.size % block))
    return whole.reshape(-1, block)


def _of_each(values: Vector, block: int, of: Callable[[Vector], Vector]) -> Vector:
    """A number for each block, (blocks,); ``of`` gives it for rows, (n, numbers), the last of which are fewer."""
    whole = values.size - values.size % block
    found = [of(values[:whole].reshape(-1, block))]
    if whole < values.size:
        found.append(of(values[None, whole:]))
    return np.concatenate(found).astype(values.dtype, copy=False)
