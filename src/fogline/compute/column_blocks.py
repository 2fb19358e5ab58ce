"""Models in pieces: one that is too large for memory is worked on in one block of columns after another.

That is possible for methods whose hooks treat every number for itself (:attr:`Algorithm.columnwise`): a block of the
model, with the same block of everything beside it, is a small model. The trained numbers are cut into blocks, and so
are the buffers behind them. Any other model is one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from fogline.aggregation import Arrays
from fogline.algorithms import Algorithm
from fogline.algorithms.group import BUFFERS
from fogline.algorithms.sub_models import has_sub_models
from fogline.params import Entry, Spec, map_arrays, write_arrays
from fogline.params.pieces import ArrayFile, ArrayWriter, Extent

LARGE = 16 << 20
"""Numbers of a model from which it is worked on in blocks."""
BLOCK = 4 << 20
"""Numbers of a block."""
BOTH = ("vector", "start")
"""Arrays that run over the trained numbers and the buffers."""


class BlockLayout(NamedTuple):
    """How many numbers of a model are trained, and how many are buffers behind them."""

    trained: int
    buffers: int

    def length(self, name: str) -> int:
        """Numbers of an array of that name, if it runs over the model."""
        if name in BOTH:
            return self.trained + self.buffers
        return self.buffers if is_buffers(name) else self.trained


class ColumnBlock(NamedTuple):
    """Some of the numbers of a model: trained ones, or buffers."""

    start: int
    stop: int
    trained: bool
    layout: BlockLayout

    @property
    def spec(self) -> Spec:
        """The block as a model."""
        return Spec.of([Entry("block", (self.stop - self.start,), "float32", "trained" if self.trained else "buffer")])

    def place(self, name: str) -> int | None:
        """Where the block begins in an array that runs over the model; None if it has no part of it."""
        if name in BOTH:
            return self.start
        if is_buffers(name):
            return None if self.trained else self.start - self.layout.trained
        return self.start if self.trained else None

    def read(self, path: Path) -> Arrays:
        """The block of every array in a file; what does not run over the model, whole."""
        file, arrays = ArrayFile(path), Arrays()
        for name, extent in file.extents.items():
            if is_buffers(name) and self.trained:
                continue
            if extent.count != self.layout.length(name):
                arrays[name] = file.read(name)
                continue
            place = self.place(name)
            arrays[name] = file.read(name, 0, 0) if place is None else self._piece(file, name, place)
        return arrays

    def cut(self, arrays: Arrays) -> Arrays:
        """As :meth:`read`, of arrays that are in memory."""
        cut = Arrays()
        for name, array in arrays.items():
            if is_buffers(name) and self.trained:
                continue
            place = self.place(name)
            if array.size != self.layout.length(name):
                cut[name] = array
            else:
                cut[name] = array[:0] if place is None else array[place : place + self.stop - self.start]
        return cut

    def map(self, path: Path) -> Arrays:
        """As :meth:`read`, but read as it is looked at."""
        return self.cut(map_arrays(path))

    def _piece(self, file: ArrayFile, name: str, place: int) -> npt.NDArray[Any]:
        return file.read(name, place, place + self.stop - self.start)

    def runs(self, name: str, array: npt.NDArray[Any]) -> bool:
        """Whether an array of a block's result runs over the model."""
        if name in BOTH or is_buffers(name):
            return array.size == self.stop - self.start
        return array.size == (self.stop - self.start if self.trained else 0)

    def offset(self, name: str, size: int) -> int:
        """Where an update's vector of that name and size, as it is in this block, begins in the whole one."""
        array = f"vector/{name}"
        return self.place(array) or 0 if size == self.layout.length(array) else 0

    def extents(self, arrays: Arrays) -> dict[str, Extent]:
        """How long the arrays of all blocks are, by those of this one."""
        return {
            name: Extent(array.dtype, self.layout.length(name) if self.runs(name, array) else array.size)
            for name, array in arrays.items()
        }


class WholeModel(NamedTuple):
    """All of the numbers of a model."""

    spec: Spec

    def read(self, path: Path) -> Arrays:
        """The arrays of a file, which are read as they are looked at."""
        return map_arrays(path)

    def cut(self, arrays: Arrays) -> Arrays:
        """The arrays, as they are."""
        return arrays

    def map(self, path: Path) -> Arrays:
        """The same: they are read so anyway."""
        return map_arrays(path)


Piece = WholeModel | ColumnBlock


class PieceWriter:
    """Writes the arrays of one file, a piece of the model after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: ArrayWriter | None = None

    def write(self, piece: Piece, arrays: Arrays) -> None:
        """Put what was made of a piece."""
        if isinstance(piece, WholeModel):
            write_arrays(self._path, arrays)
            return
        if self._writer is None:
            self._writer = ArrayWriter(self._path, piece.extents(arrays))
        for name, array in arrays.items():
            place = piece.place(name) if piece.runs(name, array) else 0
            if place is not None:
                self._writer.write(name, place, array)

    def close(self) -> None:
        """Nothing more is written."""
        if self._writer is not None:
            self._writer.close()


def pieces(spec: Spec, blocks: bool) -> Iterator[Piece]:
    """The pieces of a model: it as a whole, or its blocks.

    Buffers come first: their blocks name every array there is.
    """
    if not blocks:
        yield WholeModel(spec)
        return
    layout = BlockLayout(spec.trainable, spec.floats - spec.trainable)
    for start, stop in cuts(layout.trained, layout.trained + layout.buffers):
        yield ColumnBlock(start, stop, False, layout)
    for start, stop in cuts(0, layout.trained):
        yield ColumnBlock(start, stop, True, layout)


def is_buffers(name: str) -> bool:
    """Whether an array of that name is about the buffers."""
    return name.partition("/")[2] == BUFFERS


def cuts(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """A range in even pieces, so that none is so short that it could be taken for something else."""
    count = -(-(stop - start) // BLOCK)
    for i in range(count):
        yield start + (stop - start) * i // count, start + (stop - start) * (i + 1) // count


def suits(algorithm: Algorithm, spec: Spec) -> bool:
    """Whether a job is worked on in blocks: its model is large, and its method treats every number for itself."""
    return spec.floats >= LARGE and algorithm.columnwise and not has_sub_models(algorithm)
