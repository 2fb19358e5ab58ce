"""Examples that nobody trained on, and what the trained model says about them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fogline.inference.packaging.original import Original
from fogline.inference.runtimes.base import NUMPY, Array, Runtime
from fogline.training.task import Task

MOST, BYTES, BATCH, RANDOM = 4096, 64 << 20, 256, 64
"""Most examples that are looked at, most bytes of them or of what is said about them,
how many at once, and how many random ones."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Some examples and the original's outputs for them."""

    x: Array
    """As clients send them."""
    y: Array | None
    """None: the examples are random."""
    outputs: Mapping[str, Array]
    """In people's units."""


def held_out(task: Task, original: Original) -> HeldOut:
    """Evenly spaced examples of the test set, or random inputs within the range of an example's numbers."""
    test = task.data.test
    if test is None:
        x, y = _random(task.data.at(0).x), None
    else:
        given = sum(math.prod(t.shape[1:]) * NUMPY[t.datatype].itemsize for t in original.outputs)
        rows = _spaced(test.count, min(MOST, max(BYTES // max(test.x[0].nbytes, given), 1)))
        x, y = test.x[rows], test.y[rows]
    parts = [original.run(x[start : start + BATCH]) for start in range(0, len(x), BATCH)]
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return HeldOut(original.feed(x), y, outputs)


def outputs_of(runtime: Runtime, name: str, x: Array) -> dict[str, Array]:
    """A runtime's outputs for many examples."""
    parts = [runtime.run({name: x[start : start + BATCH]}) for start in range(0, len(x), BATCH)]
    return {output: np.concatenate([part[output] for part in parts]) for output in parts[0]}


def golden_rows(held: HeldOut, classes: int | None, count: int) -> npt.NDArray[np.int64]:
    """Which examples become golden samples: spread over the classes, else over the set; always the same."""
    y = held.y
    if classes is None or y is None or y.ndim != 1:
        return _spaced(len(held.x), count)
    order = np.argsort(y, kind="stable")
    firsts = np.searchsorted(y[order], y[order])  # Where the class of each begins.
    rank = np.arange(len(y)) - firsts
    return np.sort(order[np.argsort(rank, kind="stable")][:count])


def _spaced(total: int, count: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, total - 1, min(total, count)).round().astype(np.int64)


def _random(like: Array) -> Array:
    rng, low, high = np.random.default_rng(0), like.min(), like.max()
    shape = (RANDOM, *like.shape[1:])
    if like.dtype.kind == "f":
        return rng.uniform(low, high, shape).astype(like.dtype)
    return rng.integers(int(low), int(high) + 1, shape).astype(like.dtype)
