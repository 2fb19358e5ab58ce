"""How updates become integers that can be summed under masks, and their sum the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fogline.aggregation import Update
from fogline.exchanges.base import ExchangeError
from fogline.exchanges.secagg.layout import Layout
from fogline.exchanges.secagg.settings import SecAggSettings
from fogline.params import Vector
from fogline.privacy.agreement import derive
from fogline.privacy.distributed import Grid, GridError
from fogline.privacy.masks import Integers, Stream
from fogline.privacy.noise.source import Source
from fogline.privacy.ring import Ring


class SumCode(Protocol):
    """Of the updates of one layout, in a round of so many members."""

    @property
    def kind(self) -> np.dtype[np.signedinteger[Any]]:
        """Type of its numbers."""
        ...

    def encode(self, update: Update, seed: bytes) -> tuple[Integers, Integers]:
        """The vectors, (size,) of that type, and the tail, (tail,) int64, of :class:`Layout`.

        Args:
            update: one that was checked.
            seed: of all chance in it, the device's own.

        Raises:
            ExchangeError: there is no room for it.
        """
        ...

    def decode(self, numbers: Integers, tail: Integers, members: int) -> Update:
        """The mean of that many members' updates, with their summed weights.

        Raises:
            ExchangeError: it cannot be their sum.
            RingError: likewise.
        """
        ...


def code_of(settings: SecAggSettings, layout: Layout, members: int, context: bytes = b"") -> SumCode:
    """The code of a round; ``context`` may be left out where nothing is encoded.

    Raises:
        ExchangeError: it has no room for so many.
    """
    if settings.private is None:
        return WeightedCode(layout, settings.ring(members), context)
    try:
        grid = Grid(settings.private, layout.size, members, settings.bits)
    except GridError as error:
        raise ExchangeError(str(error)) from error
    return PrivateCode(layout, grid, context)


@dataclass(frozen=True)
class WeightedCode:
    """Numbers times their weights, each rounded up or down by chance."""

    layout: Layout
    ring: Ring
    context: bytes

    @property
    def kind(self) -> np.dtype[np.signedinteger[Any]]:
        return self.ring.kind

    def encode(self, update: Update, seed: bytes) -> tuple[Integers, Integers]:
        return self.layout.encode(update, self.ring, Stream(derive(seed, "rounding", self.context)))

    def decode(self, numbers: Integers, tail: Integers, members: int) -> Update:
        return self.layout.decode(numbers, tail, self.ring, members)


@dataclass(frozen=True)
class PrivateCode:
    """All vectors as one, clipped, rounded to a grid, and with a share of the noise: see
    :mod:`fogline.privacy.distributed`. All weigh the same, as a weight would give something away."""

    layout: Layout
    grid: Grid
    context: bytes

    @property
    def kind(self) -> np.dtype[np.signedinteger[Any]]:
        return np.dtype(f"<i{self.grid.bits // 8}")

    def encode(self, update: Update, seed: bytes) -> tuple[Integers, Integers]:
        whole = np.concatenate([update.vectors[name] for name in self.layout.names])
        chance = (Source(derive(seed, purpose, self.context)) for purpose in ("rounding", "noise"))
        numbers = self.grid.encode(whole, self._rotation(), *chance)
        return numbers.astype(self.kind), self.layout.tail_of(update, self.grid.members)

    def decode(self, numbers: Integers, tail: Integers, members: int) -> Update:
        summed = self.layout.weights_of(tail, members)
        if any(weight != members for weight in summed):
            raise ExchangeError("The sum does not come out: a device weighs more or less than others.")
        try:
            sums = self.grid.decode(numbers, self._rotation(), members)
        except GridError as error:
            raise ExchangeError(str(error)) from error
        vectors, low = dict[str, Vector](), 0
        for name, size, kind in zip(self.layout.names, self.layout.sizes, self.layout.kinds, strict=True):
            vectors[name], low = (sums[low : low + size] / members).astype(kind), low + size
        return Update(vectors, dict.fromkeys(vectors, float(members)), count=members)

    def _rotation(self) -> Source:
        return Source(derive(self.context, "rotation"))
