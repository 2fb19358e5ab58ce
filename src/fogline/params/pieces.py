"""Named arrays in a safetensors file, read and written piece by piece: memory does not grow with the model."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.params.files import KINDS, places

ORDER = ("BOOL", "U8", "I8", "I16", "F16", "I32", "F32", "F64", "I64")
"""How safetensors sorts arrays in a file, the last first, and those of a type by name: the header's length hangs on
it."""


@dataclass(frozen=True, slots=True)
class Extent:
    """One flat array: its type and how many numbers it has."""

    dtype: np.dtype[Any]
    count: int


class ArrayFile:
    """Reads pieces of the arrays in a file.

    Raises:
        ValueError: the file is no safetensors file, or holds a type that arrays cannot have.
    """

    def __init__(self, path: Path) -> None:
        entries = places(path)
        self._path = path
        self._starts = {name: place.start for name, place in entries.items()}
        self.extents = {name: Extent(place.dtype, math.prod(place.shape)) for name, place in entries.items()}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """The numbers from ``start`` up to ``stop`` (the end, if None)."""
        extent = self.extents[name]
        kind, stop = extent.dtype, extent.count if stop is None else stop
        offset = self._starts[name] + start * kind.itemsize
        return np.fromfile(self._path, kind, stop - start, offset=offset)


class ArrayWriter:
    """Writes pieces of arrays into a new file, in any order; what is not written is zero.

    Args:
        path: the file.
        extents: all its arrays.
    """

    def __init__(self, path: Path, extents: Mapping[str, Extent]) -> None:
        text, self._starts, offset = _header(extents)
        self._base = 8 + len(text)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.pwrite(self._file, len(text).to_bytes(8, "little") + text, 0)
        os.ftruncate(self._file, self._base + offset)

    def close(self) -> None:
        """Close the file: nothing more is written to it."""
        os.close(self._file)

    def write(self, name: str, start: int, values: npt.NDArray[Any]) -> None:
        """Put numbers from ``start`` on."""
        place = self._base + self._starts[name] + start * values.itemsize
        view = memoryview(np.ascontiguousarray(values).data).cast("B")
        while view:
            done = os.pwrite(self._file, view, place)
            view, place = view[done:], place + done


def file_size(extents: Mapping[str, Extent]) -> int:
    """Bytes of a file that holds such arrays: its header, and their numbers."""
    text, _, length = _header(extents)
    return 8 + len(text) + length


def _header(extents: Mapping[str, Extent]) -> tuple[bytes, dict[str, int], int]:
    """The header of a file of such arrays, where each of them begins behind it, and their bytes in all."""
    header: dict[str, Any] = {}
    starts: dict[str, int] = {}
    offset = 0
    for name in sorted(extents, key=lambda name: (-ORDER.index(_CODES[extents[name].dtype]), name)):
        extent = extents[name]
        size = extent.dtype.itemsize * extent.count
        place = [offset, offset + size]
        header[name] = {"dtype": _CODES[extent.dtype], "shape": [extent.count], "data_offsets": place}
        starts[name] = offset
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8), starts, offset


_CODES = {kind: code for code, kind in KINDS.items()}
