"""Columns of a block, each sorted by itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.sweep import blocks

FEW = 32
"""Rows up to which a network of comparisons is faster than a sort of each column."""
STRIP = 1 << 13
"""Columns that are sorted together, so that they stay in the cache."""


def sort_columns(block: npt.NDArray[Any]) -> None:
    """Sort each column of a block (rows, columns) of finite numbers, in place.

    Few rows go through Batcher's odd-even merge sort: its comparisons are the same for all columns, so that each is one
    pass over two rows.
    """
    if len(block) > FEW:
        block.sort(axis=0)
        return
    room = np.empty(min(STRIP, block.shape[1]), block.dtype)
    for strip in blocks(block.shape[1], STRIP):
        rows = block[:, strip]
        smaller = room[: rows.shape[1]]
        for low, high in _comparisons(len(block)):
            np.minimum(rows[low], rows[high], out=smaller)
            np.maximum(rows[low], rows[high], out=rows[high])
            rows[low] = smaller


@cache
def _comparisons(rows: int) -> tuple[tuple[int, int], ...]:
    """Which rows are compared, one pair after the other (Batcher 1968; Knuth, volume 3, algorithm 5.2.2M)."""
    return tuple(_merge_exchange(rows))


def _merge_exchange(rows: int) -> Iterator[tuple[int, int]]:
    first = 1 << max(0, (rows - 1).bit_length() - 1)
    part = first
    while part:
        step, remainder, apart = first, 0, part
        while True:
            yield from ((low, low + apart) for low in range(rows - apart) if low & part == remainder)
            if step == part:
                break
            step, remainder, apart = step // 2, part, step - part
        part //= 2
