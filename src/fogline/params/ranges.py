"""Which numbers of a model a smaller one has: ranges of indices along the axes of its entries.

A sub-model is the model without some of its entries, and of others it has the numbers whose indices lie in given ranges
along every axis. That is told in a short text, which travels with what was made of the numbers, so that whoever gets
them needs no more than the model's spec to know where they belong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fogline.params.spec import Entry, Spec

Range = tuple[int, int]
"""From an index up to one that is not in it."""
Axes = tuple[tuple[Range, ...] | None, ...]
"""The ranges along each axis of an entry, in rising order; None: all of the axis."""
Places = npt.NDArray[np.intp]
"""(n,) where numbers lie in a vector."""


@dataclass(frozen=True)
class ModelRanges:
    """The numbers of a model that a sub-model has.

    Args:
        text: as it travels: JSON, by the name of the entry a list for each axis, of [first, behind the last] or null.
    """

    text: str

    @classmethod
    def of(cls, entries: Mapping[str, Axes]) -> ModelRanges:
        """From the ranges of every entry that the sub-model has something of."""
        return cls(json.dumps(dict(entries), separators=(",", ":")))

    @classmethod
    def from_array(cls, array: npt.NDArray[Any]) -> ModelRanges:
        """Read what :meth:`to_array` wrote; whether it makes sense, :meth:`check` tells.

        Raises:
            ValueError: it is no such text.
        """
        return cls(array.astype(np.uint8, casting="equiv").tobytes().decode())

    def to_array(self) -> npt.NDArray[np.uint8]:
        """The text as bytes."""
        return np.frombuffer(self.text.encode(), np.uint8)

    @cached_property
    def entries(self) -> Mapping[str, Axes]:
        """The ranges, by the name of the entry.

        Raises:
            ValueError: the text tells none.
        """
        try:
            told = cast("dict[str, list[list[list[int]] | None]]", json.loads(self.text))
            return {
                name: tuple(None if axis is None else tuple(_range(*ends) for ends in axis) for axis in axes)
                for name, axes in told.items()
            }
        except (TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"The ranges of a sub-model cannot be read: {error}.") from error

    def check(self, spec: Spec) -> None:
        """Refuse ranges that are not of that model.

        Raises:
            ValueError: one sentence that names the entry.
        """
        known = {entry.name: entry for entry in spec.entries}
        for name, axes in self.entries.items():
            if name not in known:
                raise ValueError(f"It has numbers of '{name}', which is no entry of the model.")
            shape = known[name].shape
            if len(axes) != len(shape):
                raise ValueError(f"It has ranges along {len(axes)} axes of '{name}', which has {len(shape)}.")
            for axis, size in zip(axes, shape, strict=True):
                ends = [end for pair in axis or () for end in pair]
                rises = all(a < b for a, b in zip(ends[::2], ends[1::2], strict=True)) and ends == sorted(ends)
                if axis is not None and not (axis and rises and ends[0] >= 0 and ends[-1] <= size):
                    raise ValueError(f"Its ranges of '{name}' are not within {shape}, rising: {axis}.")

    def spec(self, whole: Spec) -> Spec:
        """The layout of the sub-model, in the order of the whole."""
        return Spec(
            tuple(
                Entry(entry.name, tuple(map(_length, self.entries[entry.name], entry.shape)), entry.dtype, entry.role)
                for entry in whole.entries
                if entry.name in self.entries
            )
        )

    def trained(self, spec: Spec) -> Places:
        """Where its trained numbers lie among those of the model, (P,)."""
        return _places(self, spec, "trained")

    def buffers(self, spec: Spec) -> Places:
        """Where its floating-point buffers lie among the model's (the numbers behind those that train)."""
        return _places(self, spec, "buffer") - spec.trainable

    def counters(self, spec: Spec) -> Places:
        """Where its integers lie among the model's counters."""
        return _places(self, spec, "counters")


def places_of(spec: Spec, entries: Iterable[Entry], ranges: Mapping[str, Axes]) -> Places:
    """Where the numbers of entries lie in a model's vector (or, integers, in its counters), in the entries' order.

    Args:
        spec: of the model.
        entries: which, by their names.
        ranges: of those of which not everything is wanted.
    """
    whole = {entry.name: entry for entry in spec.entries}
    found = [_within(whole[entry.name], spec.slices[entry.name].start, ranges.get(entry.name)) for entry in entries]
    return np.concatenate(found) if found else np.zeros(0, np.intp)


CHOICES: Mapping[str, Callable[[Entry], bool]] = {
    "trained": lambda entry: entry.trainable,
    "buffer": lambda entry: entry.is_float and entry.role == "buffer",
    "counters": lambda entry: not entry.is_float,
}


@lru_cache(64)
def _places(ranges: ModelRanges, spec: Spec, kind: str) -> Places:
    chosen = [entry for entry in spec.entries if entry.name in ranges.entries and CHOICES[kind](entry)]
    places = places_of(spec, chosen, ranges.entries)
    places.flags.writeable = False
    return places


def _within(entry: Entry, start: int, axes: Axes | None) -> Places:
    places = np.arange(start, start + entry.count, dtype=np.intp)
    if axes is None or all(axis is None for axis in axes):
        return places
    kept = [
        np.arange(size) if axis is None else np.concatenate([np.arange(*ends) for ends in axis])
        for axis, size in zip(axes, entry.shape, strict=True)
    ]
    return places.reshape(entry.shape)[np.ix_(*kept)].ravel()


def _length(axis: tuple[Range, ...] | None, size: int) -> int:
    return size if axis is None else sum(stop - start for start, stop in axis)


def _range(first: int, behind: int) -> Range:
    if type(first) is not int or type(behind) is not int:
        raise ValueError(f"[{first!r}, {behind!r}] are no two whole numbers")
    return first, behind
