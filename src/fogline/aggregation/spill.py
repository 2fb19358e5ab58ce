"""Vectors that wait on disk until their round is folded."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import IO

import numpy as np

from fogline.errors import FoglineError
from fogline.params import Vector

LEAST, MOST = 1 << 20, 1 << 28
"""Bytes that the file grows by: as many as it has, within these."""
ALIGNED = 64
"""Where a vector begins, in bytes."""


class SpillError(FoglineError, OSError):
    """There is no room on disk for the updates of a round."""


class Spill:
    """Keeps vectors in a file, and gives each back as one that is read as it is looked at.

    The file lies in the folder for temporary files, has no name there, and is gone with the last of its vectors. It
    grows in stretches, each of which is mapped once: what the system lets a process map is numbered, and there may be
    a million small vectors.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None  # Made with the first vector: most folds keep none.
        self._stretch: mmap.mmap | None = None
        self._start = 0  # of the stretch, in the file
        self._used = 0  # bytes of the stretch

    def __call__(self, vector: Vector) -> Vector:
        """A vector of the same numbers, which can only be read.

        Raises:
            SpillError: the disk is full, or the file cannot be made.
        """
        if not vector.nbytes:
            return vector.copy()
        try:
            stretch = self._stretch_for(vector.nbytes)
            self._write(memoryview(np.ascontiguousarray(vector).data).cast("B"))
        except OSError as error:
            raise SpillError(
                f"The updates of a round wait in {tempfile.gettempdir()}, which cannot take another {vector.nbytes} "
                f"bytes ({error.strerror}); point TMPDIR to a folder with room."
            ) from error
        kept = np.frombuffer(stretch, vector.dtype, vector.size, self._used)
        self._used += -(-vector.nbytes // ALIGNED) * ALIGNED
        return kept

    def _stretch_for(self, wanted: int) -> mmap.mmap:
        """A stretch with so many bytes left."""
        stretch = self._stretch
        if stretch is not None and self._used + wanted <= len(stretch):
            return stretch
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="fogline-", buffering=0)  # noqa: SIM115 - it goes with its vectors
        before = 0 if stretch is None else len(stretch)
        self._start += before
        length = max(wanted, min(max(self._start, LEAST), MOST))
        length = -(-length // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        os.truncate(self._file.fileno(), self._start + length)
        self._stretch = stretch = mmap.mmap(self._file.fileno(), length, access=mmap.ACCESS_READ, offset=self._start)
        self._used = 0
        return stretch

    def _write(self, view: memoryview) -> None:
        """Not through the mapping: where the disk is full, that ends the process without a word."""
        assert self._file is not None
        place = self._start + self._used
        while view:
            done = os.pwrite(self._file.fileno(), view, place)
            view, place = view[done:], place + done
