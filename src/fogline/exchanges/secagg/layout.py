"""The numbers of an update in a fixed order, so that those of many devices can be summed without their names."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from fogline.aggregation import Update, is_per_number
from fogline.aggregation.update import float_type
from fogline.decoding import UNREADABLE
from fogline.exchanges.base import ExchangeError
from fogline.exchanges.secagg.settings import SecAggSettings
from fogline.params import Counters, Vector
from fogline.privacy.masks import Integers, Stream
from fogline.privacy.ring import LEAST_WEIGHT, LEVELS, WEIGHT_UNIT, Ring
from fogline.stages import StageError
from fogline.stages.linear import lengths
from fogline.user_code.bugs import CodeError

LONGEST = 1 << 20
"""Bytes of a layout's text at most."""
HEAD = 2
"""Whole numbers before the counters."""
MOST_DEVICES = 1 << 32
"""For which one member speaks, at most."""


class Layout(msgspec.Struct, frozen=True):
    """Names, sizes and types of an update's vectors, and how many counters it has: no secret, and for all the same."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    kinds: tuple[str, ...]
    counters: int
    code: bytes = b""
    """Where the vectors are the numbers of a linear code: all else of it."""

    @classmethod
    def of(cls, update: Update) -> Layout:
        """That of an update."""
        names = tuple(sorted(update.vectors))
        vectors = [update.vectors[name] for name in names]
        kinds = tuple(float_type(vector).str for vector in vectors)
        return cls(names, tuple(vector.size for vector in vectors), kinds, update.counters.size, update.code)

    @classmethod
    def read(cls, text: bytes) -> Layout:
        """That of a text.

        Raises:
            ExchangeError: it is none.
        """
        try:
            layout = msgspec.json.decode(text, type=cls)
        except UNREADABLE as error:
            raise ExchangeError(f"It sends no layout of an update: {error}.") from None
        parts = (layout.names, layout.sizes, layout.kinds)
        right = len({len(part) for part in parts}) == 1 and layout.counters >= 0 and min(layout.sizes, default=0) >= 0
        if not right or {*layout.kinds} - {"<f4", "<f8"} or list(layout.names) != sorted({*layout.names}):
            raise ExchangeError("It sends a layout that no update has.")
        return layout

    @property
    def text(self) -> bytes:
        """What :meth:`read` reads; that of two equal layouts is the same."""
        return msgspec.json.encode(self)

    @property
    def size(self) -> int:
        """Numbers of all vectors."""
        return sum(self.sizes)

    @property
    def tail(self) -> int:
        """Whole numbers beside them: one for the member, its devices, the counters, and the weights."""
        return HEAD + self.counters + len(self.names)

    @property
    def form(self) -> tuple[Any, ...]:
        """Shapes of counters and vectors, as an exchange says them; of a code, those of what it is of.

        Raises:
            ExchangeError: the code cannot be read.
        """
        sizes = dict(zip(self.names, self.sizes, strict=True))
        try:
            sizes |= lengths(self.code) if self.code else {}
        except StageError as error:
            raise ExchangeError(str(error)) from error
        return ((self.counters,), *(part for name, size in sizes.items() for part in (name, (size,))))

    def encode(self, update: Update, ring: Ring, noise: Stream) -> tuple[Integers, Integers]:
        """The vectors times their weights, (size,) in the ring, and the tail, (tail,) int64.

        Args:
            update: one that was :func:`checked`.
            ring: to sum it in.
            noise: decides which numbers are rounded up.

        Raises:
            ExchangeError: a counter has no room.
        """
        numbers, low = np.empty(self.size, ring.kind), 0
        for name, size in zip(self.names, self.sizes, strict=True):
            ring.encode(update.vectors[name], float(update.weights[name]), noise, numbers[low : low + size])
            low += size
        return numbers, self.tail_of(update, ring.members)

    def tail_of(self, update: Update, members: int) -> Integers:
        """The tail of one, (tail,) int64.

        Raises:
            ExchangeError: a counter has no room in the sum of so many.
        """
        weights = [round(float(update.weights[name]) / WEIGHT_UNIT) for name in self.names]
        most = 2**62 // members
        if update.counters.size and int(np.abs(update.counters).max()) > most:
            raise ExchangeError(f"A counter of the model is beyond {most}, for which a sum has no room.")
        return np.array([1, update.count, *update.counters.tolist(), *weights], np.int64)

    def weights_of(self, tail: Integers, members: int) -> list[float]:
        """The summed weights of that many members, in the order of the names.

        Raises:
            ExchangeError: so many are not in it.
        """
        if int(tail[0]) != members or int(tail[1]) < members:
            raise ExchangeError("The sum does not come out: a device has sent something else than its masked update.")
        return (tail[HEAD + self.counters :] * WEIGHT_UNIT).tolist()

    def decode(self, numbers: Integers, tail: Integers, ring: Ring, members: int) -> Update:
        """The mean of that many members' updates, with their summed weights and devices.

        Raises:
            ExchangeError: it cannot be their sum, or the ring is too coarse for their mean.
            RingError: likewise.
        """
        summed, sums, devices = self.weights_of(tail, members), ring.decode(numbers, members), int(tail[1])
        vectors, weights, low = dict[str, Vector](), dict[str, float](), 0
        for name, size, kind, weight in zip(self.names, self.sizes, self.kinds, summed, strict=True):
            if not 0.0 <= weight <= members * ring.weight:
                raise ExchangeError(f"The weights of '{name}' come to more than they can, or to less than none.")
            if 0.0 < weight * ring.clip * ring.scale < LEVELS:
                raise ExchangeError(
                    f"The weights of '{name}' come to so little that with steps for weights of up to {ring.weight:g} "
                    "hardly anything is left of their mean; lower 'weight' of the exchange to what the heaviest has, "
                    "or take bits=64."
                )
            part = sums[low : low + size]
            vectors[name] = (part / weight if weight else np.zeros(size)).astype(kind)
            weights[name], low = weight, low + size
        counters = _mean(tail[HEAD : HEAD + self.counters], members)
        return Update(vectors, dict(weights), counters, devices, code=self.code)


def checked(update: Update, settings: SecAggSettings) -> Update:
    """An update that a sum can take.

    Raises:
        ExchangeError: it speaks for nobody, is not finite, or has numbers or weights that are out of range.
        CodeError: the method gives a vector a weight for each number, on this device and on all others.
    """
    if not 1 <= update.count <= MOST_DEVICES:
        raise ExchangeError(f"The update speaks for {update.count} devices, and must for 1 to {MOST_DEVICES}.")
    for name, vector in update.vectors.items():
        weight = update.weights[name]
        if is_per_number(weight):
            raise CodeError(
                f"The vector '{name}' has a weight for each number, which secure aggregation does not sum; take "
                "another algorithm, or no exchange."
            )
        if vector.ndim != 1 or not math.isfinite(weight) or weight < 0.0 or not np.isfinite(vector).all():
            raise ExchangeError(f"The vector '{name}' or its weight is not finite, or is no vector.")
        if settings.private is None:
            _check_range(name, vector, weight, settings)
        elif weight != 1.0:
            raise ExchangeError(f"The vector '{name}' has a weight of its own, which would give something away.")
    if settings.private is not None and update.counters.size:
        raise ExchangeError("The model has counters, which no noise covers.")
    return update


def _check_range(name: str, vector: Vector, weight: float, settings: SecAggSettings) -> None:
    """The aggregator reads why a device failed: so that of a weight nothing is said, and of numbers two digits of the
    largest, without which nobody would know what to set."""
    if weight > settings.weight:
        raise ExchangeError(
            f"This node's weight of '{name}' is above {settings.weight:g}, the most that a sum has room for; set "
            "'weight' of the exchange to what the heaviest has."
        )
    if 0.0 < weight < LEAST_WEIGHT:
        raise ExchangeError(
            f"This node's weight of '{name}' is below {LEAST_WEIGHT:.1g} and would be lost in rounding; let the "
            "method weigh in larger numbers, such as examples."
        )
    largest = float(np.abs(vector).max(initial=0.0))
    if largest > settings.clip:
        raise ExchangeError(
            f"This node's vector '{name}' has numbers of up to about {largest:.2g}, and the range of the exchange "
            f"ends at {settings.clip:g}; raise 'clip' of the exchange above that, with bits=64 so that small numbers "
            "stay precise."
        )


def _mean(total: npt.NDArray[np.int64], members: int) -> Counters:
    """Of counters: of each only the sum is known, and not the largest."""
    return (total + members // 2) // members
