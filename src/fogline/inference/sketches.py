"""What inputs and confidence look like: when a model was trained (a reference) and where it serves (a sketch).

A sketch is counts in the bins of a reference. Sketches add up, over time and over nodes: addition is commutative and
associative, and a sketch of nothing is its zero. So fogs merge them on the way up, and the size does not grow.

How far it has moved is measured by :mod:`fogline.inference.shifts`.

What a sketch reveals: for each watched feature, how many samples fell into each bin. It names no sample and does not
link the features of one. A sketch of few samples still tells about each of them (of one sample: all its bins), and a
count of one in a bin that is otherwise empty shows that somebody was there. No noise is added.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from fogline.decoding import UNREADABLE
from fogline.inference.features import (
    MEAN,
    MISSING,
    SPREAD,
    WIDTH,
    Bins,
    Feature,
    FeatureColumns,
    Numbers,
    chosen,
    marks_of,
    plain,
    summary,
)
from fogline.inference.runtimes.base import Array
from fogline.inference.shifts import Counts, distance, distance_by_chance, stability, stability_by_chance

LARGEST = 1 << 16
"""Bytes of the largest reference or sketch."""

_MOST_FEATURES = 256
_HIGHEST = 2**53
_AT_ONCE = 1024
"""Rows that are counted together."""

_Count = Annotated[int, Meta(ge=0, le=_HIGHEST)]
_Row = Annotated[tuple[_Count, ...], Meta(max_length=WIDTH)]


class SketchError(ValueError):
    """What should be a sketch or a reference is none, or does not fit; the text is a sentence."""


class Shift(NamedTuple):
    """How far a feature has moved, beyond what chance explains."""

    feature: str
    psi: float
    ks: float


class Reference:
    """The distribution of inputs and confidence when a model was trained; :func:`build_reference` makes one.

    Args:
        features: what is counted.
        counts: (features, bins), in the samples of that time.
    """

    def __init__(self, features: tuple[Feature, ...], counts: Counts) -> None:
        self.features = features
        self.counts = counts
        self._inputs = [FeatureColumns(name, features) for name in dict.fromkeys(f.input for f in features)]
        self._bins = Bins(features)

    @cached_property
    def digest(self) -> str:
        """Names it, so that only sketches in the same bins are added up."""
        return hashlib.sha256(self.encode()).hexdigest()[:32]

    def sketch(self, inputs: Mapping[str, Array], confidences: Array) -> Sketch:
        """The counts of a batch.

        Args:
            inputs: by name; the first axis counts the samples. An input that is not there is not counted.
            confidences: (samples,); empty where the model has none.
        """
        with np.errstate(all="ignore"):
            given = {name: plain(values) for name, values in inputs.items() if len(values)}
            if len(confidences):
                given[""] = _rounded(confidences).reshape(-1, 1)
            counts = np.zeros((len(self.features), WIDTH), np.int64)
            for start in range(0, max((len(flat) for flat in given.values()), default=0), _AT_ONCE):
                rows = slice(start, start + _AT_ONCE)
                self._count(counts, {name: flat[rows] for name, flat in given.items()})
        return Sketch(self.digest, counts)

    def _count(self, counts: Counts, given: Mapping[str, Array]) -> None:
        parts = [columns.of(given[columns.name]) for columns in self._inputs if columns.name in given]
        if parts:
            which = np.concatenate([which for which, _ in parts])
            counts[which] += self._bins.count(which, np.hstack([values for _, values in parts]))

    def encode(self) -> bytes:
        """The reference as bytes of msgpack."""
        return msgspec.msgpack.encode(_Reference(self.features, _rows(self.counts)))

    @classmethod
    def decode(cls, data: bytes) -> Reference:
        """The reference of these bytes.

        Raises:
            SketchError: they are none.
        """
        found = _decoded(data, _REFERENCE, "drift reference")
        if len(found.counts) != len(found.features):
            raise SketchError("The drift reference has other numbers of features and of rows of counts.")
        if any(math.isnan(m) or list(f.marks) != sorted(set(f.marks)) for f in found.features for m in f.marks):
            raise SketchError("The drift reference has bins whose bounds do not rise.")
        return cls(found.features, _matrix(found.counts))


class Sketch:
    """Counts in the bins of a reference.

    Args:
        reference: its digest.
        counts: (features, bins).
    """

    def __init__(self, reference: str, counts: Counts) -> None:
        self.reference = reference
        self.counts = counts

    @classmethod
    def zero(cls, reference: Reference) -> Sketch:
        """A sketch of no samples, to which others are merged."""
        return cls(reference.digest, np.zeros_like(reference.counts))

    @property
    def rows(self) -> int:
        """How many samples the sketch has seen."""
        return int(self.counts.sum(1).max(initial=0))

    def __add__(self, other: Sketch) -> Sketch:
        """Of the samples of both.

        Raises:
            SketchError: they count in the bins of different references.
        """
        if self.reference != other.reference or self.counts.shape != other.counts.shape:
            raise SketchError("Sketches of two different references cannot be added; they are of different versions.")
        return Sketch(self.reference, np.minimum(self.counts + other.counts, _HIGHEST))

    def encode(self) -> bytes:
        """Its bytes (msgpack), some kilobytes."""
        return msgspec.msgpack.encode(_Sketch(self.reference, _rows(self.counts)))

    @classmethod
    def decode(cls, data: bytes) -> Sketch:
        """The sketch of these bytes.

        Raises:
            SketchError: they are none.
        """
        found = _decoded(data, _SKETCH, "sketch")
        return cls(found.reference, _matrix(found.counts))

    def psi(self, reference: Reference) -> dict[str, float]:
        """Population stability index of every feature, beyond what chance explains.

        Raises:
            SketchError: the sketch is of another reference.
        """
        return self._by_feature(reference, self._psi(reference))

    def ks(self, reference: Reference) -> dict[str, float]:
        """Kolmogorov-Smirnov distance of every feature, beyond what chance explains.

        Raises:
            SketchError: the sketch is of another reference.
        """
        return self._by_feature(reference, self._ks(reference))

    def shifts(self, reference: Reference) -> list[Shift]:
        """Both measures of every feature, the largest PSI first.

        Raises:
            SketchError: the sketch is of another reference.
        """
        psi, ks = self._psi(reference).tolist(), self._ks(reference).tolist()
        found = zip((f.name for f in reference.features), psi, ks, strict=True)
        return sorted((Shift(*shift) for shift in found), key=lambda shift: -shift.psi)

    def _psi(self, reference: Reference) -> Numbers:
        self._check(reference)
        pair = self.counts, reference.counts
        return np.maximum(stability(*pair) - stability_by_chance(*pair), 0.0)

    def _ks(self, reference: Reference) -> Numbers:
        self._check(reference)
        pair = self.counts[:, :MISSING], reference.counts[:, :MISSING]
        return np.maximum(distance(*pair) - distance_by_chance(*pair), 0.0)

    def _by_feature(self, reference: Reference, values: Numbers) -> dict[str, float]:
        return dict(zip((feature.name for feature in reference.features), values.tolist(), strict=True))

    def _check(self, reference: Reference) -> None:
        if self.reference != reference.digest or self.counts.shape != reference.counts.shape:
            raise SketchError(
                "The sketch was counted in the bins of another reference; they are of different versions."
            )


def build_reference(inputs: Mapping[str, Array], confidences: Array) -> Reference:
    """The reference of these samples: best held-out ones, on which confidence is what it will be in use.

    Args:
        inputs: by name; the first axis counts the samples. A few thousand are plenty.
        confidences: (samples,) of the model on them; empty where it has none.
    """
    with np.errstate(all="ignore"):
        flat = {name: plain(values) for name, values in inputs.items()}
        features = [_feature(f"{name}{_place(place, inputs[name].shape[1:])}", name, place, flat[name].shape[1],
                             flat[name][:, place].astype(np.float64)) for name, place in chosen(flat)]  # fmt: skip
        for name, values in flat.items():
            if values.shape[1] > 1:
                mean, spread = summary(values)
                features += [
                    _feature(f"{name} mean", name, MEAN, values.shape[1], mean),
                    _feature(f"{name} spread", name, SPREAD, values.shape[1], spread),
                ]
    if len(confidences):
        features.append(_feature("confidence", "", 0, 1, _rounded(confidences)))
    empty = Reference(tuple(features), np.zeros((len(features), WIDTH), np.int64))
    return Reference(empty.features, empty.sketch(inputs, confidences).counts)


def merged(first: bytes, second: bytes) -> bytes:
    """Two sketches as bytes, added; no bytes are a sketch of nothing.

    Raises:
        SketchError: they are none, or of different references.
    """
    if not first or not second:
        return first or second
    return (Sketch.decode(first) + Sketch.decode(second)).encode()


_Struct = TypeVar("_Struct")


def _decoded(data: bytes, decoder: msgspec.msgpack.Decoder[_Struct], what: str) -> _Struct:
    if len(data) > LARGEST:
        raise SketchError(f"A {what} of {len(data)} bytes is refused; the largest has {LARGEST}.")
    try:
        return decoder.decode(data)
    except UNREADABLE as error:
        raise SketchError(f"The {what} cannot be read: {error}.") from None


def _rows(counts: Counts) -> tuple[tuple[int, ...], ...]:
    """Without the zeros at the end of each."""
    return tuple(tuple(row[: max((i + 1 for i, n in enumerate(row) if n), default=0)]) for row in counts.tolist())


def _matrix(rows: tuple[tuple[int, ...], ...]) -> Counts:
    counts = np.zeros((len(rows), WIDTH), np.int64)
    for target, row in zip(counts, rows, strict=True):
        target[: len(row)] = row
    return counts


def _place(place: int, shape: tuple[int, ...]) -> str:
    """``[3,7]``: where a number stands in a sample."""
    return f"[{','.join(str(i) for i in np.unravel_index(place, shape))}]" if math.prod(shape) > 1 else ""


def _feature(name: str, source: str, place: int, size: int, values: Numbers) -> Feature:
    kind, marks = marks_of(values)
    return Feature(name[:160], source, place, size, kind, marks)


def _rounded(confidences: Array) -> Numbers:
    """Runtimes differ in the last bits, and many confidences are one but for these."""
    return np.round(confidences.astype(np.float64), 4)


class _Reference(msgspec.Struct, frozen=True, array_like=True):
    features: Annotated[tuple[Feature, ...], Meta(max_length=_MOST_FEATURES)]
    counts: Annotated[tuple[_Row, ...], Meta(max_length=_MOST_FEATURES)]


class _Sketch(msgspec.Struct, frozen=True, array_like=True):
    reference: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    counts: Annotated[tuple[_Row, ...], Meta(max_length=_MOST_FEATURES)]


_REFERENCE = msgspec.msgpack.Decoder(_Reference)
_SKETCH = msgspec.msgpack.Decoder(_Sketch)
