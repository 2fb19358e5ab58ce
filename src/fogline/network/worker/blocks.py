"""Groups too large to be held in memory: the same functions, on one block of columns after another.

That is possible for methods whose hooks treat every number for itself (:attr:`Algorithm.columnwise`): a block of the
model, with the same block of everything beside it, is a small model. The trained numbers are cut into blocks, and so
are the buffers behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from fogline.aggregation import Arrays, Folded, Partial, UnusableUpdateError, fold_named, from_arrays
from fogline.algorithms import Algorithm, hooks
from fogline.algorithms import group as groups
from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.group import BUFFERS, Down, GroupModel
from fogline.network.worker.groups import Groups, Refused
from fogline.network.worker.requests import Adopt, Lift, Member, Merge, Move, Written
from fogline.params import Entry, Spec
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
        return Spec.of([Entry("block", (self.stop - self.start,), "float32", self.trained)])

    def place(self, name: str) -> int | None:
        """Where the block begins in an array that runs over the model; None if it has no part of it."""
        if name in BOTH:
            return self.start
        if is_buffers(name):
            return None if self.trained else self.start - self.layout.trained
        return self.start if self.trained else None

    def read(self, file: ArrayFile) -> Arrays:
        """The block of every array in a file; what does not run over the model, whole."""
        arrays: Arrays = {}
        for name, extent in file.extents.items():
            if is_buffers(name) and self.trained:
                continue
            if extent.count != self.layout.length(name):
                arrays[name] = file.read(name)
                continue
            place = self.place(name)
            arrays[name] = file.read(name, 0, 0) if place is None else self._piece(file, name, place)
        return arrays

    def _piece(self, file: ArrayFile, name: str, place: int) -> npt.NDArray[Any]:
        return file.read(name, place, place + self.stop - self.start)

    def runs(self, name: str, array: npt.NDArray[Any]) -> bool:
        """Whether an array of a block's result runs over the model."""
        if name in BOTH or is_buffers(name):
            return array.size == self.stop - self.start
        return array.size == (self.stop - self.start if self.trained else 0)


