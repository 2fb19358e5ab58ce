"""Client ids as sequences that make their strings only when asked: a million clients cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import overload

import numpy as np

from fogline.data.examples import Indices


class Ids(Sequence[str]):
    """A sequence of distinct ids whose ``position`` is quick."""

    def position(self, client: str) -> int | None:
        """Where that id stands; None if it does not occur."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """The id at a position 0..len-1."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self.name(i) for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"There are {len(self)} clients; there is none at position {index}.")
        return self.name(at)

    def __contains__(self, client: object) -> bool:
        return isinstance(client, str) and self.position(client) is not None

    def index(self, value: str, start: int = 0, stop: int | None = None) -> int:
        """Position of an id; ValueError if it does not occur between ``start`` and ``stop``."""
        at = self.position(value)
        if at is None or at not in range(*slice(start, stop).indices(len(self))):
            raise ValueError(f"There is no client '{value}'.")
        return at

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        shown = ", ".join(self[:3]) + (", …" if len(self) > 3 else "")
        return f"<{len(self)} clients: {shown}>"


class NumberedIds(Ids):
    """``client-00`` to ``client-99`` and the like."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._width = len(str(max(count - 1, 0)))

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return f"client-{index:0{self._width}d}"

    def position(self, client: str) -> int | None:
        digits = client.removeprefix("client-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > self._width:
            return None
        at = int(digits)
        return at if at < self._count and self.name(at) == client else None


class Listed(Ids):
    """Ids that someone chose.

    Raises:
        ValueError: an id occurs twice.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = tuple(ids)
        if len(self._positions) != len(self._ids):
            twice = next(c for i, c in enumerate(self._ids) if self._positions[c] != i)
            raise ValueError(f"Client '{twice}' occurs twice.")

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {client: i for i, client in enumerate(self._ids)}

    def __len__(self) -> int:
        return len(self._ids)

    def name(self, index: int) -> str:
        return self._ids[index]

    def position(self, client: str) -> int | None:
        return self._positions.get(client)


class Picked(Ids):
    """Some of other ids, in their order; ``positions`` is sorted."""

    def __init__(self, ids: Ids, positions: Indices) -> None:
        self._ids = ids
        self._picked = positions

    def __len__(self) -> int:
        return len(self._picked)

    def name(self, index: int) -> str:
        return self._ids.name(int(self._picked[index]))

    def position(self, client: str) -> int | None:
        at = self._ids.position(client)
        if at is None:
            return None
        found = int(np.searchsorted(self._picked, at))
        return found if found < len(self._picked) and self._picked[found] == at else None
