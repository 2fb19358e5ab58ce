"""Vectors in memory that a process shares with the workers it forked."""

from __future__ import annotations

import mmap
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

ALIGNMENT = 64


class SharedArray(msgspec.Struct, frozen=True, array_like=True):
    """Where an array lies in an arena."""

    offset: int
    count: int
    dtype: str


class Arena:
    """A region of memory into which arrays are written one after the other.

    Only pages that were written take memory, so an arena may be made larger than will be needed. It must
    be made before the workers are forked.
    """

    def __init__(self, size: int) -> None:
        self._memory = mmap.mmap(-1, size)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        self._first = self._bytes.ctypes.data
        self._end = 0

    def clear(self) -> None:
        """Begin again at the front; what was written is overwritten by what comes."""
        self._end = 0

    def put(self, array: npt.NDArray[Any]) -> SharedArray:
        """Copy an array in, unless it lies here already.

        Raises:
            MemoryError: the arena is full.
        """
        offset = array.ctypes.data - self._first
        if 0 <= offset < self._end and array.flags.c_contiguous:
            return SharedArray(offset, array.size, array.dtype.str)
        room = self.take(array.size, array.dtype)
        room[:] = array
        return SharedArray(self._end - room.nbytes, array.size, array.dtype.str)

    def take(self, count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Memory for so many numbers, with arbitrary content: (count,).

        Raises:
            MemoryError: the arena is full.
        """
        kind = np.dtype(dtype)
        start = -(-self._end // ALIGNMENT) * ALIGNMENT
        stop = start + count * kind.itemsize
        if stop > self._bytes.size:
            raise MemoryError(
                f"A worker's results need more than {self._bytes.size >> 20} MiB of shared memory at once; train "
                "fewer devices together (chunk=...) or without workers (processes=0)."
            )
        self._end = stop
        return self._bytes[start:stop].view(kind)

    def get(self, place: SharedArray) -> npt.NDArray[Any]:
        """The array at a place, without a copy: it changes when the place is written again."""
        dtype = np.dtype(place.dtype)
        return self._bytes[place.offset : place.offset + place.count * dtype.itemsize].view(dtype)
