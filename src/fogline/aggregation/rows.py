"""Vectors that lie in files, as a matrix that is worked on in blocks of columns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.geometry import Geometry, Matrix, WrongRuleError
from fogline.aggregation.products import add_products, mirrored
from fogline.aggregation.sweep import blocks, sweep
from fogline.aggregation.update import DOUBLE, SINGLE, float_type
from fogline.params import Vector

Combine = Callable[[npt.NDArray[Any], npt.NDArray[np.float64]], Vector]
"""Makes (columns,) of a block (updates, columns) and the weights (updates,)."""
BLOCK = 1 << 22
"""Numbers of a block, over all updates."""
PRODUCTS = 1 << 17
"""Numbers of a block of which inner products are taken, over all updates."""
PARTS = 16
"""Inner products are summed in so many parts of the columns, and these in order, so that threads change no bit."""
SHORT = 1 << 13
"""Numbers of one update whose squares are added up together: few enough for OpenBLAS to start no threads for them."""
STRIP = 1 << 14
"""Columns that are mixed at once: those of two updates stay in the processor's cache."""
HEAD = 1 << 12
"""Numbers of each update that decide what a rule draws."""


class UpdateRows:
    """The vectors of one name, (updates, numbers), of which no more than blocks are in memory.

    Args:
        vectors: each with its scale.
        weights: (updates,).
        children: who sent each.
        size: numbers of each.
        centre: (numbers,), what is taken from each before anything is made of them, and added to what is made; None
            takes nothing.
    """

    def __init__(
        self,
        vectors: Sequence[tuple[Vector, float]],
        weights: Matrix,
        children: Sequence[str],
        size: int,
        centre: Vector | None = None,
    ) -> None:
        self.vectors, self.weights, self.children = vectors, weights, children
        self.size = size
        self.kind = DOUBLE if any(float_type(vector) is DOUBLE for vector, _ in vectors) else SINGLE
        self._centre = centre

    def __len__(self) -> int:
        return len(self.vectors)

    def block(self, columns: slice, kind: np.dtype[Any]) -> npt.NDArray[Any]:
        """Some columns of all of them, (updates, columns)."""
        table = np.empty((len(self), columns.stop - columns.start), kind)
        for row, (vector, scale) in zip(table, self.vectors, strict=True):
            if scale == 1.0:
                row[:] = vector[columns]
            else:
                np.multiply(vector[columns], kind.type(scale), out=row, casting="same_kind")
        if self._centre is not None:
            np.subtract(table, self._centre[columns], out=table, casting="same_kind")
        return table

    def mixed(self, matrix: Matrix, columns: slice) -> npt.NDArray[Any]:
        """Some columns of mixtures, (mixtures, columns). Every number comes about by itself, wherever blocks end."""
        made = np.zeros((len(matrix), columns.stop - columns.start), self.kind)
        for strip in blocks(made.shape[1], STRIP):
            some = slice(columns.start + strip.start, columns.start + strip.stop)
            table = self._columns(some)
            room = np.empty(strip.stop - strip.start, self.kind)
            for total, factors in zip(made[:, strip], matrix, strict=True):
                for place in np.flatnonzero(factors):
                    np.multiply(table[place], self.kind.type(factors[place]), out=room)
                    np.add(total, room, out=total)
        return made

    def _columns(self, some: slice) -> list[npt.NDArray[Any]]:
        """As :meth:`block`, without a copy of what stays as it is."""
        if self._centre is not None:
            return list(self.block(some, self.kind))
        return [
            vector[some] if scale == 1.0 else np.multiply(vector[some], self.kind.type(scale))
            for vector, scale in self.vectors
        ]

    def gram(self) -> Matrix:
        """Inner products, (updates, updates)."""
        width = max(1, PRODUCTS // len(self))
        length = -(-self.size // (PARTS * width)) * width  # Whole blocks, the same ones for any number of threads.
        sums = np.zeros((PARTS, len(self), len(self)))

        def work(part: slice, _: int) -> None:
            total = sums[part.start // length]
            for low in range(part.start, part.stop, width):
                add_products(total, self.block(slice(low, min(low + width, part.stop)), DOUBLE))

        sweep(self.size, work, max(1, length))
        return mirrored(sums.sum(axis=0))

    def squares(self) -> Matrix:
        """The inner product of each with itself, (updates,)."""
        sums = np.zeros((PARTS, len(self)))
        length = max(1, -(-self.size // PARTS))

        def work(part: slice, _: int) -> None:
            room = np.empty(SHORT)
            for strip in blocks(part.stop - part.start, SHORT):
                some = slice(part.start + strip.start, part.start + strip.stop)
                own = room[: strip.stop - strip.start]
                for place, (vector, scale) in enumerate(self.vectors):
                    np.multiply(vector[some], scale, out=own)
                    if self._centre is not None:
                        np.subtract(own, self._centre[some], out=own)
                    sums[part.start // length, place] += np.dot(own, own)

        sweep(self.size, work, length)
        return sums.sum(axis=0)

    def at(self, places: npt.NDArray[np.intp]) -> Matrix:
        """The numbers at some places, (updates, places)."""
        table = np.array([np.multiply(vector[places], scale, dtype=np.float64) for vector, scale in self.vectors])
        return table if self._centre is None else np.subtract(table, self._centre[places], dtype=np.float64)

    def geometry(self) -> Geometry:
        """What a rule sees of them as wholes."""
        digest = hashlib.sha256()
        for vector, scale in self.vectors:
            digest.update(np.ascontiguousarray(vector[:HEAD]).tobytes() + np.float64(scale).tobytes())
        seed = int.from_bytes(digest.digest()[:16], "little")
        return Geometry(self.gram, self.squares, self.at, self.weights, self.children, self.size, (seed,))

    def combined(self, combine: Combine | None, matrix: Matrix | None) -> Vector:
        """One vector of all, (numbers,).

        Args:
            combine: makes one of many, column by column; None where there is one.
            matrix: what is mixed before; None if nothing is.

        Raises:
            WrongRuleError: ``combine`` gives something else than a number for each column.
        """
        made = np.zeros(self.size, self.kind)
        weights = self.weights if matrix is None else np.ones(len(matrix))

        def work(columns: slice, _: int) -> None:
            table = self.block(columns, self.kind) if matrix is None else self.mixed(matrix, columns)
            some = table[0] if combine is None else _checked(combine(table, weights), columns)
            with np.errstate(over="ignore"):
                made[columns] = some if self._centre is None else some + self._centre[columns]

        if len(self):
            sweep(self.size, work, max(1, BLOCK // max(len(self), len(weights))))
        return made


def _checked(made: Any, columns: slice) -> Vector:
    wanted = (columns.stop - columns.start,)
    if not isinstance(made, np.ndarray) or made.shape != wanted or made.dtype.kind != "f":
        given = f"{made.dtype} of shape {made.shape}" if isinstance(made, np.ndarray) else repr(type(made))
        raise WrongRuleError(f"gives {given}; it must give floating-point numbers of shape {wanted}")
    return made
