"""The layout of a model: which named tensor lies where in the flat vector."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Role = Literal["trained", "buffer", "frozen"]
"""What an entry is for: ``trained``: steps change it, and methods average it; ``buffer``: the model itself changes it
(running means, counters); ``frozen``: nothing changes it, so it is not part of any update."""
ROLES: tuple[Role, ...] = get_args(Role)
"""All of them, in memory order."""
NAMED = 30
"""Names that a sentence lists."""
FLOAT_TYPES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
INTEGER_TYPES = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8}


@dataclass(frozen=True, slots=True)
class Entry:
    """One named tensor of a model."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role = "trained"

    @property
    def trainable(self) -> bool:
        """Whether steps change it."""
        return self.role == "trained"

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

    The order of ``entries`` is the order in memory: trained floats, then float buffers, then frozen floats; integers
    lie in a vector of their own, the counters, buffers before frozen ones. Build one with :meth:`of`, which puts
    entries into that order.
    """

    entries: tuple[Entry, ...]

    def __repr__(self) -> str:
        return f"<Spec: {len(self.entries)} tensors, {self.trainable:,} of {self.floats:,} numbers trained>"

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Spec:
        """Sort entries into memory order (stable) and check them.

        Raises:
            ValueError: a name twice, an unknown type or role, or an integer entry that claims to be trainable.
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
            if entry.role not in ROLES:
                raise ValueError(f"Tensor '{entry.name}' has the role {entry.role!r}; there are {', '.join(ROLES)}.")
            if entry.trainable and not entry.is_float:
                raise ValueError(f"Tensor '{entry.name}' is {entry.dtype} and so cannot be trainable.")
            seen.add(entry.name)
        return cls(tuple(sorted(listed, key=lambda e: (not e.is_float, ROLES.index(e.role)))))

    @classmethod
    def read(cls, layout: str) -> Spec:
        """The spec that :attr:`layout` describes.

        Raises:
            ValueError: the text describes none, or an earlier version of Fogline wrote it.
        """
        try:
            listed: list[tuple[str, list[int], str, Any]] = [tuple(entry) for entry in json.loads(layout)]
            entries = [Entry(name, tuple(shape), dtype, role) for name, shape, dtype, role in listed]
        except (TypeError, ValueError) as error:
            raise ValueError(f"The layout of the model cannot be read: {error}.") from error
        if any(isinstance(role, bool) for *_, role in listed):
            raise ValueError(
                "The layout of the model is of an earlier version of Fogline, which did not tell frozen entries from "
                "buffers; train the model again, or read it with the version that wrote it."
            )
        return cls.of(entries)

    @cached_property
    def layout(self) -> str:
        """The spec as JSON: a list of [name, shape, type, role]."""
        return json.dumps([[e.name, list(e.shape), e.dtype, e.role] for e in self.entries], separators=(",", ":"))

    def check_same(self, wanted: Spec) -> None:
        """Refuse this model where others have one of another layout.

        Raises:
            ValueError: a sentence that names the first entry which is not the same in both.
        """
        if self.entries == wanted.entries:
            return
        own, others = ({e.name: e for e in spec.entries} for spec in (self, wanted))
        name = next((n for n in [*others, *own] if own.get(n) != others.get(n)), self.entries[0].name)
        here, there = own.get(name), others.get(name)
        raise ValueError(
            f"The task makes another model here than at the root of the tree: '{name}' is "
            f"{_described(here)} here and {_described(there)} there; data sets or parameters of the task differ"
        )

    @cached_property
    def trained_names(self) -> list[str]:
        """Names of the entries that train, in order."""
        return [entry.name for entry in self.entries if entry.trainable]

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

    def matching(self, patterns: Iterable[str]) -> list[str]:
        """Names of the entries that one of the patterns fits (``"head.*"``), in memory order.

        Raises:
            ValueError: a pattern fits none; the sentence says what there is.
        """
        names, found = [entry.name for entry in self.entries], set[str]()
        for pattern in patterns:
            fits = [name for name in names if fnmatchcase(name, pattern)]
            if not fits:
                raise ValueError(f"no entry of the model is called '{pattern}'; there are {_listed(names)}")
            found.update(fits)
        return [name for name in names if name in found]

    @property
    def last_layer(self) -> list[str]:
        """Names of the entries of the last layer that trains; those of a layer differ behind the last dot only."""
        return self.last_layers(1)

    def last_layers(self, count: int) -> list[str]:
        """Names of the entries of so many of the last layers that train."""
        layers = list(dict.fromkeys(map(layer_of, self.trained_names)))
        return [entry.name for entry in self.entries if layer_of(entry.name) in layers[-count:]]

    def places(self, names: Iterable[str]) -> npt.NDArray[np.int64]:
        """Places (n,) of what trains of those entries in the vector."""
        asked = set(names)
        found = [np.arange(self.trainable)[self.slices[name]] for name in self.trained_names if name in asked]
        return np.concatenate([np.zeros(0, np.int64), *found])

    @cached_property
    def digest(self) -> str:
        """sha256 of the layout, in hex: two models with the same digest can be added."""
        return hashlib.sha256(self.layout.encode()).hexdigest()


def layer_of(name: str) -> str:
    """The layer that an entry belongs to: its name up to the last dot; an entry without one is a layer of its own."""
    return name.rpartition(".")[0] or name


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _described(entry: Entry | None) -> str:
    return "missing" if entry is None else f"{entry.dtype} {list(entry.shape)}, {entry.role},"