class GroupsInBlocks(Groups):
    """As :class:`Groups`, in blocks."""

    def adopt(self, request: Adopt) -> Written:
        base = None if request.base is None else ArrayFile(Path(request.base))
        source = ArrayFile(Path(request.source))

        def adopted(block: ColumnBlock) -> GroupModel:
            before = None if base is None else GroupModel.from_arrays(block.read(base))
            return groups.adopt(self.algorithm, block.spec, before, Down.from_arrays(block.read(source)))

        self._put(adopted, request.group, request.model)
        return Written()

    def move(self, request: Move) -> Written:
        base = ArrayFile(Path(request.base))
        facts = AggregatorContext(request.population, request.round, request.lane, request.lanes)

        def moved(members: Sequence[_Opened]) -> None:
            def work(block: ColumnBlock) -> GroupModel:
                group = GroupModel.from_arrays(block.read(base))
                folded = self._fold_block(block, members, merge=False)
                if folded is None:
                    return group
                assert isinstance(folded, Folded)
                return groups.move(self.algorithm, block.spec, group, folded, facts, request.inside)

            self._put(work, request.group, request.model)

        return Written(self._with_usable(request.members, moved))

    def _refusals(self, members: Sequence[Member]) -> Refused:
        def folded(opened: Sequence[_Opened]) -> None:
            for block in self._blocks():
                self._fold_block(block, opened, merge=True)

        return list(self._with_usable(members, folded))

    def merge(self, request: Merge) -> Written:
        empty = False

        def merged(members: Sequence[_Opened]) -> None:
            nonlocal empty
            empty = not members
            if not empty:
                self._write(
                    lambda block: _arrays(self._fold_block(block, members, merge=True)), {request.update: _same}
                )

        return Written(self._with_usable(request.members, merged), empty)

    def lift(self, request: Lift) -> Written:
        base = ArrayFile(Path(request.base))

        def lifted(block: ColumnBlock) -> Arrays:
            return groups.group_update(self.algorithm, block.spec, GroupModel.from_arrays(block.read(base))).to_arrays()

        self._write(lifted, {request.update: _same})
        return Written()

    def _put(self, work: Callable[[ColumnBlock], GroupModel], group_path: str, model_path: str) -> None:
        def sent(group: GroupModel) -> Arrays:
            return groups.send_down(self.algorithm, group).to_arrays()

        self._write(work, {group_path: GroupModel.to_arrays, model_path: sent})

    @property
    def _layout(self) -> BlockLayout:
        return BlockLayout(self.spec.trainable, self.spec.floats - self.spec.trainable)

    def _blocks(self) -> Iterator[ColumnBlock]:
        # Buffers first: their blocks name every array there is.
        layout = self._layout
        for start, stop in cuts(layout.trained, layout.trained + layout.buffers):
            yield ColumnBlock(start, stop, False, layout)
        for start, stop in cuts(0, layout.trained):
            yield ColumnBlock(start, stop, True, layout)

    def _write(self, work: Callable[[ColumnBlock], Any], files: dict[str, Callable[[Any], Arrays]]) -> None:
        """Work every block once, and write what it gives into files, each in its own form."""
        writers: dict[str, ArrayWriter] = {}
        try:
            for block in self._blocks():
                made = work(block)
                for path, form in files.items():
                    arrays = form(made)
                    if path not in writers:
                        writers[path] = ArrayWriter(Path(path), self._extents(block, arrays))
                    for name, array in arrays.items():
                        place = block.place(name) if block.runs(name, array) else 0
                        if place is not None:
                            writers[path].write(name, place, array)
        finally:
            for writer in writers.values():
                writer.close()

    def _extents(self, block: ColumnBlock, arrays: Arrays) -> dict[str, Extent]:
        return {
            name: Extent(array.dtype, self._layout.length(name) if block.runs(name, array) else array.size)
            for name, array in arrays.items()
        }

    def _with_usable(
        self, members: Sequence[Member], work: Callable[[Sequence[_Opened]], None]
    ) -> tuple[tuple[str, str], ...]:
        """Work with the members that can be used; one that turns out not to be is left out, and all begins anew."""
        refused: Refused = []
        opened = [one for member in members if (one := self._open(member, refused)) is not None]
        while True:
            try:
                work(opened)
                return tuple(refused)
            except _Unusable as error:
                refused.append((error.opened.child, str(error)))
                opened.remove(error.opened)

    def _open(self, member: Member, refused: Refused) -> _Opened | None:
        try:
            file = ArrayFile(Path(member.update))
            return _Opened(file, hooks.staleness_weight(self.algorithm, member.staleness), member.child)
        except ValueError as error:
            refused.append((member.child, str(error)))
            return None

    def _fold_block(self, block: ColumnBlock, members: Sequence[_Opened], merge: bool) -> Folded | Partial | None:
        fold = fold_named(self.exact)
        for member in members:
            try:
                fold.take(from_arrays(block.read(member.file)), member.scale)
            except UnusableUpdateError as error:
                raise _Unusable(member, str(error)) from error
        if not fold.count:
            return None
        return fold.partial() if merge else fold.finish()


class _Opened(NamedTuple):
    file: ArrayFile
    scale: float
    child: str


class _Unusable(Exception):  # noqa: N818
    def __init__(self, opened: _Opened, why: str) -> None:
        super().__init__(why)
        self.opened = opened


def is_buffers(name: str) -> bool:
    """Whether an array of that name is about the buffers."""
    return name.partition("/")[2] == BUFFERS


def cuts(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """A range in even pieces, so that none is so short that it could be taken for something else."""
    count = -(-(stop - start) // BLOCK)
    for i in range(count):
        yield start + (stop - start) * i // count, start + (stop - start) * (i + 1) // count


def suits(algorithm: Algorithm, spec: Spec) -> bool:
    """Whether a job is worked on in blocks."""
    return spec.floats >= LARGE and algorithm.columnwise


def _same(arrays: Arrays) -> Arrays:
    return arrays


def _arrays(partial: Folded | Partial | None) -> Arrays:
    assert isinstance(partial, Partial)
    return partial.to_arrays()
