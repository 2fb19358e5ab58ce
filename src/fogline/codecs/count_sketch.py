"""A count sketch: a few sums of a vector's numbers, from which the largest of them can be told.

Each row of a sketch throws every number into one of its cells, with a sign, both drawn from a seed. A number's
estimate is the median over the rows of its cell's sum times its sign: the others in the cell cancel out, but for what a
large one leaves there. Sketches are linear: the sum of those of several vectors is that of their sum (Charikar, Chen
and Farach-Colton, ICALP 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fogline.params import Vector

Cells = npt.NDArray[np.int32]
Signs = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class CountSketch:
    """Sketches of vectors (count,), as (rows * columns,); they add up if they are of one seed.

    Args:
        count: numbers of a vector.
        rows: independent tries, of which the median counts.
        columns: cells of each.
        seed: of cells and signs.
    """

    count: int
    rows: int
    columns: int
    seed: int = 0

    def of(self, vector: Vector) -> Vector:
        """The sketch of a vector, in its type."""
        cells, signs = _drawn(self)
        rows = [
            np.bincount(cells[row], weights=signs[row] * vector, minlength=self.columns) for row in range(self.rows)
        ]
        return np.concatenate(rows).astype(vector.dtype)

    def estimates(self, sketch: Vector) -> Vector:
        """Of every number of the vector, (count,)."""
        cells, signs = _drawn(self)
        table = sketch.reshape(self.rows, self.columns)
        each = np.take_along_axis(table, cells, axis=1)
        return np.median(each * signs, axis=0).astype(sketch.dtype, copy=False)


@lru_cache(4)
def _drawn(sketch: CountSketch) -> tuple[Cells, Signs]:
    """Cell and sign of every number, in every row, (rows, count) each."""
    raw = np.random.PCG64(sketch.seed).random_raw(sketch.rows * sketch.count).reshape(sketch.rows, sketch.count)
    cells = ((raw >> np.uint64(32)) * np.uint64(sketch.columns) >> np.uint64(32)).astype(np.int32)
    return cells, np.int8(1) - np.int8(2) * (raw & np.uint64(1)).astype(np.int8)
