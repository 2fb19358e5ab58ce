"""Masks: streams of random numbers (ChaCha20, RFC 8439) that are added to vectors in a ring of integers.

Streams are made block by block in the processor's cache, and added there: a mask costs one pass of the cipher and one
addition, and no memory of the vector's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

Integers = npt.NDArray[np.signedinteger[Any]]
BLOCK = 1 << 15
"""Bytes that are made at once."""
TOGETHER = 256
"""Masks that are added to a block together."""
ZEROS = memoryview(bytes(BLOCK))
UNIT = 2.0**-32


class Stream:
    """Random bytes that a key decides; who does not know the key cannot tell them from chance.

    Args:
        key: 32 bytes, for this stream only.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = _encryptor(key)
        self._room = np.empty(BLOCK, np.uint8)

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        """The next bytes, (size,), at most ``BLOCK``; they hold until the next call."""
        self._cipher.update_into(ZEROS[:size], self._room.data)
        return self._room[:size]

    def uniform(self, size: int) -> npt.NDArray[np.float64]:
        """The next numbers in [0, 1), (size,), at most ``BLOCK / 4``; each costs four bytes."""
        return self.take(4 * size).view("<u4") * UNIT


def add_mask(vectors: Sequence[Integers], key: bytes, negative: bool = False) -> None:
    """:func:`add_masks` of one."""
    add_masks(vectors, [(key, negative)])


def add_masks(vectors: Sequence[Integers], masks: Sequence[tuple[bytes, bool]]) -> None:
    """Add masks to vectors of integers (little-endian), in place; they wrap around.

    Args:
        vectors: (n,) each; one after the other they take one stream of each mask.
        masks: of each the key, 32 bytes, and whether it is subtracted.
    """
    room = np.empty(BLOCK, np.uint8)
    for first in range(0, len(masks), TOGETHER):
        # All masks of a block before the next block, which so stays in the cache.
        streams = [
            (_encryptor(key).update_into, np.subtract if negative else np.add)
            for key, negative in masks[first : first + TOGETHER]
        ]
        for vector in vectors:
            step = BLOCK // vector.itemsize
            for low in range(0, vector.size, step):
                part = vector[low : low + step]
                zeros, fresh = ZEROS[: part.nbytes], room[: part.nbytes]
                drawn, numbers = fresh.data, fresh.view(part.dtype)
                for draw, change in streams:
                    draw(zeros, drawn)
                    change(part, numbers, out=part)


def _encryptor(key: bytes) -> CipherContext:
    return Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
