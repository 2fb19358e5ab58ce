"""Inputs that are one array, or several: a tuple (the module's arguments) or a dict (its arguments by name).

What is said here of arrays holds for tensors as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Inputs = Array | tuple[Array, ...] | dict[str, Array]
"""Every array (n, ...) has one row for each example."""

One = TypeVar("One")
Other = TypeVar("Other")


def mapped(change: Callable[[One], Other], x: One | tuple[One, ...] | dict[str, One]) -> Any:
    """The same with every array changed."""
    if isinstance(x, tuple):
        return tuple(change(part) for part in x)
    if isinstance(x, dict):
        return {name: change(part) for name, part in x.items()}
    return change(x)


def arrays_of(x: Any) -> list[Any]:
    """The arrays of an input, in order."""
    if isinstance(x, tuple):
        return list(x)
    return list(x.values()) if isinstance(x, dict) else [x]


def named(x: Any, name: str = "x") -> dict[str, Any]:
    """Its arrays, by what to call them in a sentence."""
    if isinstance(x, tuple):
        return {f"{name}[{place}]": part for place, part in enumerate(x)}
    if isinstance(x, Mapping):
        return {f"{name}['{key}']": part for key, part in x.items()}
    return {name: x}


def rows(x: Any, which: Any) -> Any:
    """The same with some of the examples: a slice, or places (k,)."""
    return mapped(lambda part: part[which], x)


def count(x: Any) -> int:
    """How many examples the input holds: the length of its first axis."""
    return len(arrays_of(x)[0])


def nbytes(x: Inputs) -> int:
    """Bytes of all arrays."""
    return sum(part.nbytes for part in arrays_of(x))


def shown(x: Any) -> str:
    """Shapes and types, for a sentence: ``float32 (20, 5)``."""
    parts = {name: f"{part.dtype} {tuple(part.shape)}".removeprefix("torch.") for name, part in named(x).items()}
    return next(iter(parts.values())) if list(parts) == ["x"] else ", ".join(f"{n} {of}" for n, of in parts.items())


def joined(parts: list[Any]) -> Any:
    """One after the other; all are made of the same arrays."""
    first = parts[0]
    if isinstance(first, tuple):
        return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
    if isinstance(first, dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in first}
    return np.concatenate(parts)
