"""Small whole numbers in as many bits as they need: the lowest bits of all, then the next ones of all, and so on.

Numbers of eight bits stay as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fogline.codecs.payload import Bytes

Small = npt.NDArray[np.uint8]
"""Whole numbers below 2 to the power of their bits."""


def packed_size(count: int, bits: int) -> int:
    """Bytes of so many numbers."""
    return count if bits == 8 else bits * -(-count // 8)


def pack(numbers: Small, bits: int) -> Bytes:
    """Numbers (n,), packed (:func:`packed_size`,)."""
    if bits == 8:
        return numbers
    planes = np.empty((bits, -(-numbers.size // 8)), np.uint8)
    for place, plane in enumerate(planes):
        plane[:] = np.packbits(numbers & np.uint8(1 << place))  # Whatever is not zero is a one.
    return planes.reshape(-1)


def unpack(packed: Bytes, count: int, bits: int) -> Small:
    """The first ``count`` numbers of what :meth:`pack` made."""
    if bits == 8:
        return packed
    numbers = np.zeros(count, np.uint8)
    for place, plane in enumerate(packed.reshape(bits, -1)):
        numbers |= np.unpackbits(plane, count=count) << np.uint8(place)
    return numbers
