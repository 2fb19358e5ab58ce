"""What one client holds, and the checks that every set of examples passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from fogline.data.arrays import plain, read, straight, text_of
from fogline.data.inputs import Array, Inputs, mapped, named, rows
from fogline.data.meaning import Meaning

Indices = npt.NDArray[np.int64]

_CHUNK = 1 << 22
"""Numbers looked at in one go when an array cannot be checked in place."""


class Examples(NamedTuple):
    """Inputs and what should come out of them; the leading axis of all arrays counts the examples.

    ``x`` (n, ...): images (n, channels, height, width), series (n, channels, time), tables (n, features),
    texts (n, length) int64; several arrays are a tuple, the arguments of the model, or a dict, its arguments by name.
    ``y``: class labels (n,) or (n, ...) int64, soft labels (n, classes, ...) float32, or regression targets (n,) or
    (n, k) float32.
    """

    x: Inputs
    y: Array

    def __repr__(self) -> str:
        return f"Examples(x={_shown(self.x)}, y={_shown(self.y)})"

    @property
    def count(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """How many examples there are. (``len`` of a named tuple would be 2.)"""
        return len(self.y)

    @property
    def array(self) -> Array:
        """``x``, where it is one array.

        Raises:
            ValueError: it is several.
        """
        if isinstance(self.x, np.ndarray):
            return self.x
        raise ValueError(f"The inputs are several arrays ({', '.join(named(self.x))}); here they must be one.")

    def part(self, which: slice | Indices) -> Examples:
        """The examples at these places, as examples of their own."""
        return Examples(rows(self.x, which), self.y[which])


def tidy(x: Any, y: Any, meaning: Meaning, where: str) -> Examples:
    """Bring ``x`` and ``y`` to the types that training wants: float32 for numbers, int64 for labels.

    Integer ``x`` (pixels, characters) stays as it is. Nothing is copied that fits already.

    Raises:
        ValueError: there are no numbers in it, lengths differ, there is no leading axis, or labels are not whole.
    """
    x = dict(cast("Mapping[str, Any]", x)) if isinstance(x, Mapping) else x
    parts = {name: plain(part, f"{where}: {name}") for name, part in named(x).items()}
    target = _numbered(read(y, f"{where}: y"), meaning)
    if any(part.ndim == 0 or target.ndim == 0 or len(part) != len(target) for part in parts.values()):
        shapes = ", ".join(f"{name} has shape {part.shape}" for name, part in parts.items())
        raise ValueError(f"{where}: {shapes} and y has shape {target.shape}; both must count the same examples.")
    if any(part.dtype.kind not in "fiub" for part in (*parts.values(), target)):
        kinds = ", ".join(f"{name} is {part.dtype}" for name, part in parts.items())
        raise ValueError(f"{where}: {kinds} and y is {target.dtype}; both must be numbers.{_hint(target, meaning)}")
    left = iter(parts.values())
    return Examples(mapped(lambda _: next(left), x), _targets(target, meaning.classes, where))


def _numbered(y: Array, meaning: Meaning) -> Array:
    """Labels that are the classes' names, as numbers."""
    names = meaning.class_names
    if names is None or not text_of(y):
        return y
    place = {name: number for number, name in enumerate(names)}
    if not all(str(label) in place for label in y.flat):
        return y
    return np.array([place[str(label)] for label in y.flat], np.int64).reshape(y.shape)


def _hint(y: Array, meaning: Meaning) -> str:
    if not text_of(y):
        return " Convert them, as with x.astype(np.float32)."
    known = meaning.class_names
    if known is None:
        return " Labels that are text need their names: meaning=Meaning(classes, class_names=(...))."
    return f" The class names are {', '.join(known)}."


def _targets(y: Array, classes: int | None, where: str) -> Array:
    if classes is None:
        return straight(y.astype(np.float32, copy=False))
    if y.dtype.kind != "f":
        return straight(y.astype(np.int64, copy=False))
    if y.ndim > 1 and y.shape[1] == classes and y.size and (y >= 0).all() and np.allclose(y.sum(1), 1, atol=1e-3):
        return straight(y.astype(np.float32, copy=False))
    raise ValueError(
        f"{where}: class labels must be whole numbers 0..{classes - 1}, not {y.dtype}. (Soft labels are shares "
        f"(n, {classes}) that add up to 1.)"
    )


def first_bad_label(y: Array, meaning: Meaning, rows: Indices | None = None) -> int | None:
    """Position (within ``rows`` if given) of the first example with a label that is no class.

    Labels that may mark a target without a truth pass: see ``Meaning.untold``.
    """
    bad = _bad(y, meaning)
    if not bad.any():
        return None
    per_example = _any_per_example(bad)
    return _first(per_example if rows is None else per_example[rows])


def _bad(y: Array, meaning: Meaning) -> npt.NDArray[np.bool_]:
    bad = (y < 0) | (y >= (meaning.classes or 0))
    if bad.any():
        bad &= ~np.isin(y, meaning.untold)
    return bad


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


def not_finite(examples: Examples, rows: Indices | None = None) -> tuple[str, int] | None:
    """The name of the first array with a NaN or an infinity, and the position (within ``rows`` if given)."""
    for name, values in (*named(examples.x).items(), ("y", examples.y)):
        row = first_not_finite(values, rows)
        if row is not None:
            return name, row
    return None


def check(examples: Examples, meaning: Meaning, where: str) -> Examples:
    """Refuse an empty set, a NaN or infinity, and a label outside 0..classes-1.

    Raises:
        ValueError: with ``where`` and the row.
    """
    if examples.count == 0:
        raise ValueError(f"{where} has no examples.")
    found = not_finite(examples)
    if found is not None:
        raise ValueError(f"{where}, row {found[1]}: {found[0]} holds a NaN or an infinity.")
    if meaning.classes is not None and examples.y.dtype.kind != "f":
        row = first_bad_label(examples.y, meaning)
        if row is not None:
            raise ValueError(f"{where}, row {row}: {bad_label(examples.y[row], meaning)}")
    return examples


def bad_label(y: Array, meaning: Meaning) -> str:
    """The end of a sentence about a label out of range."""
    values = np.atleast_1d(y)
    wrong, last = values[_bad(values, meaning)][0], (meaning.classes or 0) - 1
    return f"label {wrong} lies outside 0..{last}. (Where it marks what has no truth: Meaning(ignored={wrong}).)"


def _any_per_example(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.asarray(mask.reshape(len(mask), -1).any(axis=1), np.bool_)


def _first(mask: npt.NDArray[np.bool_]) -> int | None:
    position = int(np.argmax(mask)) if len(mask) else 0
    return position if len(mask) and mask[position] else None


def _shown(inputs: Inputs) -> str:
    """Types and shapes instead of numbers."""
    if isinstance(inputs, dict):
        return "{" + ", ".join(f"{name}={_shown(array)}" for name, array in inputs.items()) + "}"
    if isinstance(inputs, tuple):
        return "(" + ", ".join(map(_shown, inputs)) + ")"
    return f"<{inputs.dtype} {inputs.shape}>"
