"""Sums under names: what devices answer where they are asked for figures and not for updates.

They add up over devices and aggregators in any order. Every sum is kept as two numbers, the second of which is what the
first has lost in rounding, so that a tree gives what a star gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fogline.aggregation.update import UnusableUpdateError

MOST = 1_000_000
"""Names that sums may have: more are not read."""
LARGEST = 1e300
"""Of a sum that is read: a hundred million of them add up without an overflow."""
NAMES, VALUES = "tally/names", "tally/values"


class _Total:
    """A sum, and what was lost of it."""

    __slots__ = ("high", "low")

    def __init__(self, high: float = 0.0, low: float = 0.0) -> None:
        self.high, self.low = high, low

    def add(self, value: float) -> None:
        """Add a number; what is lost in rounding is kept (Knuth's two-sum)."""
        total = self.high + value
        there = total - self.high
        self.low += (self.high - (total - there)) + (value - there)
        self.high = total

    @property
    def value(self) -> float:
        return self.high + self.low


@dataclass(slots=True)
class SurveySums:
    """Sums by name, and the sums of the parts that are told apart, by the part's name.

    A part is what an aggregator above devices has added up; its name is the aggregator's, never a device's.
    """

    _totals: dict[str, _Total] = field(default_factory=dict[str, _Total])
    parts: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    @classmethod
    def of(cls, sums: Mapping[str, float]) -> SurveySums:
        """One device's sums."""
        return cls({name: _Total(float(value)) for name, value in sums.items()})

    @property
    def sums(self) -> dict[str, float]:
        """The sums, rounded once, in the order of their names."""
        return {name: self._totals[name].value for name in sorted(self._totals)}

    def add(self, other: SurveySums) -> None:
        """Add another's sums. A name that one of the two lacks counts as 0 there."""
        for name, term in other._totals.items():
            total = self._totals.setdefault(name, _Total())
            total.add(term.high)
            total.add(term.low)
        self.parts |= other.parts

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Two arrays: the names as JSON, and (names, 2) numbers; likewise for each part."""
        arrays = _written(NAMES, VALUES, {name: (total.high, total.low) for name, total in self._totals.items()})
        for part, sums in self.parts.items():
            pairs = {name: (value, 0.0) for name, value in sums.items()}
            arrays |= _written(f"{NAMES}/{part}", f"{VALUES}/{part}", pairs)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> SurveySums:
        """Read what :meth:`to_arrays` wrote.

        Raises:
            UnusableUpdateError: it is something else, or a number is not finite or beyond :data:`LARGEST`.
        """
        totals = {name: _Total(high, low) for name, (high, low) in _read(arrays, NAMES, VALUES).items()}
        parts: dict[str, dict[str, float]] = {}
        for key in arrays:
            if key.startswith(f"{NAMES}/"):
                part = key.removeprefix(f"{NAMES}/")
                pairs = _read(arrays, key, f"{VALUES}/{part}")
                parts[part] = {name: high + low for name, (high, low) in pairs.items()}
        return cls(totals, parts)


def added(tallies: Iterable[SurveySums], part: str = "") -> SurveySums:
    """All of them together.

    Args:
        tallies: what is added, in any order.
        part: the name under which their sums are told apart from others', which replaces the parts in them; empty
            keeps those.
    """
    total = SurveySums()
    for tally in tallies:
        total.add(tally)
    if part:
        total.parts = {part: total.sums}
    return total


def _written(names: str, values: str, pairs: Mapping[str, tuple[float, float]]) -> dict[str, npt.NDArray[Any]]:
    ordered = sorted(pairs)
    text = np.frombuffer(json.dumps(ordered).encode(), np.uint8)
    return {names: text, values: np.array([pairs[name] for name in ordered], np.float64).reshape(-1, 2)}


def _read(arrays: Mapping[str, npt.NDArray[Any]], names: str, values: str) -> dict[str, tuple[float, float]]:
    if names not in arrays or values not in arrays:
        raise UnusableUpdateError("It holds no sums.")
    numbers = arrays[values]
    try:
        listed: Any = json.loads(bytes(arrays[names]))
    except ValueError as error:
        raise UnusableUpdateError("The names of its sums cannot be read.") from error
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in cast("list[Any]", listed)):
        raise UnusableUpdateError("The names of its sums are no list of texts.")
    found = cast("list[str]", listed)
    if numbers.shape != (len(found), 2) or numbers.dtype != np.float64 or len(found) > MOST:
        raise UnusableUpdateError(f"It has {len(found)} names for sums of shape {numbers.shape}.")
    if not np.all(np.abs(numbers) <= LARGEST):
        raise UnusableUpdateError(f"A sum is not finite, or larger than {LARGEST:g}.")
    return {name: (float(high), float(low)) for name, (high, low) in zip(found, numbers, strict=True)}
