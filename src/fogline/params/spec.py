"""The layout of a model: which named tensor lies where in the flat vector."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

FLOAT_TYPES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
INTEGER_TYPES = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8}


@dataclass(frozen=True, slots=True)
class Entry:
    """One named tensor of a model."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool = True

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether it lies in the floating-point vector (else in the counters)."""
        return self.dtype in FLOAT_TYPES

    @property
    def bytes(self) -> int:
        """Its size in bytes, in its own type."""
        return self.count * (FLOAT_TYPES | INTEGER_TYPES)[self.dtype]


@dataclass(frozen=True)
class Spec:
    """Names, shapes, types and offsets of a model.

    The order of ``entries`` is the order in memory: trainable floats, then float buffers, then integers.
    Build one with :meth:`of`, which puts entries into that order.
    """

    entries: tuple[Entry, ...]

    def __repr__(self) -> str:
        return f"<Spec: {len(self.entries)} tensors, {self.trainable:,} of {self.floats:,} numbers trained>"

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Spec:
        """Sort entries into memory order (stable) and check them.

        Raises:
            ValueError: a name twice, an unknown type, or an integer entry that claims to be trainable.
        """
        listed = list(entries)
        seen: set[str] = set()
        for entry in listed:
            if entry.name in seen:
                raise ValueError(f"The model has two tensors named '{entry.name}'; names must be unique.")
            if entry.dtype not in FLOAT_TYPES and entry.dtype not in INTEGER_TYPES:
                raise ValueError(
                    f"Tensor '{entry.name}' has type {entry.dtype}; supported are "
                    f"{', '.join([*FLOAT_TYPES, *INTEGER_TYPES])}."
                )
            if entry.trainable and not entry.is_float:
                raise ValueError(f"Tensor '{entry.name}' is {entry.dtype} and so cannot be trainable.")
            seen.add(entry.name)
        return cls(tuple(sorted(listed, key=lambda e: (not e.is_float, not e.trainable))))

    @classmethod
    def read(cls, layout: str) -> Spec:
        """The spec that :attr:`layout` describes.

        Raises:
            ValueError: the text describes none.
        """
        try:
            listed = [
                Entry(name, tuple(shape), dtype, trainable) for name, shape, dtype, trainable in json.loads(layout)
            ]
        except (TypeError, ValueError) as error:
            raise ValueError(f"The layout of the model cannot be read: {error}.") from error
        return cls.of(listed)

    @cached_property
    def layout(self) -> str:
        """The spec as JSON: a list of [name, shape, type, trainable]."""
        return json.dumps([[e.name, list(e.shape), e.dtype, e.trainable] for e in self.entries], separators=(",", ":"))

    @cached_property
    def trainable(self) -> int:
        """How many numbers are trained: they are the head ``vector[:trainable]``."""
        return sum(e.count for e in self.entries if e.trainable)

    @cached_property
    def floats(self) -> int:
        """Length of the floating-point vector."""
        return sum(e.count for e in self.entries if e.is_float)

    @cached_property
    def integers(self) -> int:
        """Length of the counters' vector: how many integers the model holds."""
        return sum(e.count for e in self.entries if not e.is_float)

    @cached_property
    def dtype(self) -> np.dtype[np.floating]:
        """Type of the vector: float32, or float64 if any entry is float64."""
        return np.dtype(np.float64 if any(e.dtype == "float64" for e in self.entries) else np.float32)

    @cached_property
    def bytes(self) -> int:
        """Size of the model in bytes, each tensor in its own type."""
        return sum(e.bytes for e in self.entries)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Name to slice: of the vector for a float entry, of the counters for an integer one."""
        places: dict[str, slice] = {}
        offsets = {True: 0, False: 0}
        for entry in self.entries:
            start = offsets[entry.is_float]
            places[entry.name] = slice(start, start + entry.count)
            offsets[entry.is_float] = start + entry.count
        return places

    @cached_property
    def digest(self) -> str:
        """sha256 of the layout, in hex: two models with the same digest can be added."""
        return hashlib.sha256(self.layout.encode()).hexdigest()
