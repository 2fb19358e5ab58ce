"""Examples that nobody trained on, and what the trained model says about them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fogline.data.inputs import count, mapped, nbytes, rows
from fogline.inference.packaging.original import Original
from fogline.inference.runtimes.base import NUMPY, Array, Runtime
from fogline.training.task import Task

MOST, BYTES, BATCH, RANDOM = 4096, 64 << 20, 256, 64
"""Most examples that are looked at, most bytes of them or of what is said about them,
how many at once, and how many random ones."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Some examples and the original's outputs for them."""

    x: Mapping[str, Array]
    """As clients send them, by the names of the inputs."""
    y: Array | None
    """Labels or numbers; None: the examples are random."""
    outputs: Mapping[str, Array]
    """In people's units."""

    @property
    def count(self) -> int:
        """How many examples are held out."""
        return len(next(iter(self.x.values())))

    def rows(self, which: slice | npt.NDArray[np.int64]) -> dict[str, Array]:
        """The inputs of some of them."""
        return {name: array[which] for name, array in self.x.items()}


def held_out(task: Task, original: Original) -> HeldOut:
    """Evenly spaced examples of the test set, or random inputs within the range of an example's numbers."""
    test = task.data.test
    if test is None:
        x, y = mapped(_random, task.data.at(0).x), None
    else:
        given = sum(math.prod(t.shape[1:]) * NUMPY[t.datatype].itemsize for t in original.outputs)
        told = np.flatnonzero(task.told(test.y))
        most = min(MOST, max(BYTES // max(nbytes(rows(test.x, slice(1))), given, 1), 1))
        places = told[_spaced(len(told), most)]
        x, y = rows(test.x, places), task.truth(test.y[places])
    parts = [original.run(rows(x, slice(start, start + BATCH))) for start in range(0, count(x), BATCH)]
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return HeldOut(original.feed(x), y, outputs)


def outputs_of(runtime: Runtime, held: HeldOut) -> dict[str, Array]:
    """A runtime's outputs for all examples."""
    parts = [runtime.run(held.rows(slice(start, start + BATCH))) for start in range(0, held.count, BATCH)]
    return {output: np.concatenate([part[output] for part in parts]) for output in parts[0]}


def golden_rows(held: HeldOut, classes: int | None, most: int) -> npt.NDArray[np.int64]:
    """Which examples become golden samples: spread over the classes, else over the set; always the same."""
    y = held.y
    if classes is None or y is None or y.ndim != 1:
        return _spaced(held.count, most)
    order = np.argsort(y, kind="stable")
    firsts = np.searchsorted(y[order], y[order])  # Where the class of each begins.
    rank = np.arange(len(y)) - firsts
    return np.sort(order[np.argsort(rank, kind="stable")][:most])


def _spaced(total: int, most: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, total - 1, min(total, most)).round().astype(np.int64)


def _random(like: Array) -> Array:
    rng, low, high = np.random.default_rng(0), like.min(), like.max()
    shape = (RANDOM, *like.shape[1:])
    if like.dtype.kind == "f":
        return rng.uniform(low, high, shape).astype(like.dtype)
    return rng.integers(int(low), int(high) + 1, shape).astype(like.dtype)
