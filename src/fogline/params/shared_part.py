"""What of a model devices and aggregators share, where some of its entries stay on each device.

Aggregators, links and folds know the shared part only: it is a model of its own, with a spec of its own. A device
works on the whole. Vectors are of the one or of the other, numbers in the same order; :class:`Pick` goes between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fogline.params.model import Params
from fogline.params.spec import Entry, Spec

Array = Any
"""A NumPy array, or a tensor of a backend."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Some of the numbers of a vector, as runs in rising order; it works on the last axis.

    ``size``: numbers of the whole vector; ``count``: how many are picked.
    """

    runs: tuple[slice, ...]
    size: int
    count: int

    @classmethod
    def of(cls, runs: Iterable[slice], size: int) -> Pick:
        """Runs that touch each other become one."""
        joined: list[slice] = []
        for run in runs:
            if joined and joined[-1].stop == run.start:
                run = slice(joined.pop().start, run.stop)
            if run.stop > run.start:
                joined.append(run)
        return cls(tuple(joined), size, sum(run.stop - run.start for run in joined))

    @property
    def all(self) -> bool:
        """Whether it picks every number."""
        return self.count == self.size

    def cut(self, array: Array) -> Array:
        """The picked numbers (..., count) of an array (..., size): itself, or a view, where that can be."""
        if self.all:
            return array
        if len(self.runs) <= 1:
            return array[..., self.runs[0]] if self.runs else array[..., :0]
        picked, place = _room(array, array.shape[:-1], self.count), 0
        for run in self.runs:
            picked[..., place : place + run.stop - run.start] = array[..., run]
            place += run.stop - run.start
        return picked

    def put(self, picked: Array, base: Array) -> Array:
        """An array (..., size) that has these numbers (..., count), and for the rest those of ``base``, whose leading
        axes are stretched; of the type of ``base``."""
        if self.all:
            return picked
        whole = _room(base, picked.shape[:-1], self.size)
        whole[...] = base
        self.lay(picked, whole)
        return whole

    def lay(self, picked: Array, into: Array) -> None:
        """Write these numbers (..., count) into an array (..., size)."""
        place = 0
        for run in self.runs:
            into[..., run] = picked[..., place : place + run.stop - run.start]
            place += run.stop - run.start


@dataclass(frozen=True)
class SharedPart:
    """The parts of a model that is cut: what is shared, what each device has of its own, what is frozen.

    Args:
        whole: the model as a device has it.
        private: names of the entries that each device has of its own; none that is frozen.
    """

    whole: Spec
    private: frozenset[str]

    @cached_property
    def shared(self) -> Spec:
        """The layout of what is shared: all but what is private and what is frozen."""
        return self._spec(lambda entry: not self._stays(entry))

    @cached_property
    def handed_out(self) -> Spec:
        """The layout of the model that a run gives: all but what is private."""
        return self._spec(lambda entry: entry.name not in self.private)

    @cached_property
    def trained(self) -> Pick:
        """The shared numbers among those that train."""
        entries = [entry for entry in self.whole.entries if entry.trainable]
        return self._pick((entry for entry in entries if not self._stays(entry)), self.whole.trainable)

    @cached_property
    def floats(self) -> Pick:
        """The shared numbers of the vector."""
        return self._floats(lambda entry: not self._stays(entry))

    @cached_property
    def counters(self) -> Pick:
        """The shared numbers of the counters."""
        return self._integers(lambda entry: not self._stays(entry))

    @cached_property
    def private_floats(self) -> Pick:
        """The private numbers of the vector."""
        return self._floats(lambda entry: entry.name in self.private)

    @cached_property
    def private_counters(self) -> Pick:
        """The private numbers of the counters."""
        return self._integers(lambda entry: entry.name in self.private)

    @cached_property
    def frozen(self) -> Pick:
        """The frozen numbers of the vector."""
        return self._floats(lambda entry: entry.role == "frozen")

    def cut(self, params: Params) -> Params:
        """The shared part of a model; views where they can be."""
        vector = self.floats.cut(params.vector).astype(self.shared.dtype, copy=False)
        return Params(self.shared, vector, self.counters.cut(params.counters))

    def hand_out(self, shared: Params, home: Params) -> Params:
        """The model that a run gives: the shared part, with what is frozen as a whole model ``home`` has it."""
        if self.handed_out == self.shared:
            return shared
        vector = self.floats.put(shared.vector, home.vector)
        counters = self.counters.put(shared.counters, home.counters)
        floats = self._floats(lambda entry: entry.name not in self.private)
        integers = self._integers(lambda entry: entry.name not in self.private)
        return Params(self.handed_out, floats.cut(vector), integers.cut(counters))

    def _stays(self, entry: Entry) -> bool:
        return entry.role == "frozen" or entry.name in self.private

    def _spec(self, chosen: Callable[[Entry], bool]) -> Spec:
        entries = tuple(entry for entry in self.whole.entries if chosen(entry))
        return self.whole if entries == self.whole.entries else Spec(entries)

    def _floats(self, chosen: Callable[[Entry], bool]) -> Pick:
        return self._pick((e for e in self.whole.entries if e.is_float and chosen(e)), self.whole.floats)

    def _integers(self, chosen: Callable[[Entry], bool]) -> Pick:
        return self._pick((e for e in self.whole.entries if not e.is_float and chosen(e)), self.whole.integers)

    def _pick(self, entries: Iterable[Entry], size: int) -> Pick:
        return Pick.of((self.whole.slices[entry.name] for entry in entries), size)


def _room(like: Array, leading: tuple[int, ...], count: int) -> Array:
    """Memory for numbers of an array's type, where the array lies."""
    shape = (*leading, count)
    return np.empty(shape, like.dtype) if isinstance(like, np.ndarray) else like.new_empty(shape)
