"""Clients that are read item by item: PyTorch's data sets and loaders, lists of pairs or of records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from fogline.data.arrays import read
from fogline.data.inputs import Array, arrays_of
from fogline.randomness import fingerprint, seeded
from fogline.user_code.loading import Loading

TARGETS = ("label", "labels", "target", "y")
"""What the target of a record may be called, if nobody says."""
TWICE = 4
"""Items that are read once more, to see that the shared generators are all that they are drawn from."""


@dataclass(frozen=True, slots=True)
class RecordFields:
    """Which parts of a record are what."""

    inputs: str | Sequence[str] | None = None
    """One name: one array. Several: a dict of arrays, the model's arguments by name."""
    target: str | None = None

    def pick(self, record: Mapping[str, Any], where: str) -> tuple[Any, Any]:
        """Input and target of a record.

        Raises:
            ValueError: it lacks a column, or it is not clear which is what.
        """
        target = self.target or next((name for name in TARGETS if name in record), None)
        others = [str(name) for name in record if name != target]
        inputs = self.inputs if self.inputs is not None else others[0] if len(others) == 1 else None
        if target is None or inputs is None:
            raise ValueError(
                f"{where} has the columns {', '.join(map(str, record))}; say which are what, as with "
                f"inputs={others[0] if others else 'x'!r}, target={target or 'label'!r}."
            )
        wanted = [inputs] if isinstance(inputs, str) else list(inputs)
        missing = [name for name in (*wanted, target) if name not in record]
        if missing:
            raise ValueError(f"{where} has no column '{missing[0]}'; it has {', '.join(map(str, record))}.")
        x = record[inputs] if isinstance(inputs, str) else {name: record[name] for name in inputs}
        return x, record[target]


class Items:
    """Examples by number, or one after the other.

    Args:
        source: has ``len`` and items by number, or can be gone through again and again; or a PyTorch ``DataLoader``,
            of which the data set, the sampler's choice and a ``collate_fn`` of one's own count, not the batches.
        columns: of items that are records.
        where: whose they are, for sentences.
    """

    def __init__(self, source: Any, columns: RecordFields, where: str) -> None:
        self._columns, self._where = columns, where
        self._source, self._collate, self._chosen = source, None, None
        if hasattr(source, "collate_fn") and hasattr(source, "dataset"):
            self._source = source.dataset
            self._collate = _own_collate(source)
            self._chosen = _chosen(source)

    @property
    def count(self) -> int | None:
        """How many there are; None if that is known after reading only."""
        if self._chosen is not None:
            return len(self._chosen)
        return len(self._source) if hasattr(self._source, "__len__") else None

    def read(self, seed: int) -> tuple[Any, Any, bool]:
        """Inputs, targets, and whether something was drawn for them.

        Raises:
            ValueError: items are no examples, or differ in shape.
        """
        with seeded(seed):
            before = fingerprint()
            x, y = self._joined(self._each(None))
            return x, y, fingerprint() != before

    def check(self, seed: int) -> None:
        """Refuse items that other generators than the shared ones are drawn for.

        Raises:
            ValueError: they differ under one seed.
        """
        few: list[list[Array]] = []
        for _ in range(2):
            with seeded(seed):
                x, y = self._joined(self._each(TWICE))
                few.append([np.asarray(part) for part in (*arrays_of(x), y)])
        if not all(np.array_equal(one, other) for one, other in zip(*few, strict=True)):
            raise ValueError(
                f"{self._where}: an example differs each time it is read, whatever the seed; draw from torch, "
                "numpy.random or random, so that a run can be repeated."
            )

    def _each(self, most: int | None) -> list[Any]:
        with Loading(self._where):
            return list(self._items(most))

    def _items(self, most: int | None) -> Iterable[Any]:
        if self._chosen is not None:
            return (self._source[place] for place in self._chosen[:most])
        if hasattr(self._source, "__getitem__") and hasattr(self._source, "__len__"):
            return (self._source[place] for place in range(min(len(self._source), most or sys.maxsize)))
        return (item for _, item in zip(range(most or sys.maxsize), self._source, strict=False))

    def _joined(self, items: list[Any]) -> tuple[Any, Any]:
        if not items:
            raise ValueError(f"{self._where} has no examples.")
        if self._collate is not None:
            with Loading(self._where):
                batch = self._collate(items)
            return self._pair(batch, f"{self._where}: the batch of its collate_fn")
        pairs = [self._pair(item, f"{self._where}, item {place},") for place, item in enumerate(items)]
        inputs, targets = [x for x, _ in pairs], [y for _, y in pairs]
        first = inputs[0]
        if isinstance(first, Mapping):
            names = list(cast("Mapping[str, Any]", first))
            return {name: self._stack([x[name] for x in inputs], f"'{name}'") for name in names}, self._y(targets)
        if isinstance(first, tuple):
            columns = zip(*inputs, strict=True)
            return tuple(self._stack(list(c), f"input {i}") for i, c in enumerate(columns)), self._y(targets)
        return self._stack(inputs, "the input"), self._y(targets)

    def _y(self, targets: list[Any]) -> Array:
        return self._stack(targets, "the target")

    def _stack(self, values: list[Any], what: str) -> Array:
        arrays = [read(value, f"{self._where}: {what}") for value in values]
        odd = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
        if odd is not None:
            raise ValueError(
                f"{self._where}: {what} of item {odd} has shape {arrays[odd].shape}, that of item 0 {arrays[0].shape}; "
                "all must have one shape (pad or crop them, or give a DataLoader with a collate_fn that does)."
            )
        return np.stack(arrays)

    def _pair(self, item: Any, where: str) -> tuple[Any, Any]:
        if isinstance(item, Mapping):
            return self._columns.pick(cast("Mapping[str, Any]", item), where)
        if isinstance(item, tuple | list) and len(cast("Sequence[Any]", item)) == 2:
            return item[0], item[1]
        raise ValueError(
            f"{where} is of type {type(item).__name__}; give pairs (input, target), where several inputs are a tuple "
            "or a dict, or records with inputs=... and target=..."
        )


def reads(source: Any) -> bool:
    """Whether it can be read item by item."""
    return hasattr(source, "__getitem__") or hasattr(source, "__iter__")


def _own_collate(loader: Any) -> Callable[[list[Any]], Any] | None:
    module = getattr(loader.collate_fn, "__module__", "")
    return None if module == "torch.utils.data._utils.collate" else loader.collate_fn


def _chosen(loader: Any) -> list[Any] | None:
    """Which items a loader's sampler takes; None for all, in whatever order."""
    own = loader.batch_sampler is not None and not hasattr(loader.batch_sampler, "sampler")
    sampler: Any = None if own else loader.sampler
    kind = type(sampler).__name__
    if kind == "SequentialSampler" or (
        kind == "RandomSampler" and not sampler.replacement and len(sampler) == len(loader.dataset)
    ):
        return None
    if kind == "_InfiniteConstantSampler":  # That of a data set which is gone through.
        return None
    with seeded(0):
        batches: Any = loader.batch_sampler
        places = [place for batch in batches for place in batch] if own else list(sampler)
    return sorted(places)
