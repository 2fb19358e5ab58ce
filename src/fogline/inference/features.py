"""Which numbers of a model's inputs are watched for drift, and into which bins they fall.

Of every input at most :data:`MOST` numbers in all are watched: those that together explain most of the rest (greedy
choice of columns by residual variance, the pivoting of a rank-revealing QR; Golub, 1965). An input of more than one
number adds its mean and its spread over each sample, so that a change of all of it is seen too.

A feature of at most :data:`VALUES` different values (flags, categories, small integers, few tokens) has a bin for each
and one for any other; every other feature has bins of equal mass (deciles) with open ends. Strings count by a hash.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from fogline.inference.runtimes.base import Array

Numbers = npt.NDArray[np.float64]

MOST = 64
VALUES = 16
DECILES = 10
WIDTH = VALUES + 2
"""Bins that there is room for in every feature: the last takes missing values (NaN, empty string)."""
MISSING = WIDTH - 1
OTHER = VALUES
MEAN, SPREAD = -1, -2
"""Places of the two features that are made of a whole sample."""

_CONSIDERED = 4096
"""Columns among which the watched are chosen: evenly spaced ones of a larger input."""
_LOOKED_AT = 1000
"""Rows on which they are chosen."""


class Feature(msgspec.Struct, frozen=True):
    """A number that every sample has."""

    name: Annotated[str, Meta(max_length=160)]
    """For people: ``pixels[3,7]``, ``pixels mean``, ``confidence``."""
    input: Annotated[str, Meta(max_length=128)]
    """Which input it is of; empty: the confidence."""
    place: Annotated[int, Meta(ge=SPREAD, le=2**40)]
    """In the flattened sample, or :data:`MEAN` or :data:`SPREAD`."""
    size: Annotated[int, Meta(ge=0, le=2**40)]
    """Numbers in a sample of the input; a sample of another length has only a mean and a spread."""
    kind: Literal["ranges", "values"]
    marks: Annotated[tuple[float, ...], Meta(max_length=VALUES)]
    """Rising: inner bounds of the ranges (a value on one lies below it), or the values."""


def plain(values: Array) -> Array:
    """An input as numbers, (rows, numbers in a sample); strings by their hash."""
    flat = values.reshape(len(values), values.size // max(1, len(values)))
    if flat.dtype == np.object_:
        return np.array([[_hashed(value) for value in row] for row in flat.tolist()], np.float64).reshape(flat.shape)
    return flat.astype(np.float32) if flat.dtype == np.float16 else flat


def summary(flat: Array) -> tuple[Numbers, Numbers]:
    """Mean and spread (standard deviation) of every sample, (rows,) each; NaN where a value is missing."""
    numbers = flat if flat.dtype.kind == "f" else flat.astype(np.float32)
    mean = numbers.mean(1)
    apart = numbers - mean[:, None]
    square = np.einsum("ij,ij->i", apart, apart) / max(1, numbers.shape[1])
    return mean.astype(np.float64), np.sqrt(square.astype(np.float64))


def chosen(inputs: Mapping[str, Array]) -> list[tuple[str, int]]:
    """Input and place of the watched numbers."""
    places = [(name, place) for name, values in inputs.items() for place in _spaced(values.shape[1]).tolist()]
    if len(places) <= MOST:
        return places
    rows = _even(len(next(iter(inputs.values()))), _LOOKED_AT)
    columns = np.hstack([values[rows][:, _spaced(values.shape[1])].astype(np.float64) for values in inputs.values()])
    return [places[i] for i in sorted(_pivots(columns, MOST))]


def marks_of(column: Numbers) -> tuple[Literal["ranges", "values"], tuple[float, ...]]:
    """Bins for a feature with these values."""
    present = column[~np.isnan(column)]
    different = np.unique(present)
    if len(different) <= VALUES:
        return "values", tuple(different.tolist())
    bounds = np.quantile(present, np.arange(1, DECILES) / DECILES, method="inverted_cdf")
    return "ranges", tuple(np.unique(np.minimum(bounds, different[-2])).tolist())


def _spaced(width: int) -> npt.NDArray[np.int64]:
    return _even(width, _CONSIDERED)


def _even(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most so many of the first ``count`` numbers, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _pivots(columns: Numbers, count: int) -> list[int]:
    """Columns that explain most of the others: the one with the largest residual, again and again."""
    rest = np.nan_to_num(columns, posinf=0.0, neginf=0.0)
    rest -= rest.mean(0)
    scale = rest.std(0)
    rest /= np.where(scale > 0, scale, 1.0)
    found: list[int] = []
    for _ in range(count):
        lengths = np.einsum("ij,ij->j", rest, rest)
        lengths[found] = -1.0
        best = int(lengths.argmax())
        found.append(best)
        if lengths[best] > 1e-9:
            direction = rest[:, best] / np.sqrt(lengths[best])
            rest -= np.outer(direction, direction @ rest)
    return found


def _hashed(value: bytes | str) -> float:
    data = value.encode() if isinstance(value, str) else value
    return float(zlib.crc32(data)) if data else float("nan")


class FeatureColumns:
    """The features of one input, and how their values are taken out of it."""

    def __init__(self, name: str, features: tuple[Feature, ...]) -> None:
        self.name = name
        own = [(i, f) for i, f in enumerate(features) if f.input == name]
        self._size = max(f.size for _, f in own)
        placed = [(i, f.place) for i, f in own if 0 <= f.place < f.size]
        self._which = np.array([i for i, _ in placed], np.int64)
        self._places = np.array([place for _, place in placed], np.int64)
        self._made = [(i, f.place) for i, f in own if f.place < 0]
        self._all = np.append(self._which, np.array([i for i, _ in self._made], np.int64))

    def of(self, flat: Array) -> tuple[npt.NDArray[np.int64], Numbers]:
        """Numbers of features, and their values (rows, these)."""
        fits = flat.shape[1] == self._size
        columns = [flat[:, self._places]] if fits else []
        if self._made:
            both = summary(flat)
            columns += [both[0 if place == MEAN else 1][:, None] for _, place in self._made]
        which = self._all if fits else self._all[len(self._which) :]
        return which, np.hstack(columns).astype(np.float64) if columns else np.zeros((len(flat), 0))


class Bins:
    """The bins of all features, side by side."""

    def __init__(self, features: tuple[Feature, ...]) -> None:
        self._marks = np.full((max((len(f.marks) for f in features), default=1) or 1, len(features)), np.inf)
        for i, feature in enumerate(features):
            self._marks[: len(feature.marks), i] = feature.marks
        self._named = np.array([f.kind == "values" for f in features], np.bool_)

    def count(self, which: npt.NDArray[np.int64], values: Numbers) -> npt.NDArray[np.int64]:
        """How many of the values (rows, these features) are in which bin, (these, bins)."""
        marks, named = self._marks[:, which], np.flatnonzero(self._named[which])
        above = (values > marks[:, None]).view(np.uint8)
        bins = np.add.reduce(above, 0, dtype=np.uint8).astype(np.int64)
        if len(named):
            own = marks[np.minimum(bins[:, named], len(marks) - 1), named]
            bins[:, named] = np.where(values[:, named] == own, bins[:, named], OTHER)
        bins[np.isnan(values)] = MISSING
        bins += np.arange(len(which)) * WIDTH
        return np.bincount(bins.ravel(), minlength=len(which) * WIDTH).reshape(len(which), WIDTH)
