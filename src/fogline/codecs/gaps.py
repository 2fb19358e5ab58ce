"""Where a few of many numbers stand, as Golomb-Rice codes of the gaps between them, in a size that is known beforehand.

A gap is a quotient in unary, and a remainder of so many bits (Golomb, IEEE Transactions on Information Theory 12, 1966;
Rice, JPL 79-22, 1979). The remainders of all come first and the quotients follow, so that both are read at once. With
no bits of remainder that is a bitmap. There is room for what places drawn at random take on average (Sattler et al.,
arXiv 1903.02891, equation 17). Places in clusters take up to a tenth more: then some of the numbers must stay away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from fogline.codecs.payload import Bytes
from fogline.codecs.sparse import Positions

_WIDEST = 40
"""Bits of a remainder at most: it is in the thousands of billions then."""


@dataclass(frozen=True, slots=True)
class GapCode:
    """The code of up to ``most`` places among ``count``."""

    count: int
    most: int
    width: int
    """Bits of a remainder."""
    room: int
    """Bits of the whole code."""

    @classmethod
    def of(cls, count: int, most: int) -> Self:
        """The one that takes the least room."""
        rooms = [_room(count, most, width) for width in range(_WIDEST if 0 < most < count else 1)]
        return cls(count, most, rooms.index(min(rooms)), min(rooms))

    @property
    def size(self) -> int:
        """Bytes of the code."""
        return -(-self.room // 8)

    @property
    def least(self) -> int:
        """How many places have room wherever they are."""
        longest = _longest(self.count, self.most, self.width)
        return self.most - _without(longest - self.room, self.width)

    def fitting(self, positions: Positions, magnitudes: npt.NDArray[np.floating]) -> Positions:
        """Those places that have room, without the numbers of the smallest magnitudes, (n,)."""
        ends = _ends(positions, self.width)
        taken = int(ends[-1]) + 1 + positions.size * self.width if positions.size else 0
        drop = _without(taken - self.room, self.width)
        if not drop:
            return positions
        stays = np.ones(positions.size, bool)
        stays[np.argpartition(magnitudes, drop)[:drop]] = False
        return positions[stays]

    def encode(self, positions: Positions) -> Bytes:
        """The code of rising places that have room, (size,)."""
        bits, start = np.zeros(8 * self.size, np.uint8), positions.size * self.width
        gaps = np.diff(positions, prepend=-1) - 1
        remainders = bits[:start].reshape(positions.size, self.width)
        for place in range(self.width):
            remainders[:, place] = (gaps >> place) & 1
        bits[start + _ends(positions, self.width)] = 1
        return np.packbits(bits)

    def decode(self, code: Bytes, number: int) -> Positions:
        """The places of a code of so many.

        Raises:
            ValueError: it is none.
        """
        if not 0 <= number <= self.most:
            raise ValueError(f"it claims {number} places where {self.most} at most are told")
        bits, start = np.unpackbits(code), number * self.width
        ends = np.flatnonzero(bits[start:])
        if ends.size != number:
            raise ValueError(f"it tells {ends.size} places and claims {number}")
        gaps = (np.diff(ends, prepend=-1) - 1) << self.width
        remainders = bits[:start].reshape(number, self.width)
        for place in range(self.width):
            gaps |= remainders[:, place].astype(np.int64) << place
        positions = np.cumsum(gaps + 1) - 1
        if number and positions[-1] >= self.count:
            raise ValueError(f"it tells a place beyond the end of {self.count} numbers")
        return positions


def _ends(positions: Positions, width: int) -> Positions:
    """Where the quotient of each gap ends, among those of all."""
    gaps = np.diff(positions, prepend=-1) - 1
    return np.cumsum((gaps >> width) + 1) - 1


def _longest(count: int, most: int, width: int) -> int:
    """Bits of a code at most: all gaps together are no longer than the vector."""
    return most * (width + 1) + (count - most >> width)


def _room(count: int, most: int, width: int) -> int:
    longest = _longest(count, most, width)
    if not 0 < most < count:
        return longest
    ending = -math.expm1((1 << width) * math.log1p(-most / count))  # That a quotient goes no further.
    return min(longest, most * width + math.ceil(most / ending))


def _without(excess: int, width: int) -> int:
    """How many places must go, so that so many bits are spared: each spares its remainder at least."""
    return -(-excess // width) if excess > 0 else 0
