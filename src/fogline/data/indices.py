"""A partition: which examples each client owns, as one array of rows and the places where clients begin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from fogline.data.examples import Indices


class Partition(Sequence[Indices]):
    """A list of index arrays, one per client, kept as two arrays.

    ``order`` (assigned,) int64 holds the rows of client 0, then those of client 1, …; ``offsets``
    (clients + 1,) int64 says where each begins. ``ids`` are the clients' names, if they have any.
    """

    def __init__(self, order: Indices, offsets: Indices, ids: Sequence[str] | None = None) -> None:
        self.order = order
        self.offsets = offsets
        self.ids = ids

    @classmethod
    def of(cls, lists: Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike]) -> Partition:
        """Gather index arrays, or a mapping from client id to index array.

        Raises:
            ValueError: a client's indices are not whole numbers in one dimension.
        """
        if isinstance(lists, Partition):
            return lists
        ids = list(lists) if isinstance(lists, Mapping) else None
        values = lists.values() if isinstance(lists, Mapping) else lists
        arrays = [_whole(rows, i if ids is None else ids[i]) for i, rows in enumerate(values)]
        order = np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
        return cls(order, _offsets([len(rows) for rows in arrays]), ids)

    @classmethod
    def from_owner(cls, owner: npt.NDArray[np.integer], clients: int, ids: Sequence[str] | None = None) -> Partition:
        """From the owner 0..clients-1 of each example; a negative owner leaves the example out."""
        order = np.argsort(owner, kind="stable")
        out = int(np.count_nonzero(owner < 0))
        return cls(order[out:], _offsets(np.bincount(owner[owner >= 0], minlength=clients)), ids)

    @property
    def sizes(self) -> Indices:
        """How many examples each client holds, in the order of the clients."""
        return np.diff(self.offsets)

    def rows_of(self, rows: Indices) -> Partition:
        """The same partition when the examples it speaks of are the given rows of a larger array."""
        return Partition(rows[self.order], self.offsets, self.ids)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Indices: ...
    @overload
    def __getitem__(self, index: slice) -> list[Indices]: ...
    def __getitem__(self, index: int | slice) -> Indices | list[Indices]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"There are {len(self)} clients; there is none at position {index}.")
        return self.order[self.offsets[at] : self.offsets[at + 1]]

    def __iter__(self) -> Iterator[Indices]:
        for start, stop in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            yield self.order[start:stop]


def _offsets(sizes: npt.ArrayLike) -> Indices:
    return np.concatenate(([0], np.cumsum(np.asarray(sizes, np.int64)))).astype(np.int64)


def _whole(rows: npt.ArrayLike, client: int | str) -> Indices:
    array = np.asarray(rows)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"The indices of client {client!r} must be a one-dimensional array of whole numbers.")
    return array.astype(np.int64, copy=False)
