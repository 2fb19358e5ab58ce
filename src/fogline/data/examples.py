"""What one client holds, and the checks that every set of examples passes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

_CHUNK = 1 << 22
"""Numbers looked at in one go when an array cannot be checked in place."""


class Examples(NamedTuple):
    """Inputs and what should come out of them; the leading axis of both counts the examples.

    ``x`` (n, ...): images (n, channels, height, width), series (n, channels, time), tables (n, features),
    texts (n, length) int64. ``y``: class labels (n,) or (n, length) int64, or regression targets (n,) or
    (n, k) float32.
    """

    x: Array
    y: Array

    def __repr__(self) -> str:
        return f"Examples(x=<{self.x.dtype} {self.x.shape}>, y=<{self.y.dtype} {self.y.shape}>)"

    @property
    def count(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """How many examples there are. (``len`` of a named tuple would be 2.)"""
        return len(self.y)


def tidy(x: npt.ArrayLike, y: npt.ArrayLike, classes: int | None, where: str) -> Examples:
    """Bring ``x`` and ``y`` to the types that training wants: float32 for numbers, int64 for labels.

    Integer ``x`` (pixels, characters) stays as it is. Nothing is copied that fits already.

    Raises:
        ValueError: lengths differ, there is no leading axis, or labels are not whole numbers.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ValueError(
            f"{where}: x has shape {x.shape} and y has shape {y.shape}; both must count the same examples."
        )
    if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiub":
        raise ValueError(f"{where}: x is {x.dtype} and y is {y.dtype}; both must be numbers.")
    if x.dtype.kind == "f":
        x = x.astype(np.float32, copy=False)
    if classes is None:
        return Examples(x, y.astype(np.float32, copy=False))
    if y.dtype.kind == "f":
        raise ValueError(f"{where}: class labels must be whole numbers 0..{classes - 1}, not {y.dtype}.")
    return Examples(x, y.astype(np.int64, copy=False))


def first_bad_label(y: Array, classes: int, rows: Indices | None = None) -> int | None:
    """Position (within ``rows`` if given) of the first example with a label outside 0..classes-1."""
    bad = (y < 0) | (y >= classes)
    if not bad.any():
        return None
    per_example = _any_per_example(bad)
    return _first(per_example if rows is None else per_example[rows])


def first_not_finite(values: Array, rows: Indices | None = None) -> int | None:
    """Position (within ``rows`` if given) of the first example with a NaN or an infinity."""
    if values.dtype.kind != "f" or values.size == 0:
        return None
    if values.flags.c_contiguous:
        if np.isfinite(values).all():
            return None
        per_example = _any_per_example(~np.isfinite(values))
        return _first(per_example if rows is None else per_example[rows])
    rows = np.arange(len(values), dtype=np.int64) if rows is None else rows
    step = max(1, _CHUNK // max(1, values[0].size))
    for start in range(0, len(rows), step):
        block = values[rows[start : start + step]]
        found = _first(_any_per_example(~np.isfinite(block)))
        if found is not None:
            return start + found
    return None


def check(examples: Examples, classes: int | None, where: str) -> Examples:
    """Refuse an empty set, a NaN or infinity, and a label outside 0..classes-1.

    Raises:
        ValueError: with ``where`` and the row.
    """
    if examples.count == 0:
        raise ValueError(f"{where} has no examples.")
    for part, values in (("x", examples.x), ("y", examples.y)):
        row = first_not_finite(values)
        if row is not None:
            raise ValueError(f"{where}, row {row}: {part} holds a NaN or an infinity.")
    if classes is not None:
        row = first_bad_label(examples.y, classes)
        if row is not None:
            raise ValueError(f"{where}, row {row}: {bad_label(examples.y[row], classes)}")
    return examples


def bad_label(y: Array, classes: int) -> str:
    """The end of a sentence about a label out of range."""
    values = np.atleast_1d(y)
    wrong = values[(values < 0) | (values >= classes)]
    return f"label {wrong[0]} lies outside 0..{classes - 1}."


def _any_per_example(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.asarray(mask.reshape(len(mask), -1).any(axis=1), np.bool_)


def _first(mask: npt.NDArray[np.bool_]) -> int | None:
    position = int(np.argmax(mask)) if len(mask) else 0
    return position if len(mask) and mask[position] else None
