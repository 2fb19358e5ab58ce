"""The difference of two arrays, to the bit: whatever their numbers mean, NaN and infinities included.

Floating-point numbers that lie close together have bit patterns that lie close together as integers. The pattern of
the base is subtracted as an integer; the sign goes to the lowest bit, so that small differences of either sign have
zeros on top; and the bytes are ordered by significance, so that these zeros lie together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.codecs import planes
from fogline.codecs.payload import Bytes, Streams


def encode(base: npt.NDArray[Any], target: npt.NDArray[Any]) -> list[Bytes]:
    """The streams that lead from one flat array to another of its length and type."""
    difference = _pattern(target) - _pattern(base)
    signed = difference.view(f"i{difference.itemsize}")
    return planes.split((difference << 1) ^ (signed >> (8 * signed.itemsize - 1)).view(difference.dtype))


def apply(base: npt.NDArray[Any], streams: Streams) -> npt.NDArray[Any]:
    """The array that the streams lead to.

    Raises:
        DeltaError: they do not fit the base.
    """
    pattern = _pattern(base)
    coded = planes.join(streams, pattern.dtype, pattern.size)
    return (pattern + ((coded >> 1) ^ -(coded & 1))).view(base.dtype)


def _pattern(array: npt.NDArray[Any]) -> npt.NDArray[np.unsignedinteger[Any]]:
    return array.view(f"u{array.itemsize}")
