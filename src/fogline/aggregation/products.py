"""Inner products of long vectors, each with each."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.sweep import blocks

TILE = 64
"""Vectors whose products are taken together."""
MOST = 1 << 18
"""Multiplications of one product. With more, OpenBLAS starts threads: they wait for each other where cores are taken
(ten times as long was seen), and the caller has threads of its own."""


def inner_products(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inner product of each row with each, (rows, rows)."""
    total = np.zeros((len(table), len(table)))
    add_products(total, table)
    return mirrored(total)


def add_products(total: npt.NDArray[np.float64], table: npt.NDArray[np.float64]) -> None:
    """Add the inner products of the rows, on and above the diagonal; what is below it means nothing."""
    tiles = list(blocks(len(table), TILE))
    side = min(len(table), TILE)
    depth = max(1, MOST // (side * (side + 1)))
    for low in range(0, table.shape[1], depth):
        part = table[:, low : low + depth]
        for place, rows in enumerate(tiles):
            for others in tiles[place:]:
                total[rows, others] += part[rows] @ part[others].T


def mirrored(total: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What is on and above the diagonal, below it too."""
    return np.triu(total) + np.triu(total, 1).T
