"""What both halves of the exchange compute alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import shake_256

import numpy as np
import numpy.typing as npt

from fogline.exchanges.secagg.settings import SecAggSettings
from fogline.privacy.ckks import rows_of

DEALERS = 3
"""Devices that make a key, of which one is taken: so that the round goes on where one of them goes missing."""
BLOCK = 64
"""Numbers of an update that are encrypted together or not."""
PIECES = 4
"""Words of 16 bits of a number of 64 bits: their sums do not wrap around in 32."""

Flags = npt.NDArray[np.bool_]
Words = npt.NDArray[np.int32]
Tail = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Terms:
    """The parameters of :class:`fogline.exchanges.ckks.Ckks`, where they are described."""

    settings: SecAggSettings
    """What updates must be like, and the ring that they are summed in."""
    readers: int
    share: float
    """Of the blocks of an update, which is encrypted: 1 is the whole."""

    @property
    def whole(self) -> bool:
        """Whether the whole update is encrypted."""
        return self.share >= 1.0

    def chosen(self, size: int) -> int:
        """How many blocks of an update of so many numbers are encrypted."""
        return min(blocks_of(size), math.ceil(self.share * blocks_of(size)))

    def enough(self, agree: int, members: int) -> bool:
        """Whether so many of all were shown the same list: no two lists can be those of more than half."""
        return 2 * agree > members


def dealers_of(context: bytes, members: int) -> list[int]:
    """Who makes keys: by chance, of which every honest member brings some to the context."""
    chance = np.frombuffer(shake_256(b"dealers" + context).digest(8 * members), "<u8")
    return np.argsort(chance, kind="stable")[:DEALERS].tolist()


def parts_of(here: Sequence[int], parts: int, readers: int) -> Mapping[int, list[int]]:
    """Which parts of a sum each member opens, in rising order: each part has so many readers, if there are so many.

    Args:
        here: the members that can.
        parts: how many there are.
        readers: of each.
    """
    tasks: dict[int, list[int]] = {member: [] for member in here}
    count = min(readers, len(here))
    for part in range(parts):
        for place in range(part * count, (part + 1) * count):
            tasks[here[place % len(here)]].append(part)
    return tasks


def blocks_of(size: int) -> int:
    """Blocks of so many numbers."""
    return -(-size // BLOCK)


def magnitudes(numbers: Words) -> Words:
    """The root mean square of each block, (blocks,), rounded."""
    padded = np.zeros(blocks_of(numbers.size) * BLOCK)
    padded[: numbers.size] = numbers
    return np.rint(np.sqrt(np.square(padded).reshape(-1, BLOCK).mean(axis=1))).astype(np.int32)


def largest(magnitudes: Words, count: int) -> Flags:
    """The so many largest, (blocks,); of equal ones the first."""
    flags = np.zeros(magnitudes.size, np.bool_)
    flags[np.argsort(-magnitudes.astype(np.int64), kind="stable")[:count]] = True
    return flags


def of_numbers(blocks: Flags, size: int) -> Flags:
    """Which numbers are in these blocks, (size,)."""
    return np.repeat(blocks, BLOCK)[:size]


def to_words(numbers: Words, tail: npt.NDArray[np.int64]) -> Words:
    """What is encrypted, as words of 32 bits: numbers of the ring, and the tail in pieces."""
    pieces = np.ascontiguousarray(tail, "<i8").view("<u2").astype(np.int32)
    return np.concatenate([numbers, pieces])


def words_in(numbers: int, tail: int) -> int:
    """How many words that makes."""
    return numbers + PIECES * tail


def parts_in(numbers: int, tail: int) -> int:
    """How many ciphertexts that makes."""
    return rows_of(words_in(numbers, tail))


def of_words(words: Words, numbers: int, tail: int) -> tuple[Words, npt.NDArray[np.int64]]:
    """The sums of :func:`to_words` as sums of numbers and tail."""
    pieces = words[numbers : words_in(numbers, tail)].astype(np.int64).reshape(tail, PIECES)
    return words[:numbers], (pieces << (16 * np.arange(PIECES))).sum(axis=1)
