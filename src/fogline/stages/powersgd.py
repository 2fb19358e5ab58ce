"""Matrices of low rank in place of a model's own."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import ClassVar, NamedTuple, Self

import numpy as np

from fogline.parameters import bounded
from fogline.params import Spec, Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, Named
from fogline.stages.registry import STAGES
from fogline.stages.vector_code import VectorCode


class Matrix(NamedTuple):
    """Where a model's vector has a matrix."""

    start: int
    rows: int
    columns: int

    @property
    def place(self) -> slice:
        return slice(self.start, self.start + self.rows * self.columns)


@STAGES.add("powersgd")
class PowerSgd(VectorCode):
    """Of each matrix of the model a product of two thin ones, of ``rank`` columns, with error feedback (PowerSGD:
    Vogels, Karimireddy and Jaggi, NeurIPS 2019, arXiv 1905.13727, algorithm 1).

    One step of power iteration from the last message's right factor: P = orth(M Q), Q = M^T P, and P Q^T is received.
    An entry of more dimensions is a matrix of its first against all others. Entries that two factors would not make
    smaller go as they are, and so do vectors that are not as long as what is trained of the model. Where a parent runs
    on another processor than its child, the last bits of the product may differ.
    """

    rank: int = bounded(2, ge=1)
    feedback = True
    matrices: ClassVar[tuple[Matrix, ...]] = ()
    trained: ClassVar[int] = 0

    def fitted(self, spec: Spec) -> Self:
        fitted = copy(self)
        object.__setattr__(fitted, "matrices", tuple(self._matrices(spec)))
        object.__setattr__(fitted, "trained", spec.trainable)
        return fitted

    @property
    def remembers(self) -> bool:
        return True

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        return self.encode_next(vector, rng, None)[0]

    def encode_next(self, vector: Vector, rng: np.random.Generator, kept: Vector | None) -> tuple[Named, Vector | None]:
        matrices = self._of(vector.size)
        lefts, rights, rest = list[Vector](), list[Vector](), np.ones(vector.size, bool)
        width = self.rank * sum(matrix.columns for matrix in matrices)
        if kept is None or kept.size != width:
            kept = rng.standard_normal(width, np.float32)
        start = 0
        with np.errstate(over="ignore", invalid="ignore"):
            for matrix in matrices:
                whole = vector[matrix.place].reshape(matrix.rows, matrix.columns)
                size = self.rank * matrix.columns
                guess = kept[start : start + size].reshape(matrix.columns, self.rank).astype(vector.dtype, copy=False)
                left = np.linalg.qr(whole @ guess)[0]
                lefts.append(left.reshape(-1))
                rights.append((whole.T @ left).reshape(-1))
                rest[matrix.place], start = False, start + size
        none = vector[:0]
        right = np.concatenate([none, *rights])
        parts = {"left": np.concatenate([none, *lefts]), "right": right, "rest": vector[rest]}
        return parts, right if right.size and np.isfinite(right).all() else None

    def decode(self, parts: Named, extent: Extent) -> Vector:
        vector, rest = np.empty(extent.count, extent.dtype), np.ones(extent.count, bool)
        left_start = right_start = 0
        for matrix in self._of(extent.count):
            left_end, right_end = left_start + self.rank * matrix.rows, right_start + self.rank * matrix.columns
            left = parts["left"][left_start:left_end].reshape(matrix.rows, self.rank)
            right = parts["right"][right_start:right_end].reshape(matrix.columns, self.rank)
            vector[matrix.place] = (left @ right.T).reshape(-1)
            rest[matrix.place], left_start, right_start = False, left_end, right_end
        vector[rest] = parts["rest"]
        return vector

    def parts(self, extent: Extent) -> Layout:
        matrices = self._of(extent.count)
        rest = extent.count - sum(matrix.rows * matrix.columns for matrix in matrices)
        return {
            "left": Extent(extent.dtype, self.rank * sum(matrix.rows for matrix in matrices)),
            "right": Extent(extent.dtype, self.rank * sum(matrix.columns for matrix in matrices)),
            "rest": Extent(extent.dtype, rest),
        }

    def error(self, count: int) -> float:
        """All but the part of as many directions as the rank, of a square matrix that is alike in all."""
        return 1 - min(1.0, self.rank / max(1, count) ** 0.5)

    def _of(self, count: int) -> tuple[Matrix, ...]:
        return self.matrices if count == self.trained else ()

    def _matrices(self, spec: Spec) -> Iterator[Matrix]:
        for entry in spec.entries:
            if entry.trainable and len(entry.shape) > 1 and entry.count:
                matrix = Matrix(spec.slices[entry.name].start, entry.shape[0], entry.count // entry.shape[0])
                if self.rank * (matrix.rows + matrix.columns) < entry.count:
                    yield matrix
