"""A part of each client's examples that never trains: the client's model is judged on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fogline.data.examples import Examples, Indices
from fogline.data.ids import Ids
from fogline.data.indices import Partition
from fogline.data.inputs import Array
from fogline.data.sources import ExampleSource, Rows


@dataclass(frozen=True)
class Cut:
    """Which of a client's examples are held out: drawn by the seed and the client's place.

    Args:
        share: of the examples, above 0 and below 1; rounded, at least one, and one is left to train. Of a single
            example none is held out.
        seed: of the draw.
        whole: (clients,) whether all of a client's examples train.
    """

    share: float
    seed: int
    whole: npt.NDArray[np.bool_]

    def held(self, sizes: Indices) -> Indices:
        """(clients,) how many examples are held out, of so many."""
        return np.where(self.whole, 0, self._count(sizes))

    def _count(self, sizes: Indices) -> Indices:
        counts = np.clip(np.rint(self.share * sizes), 1, np.maximum(sizes - 1, 1)).astype(np.int64)
        return np.where(sizes > 1, counts, 0)

    def places(self, index: int, count: int, held_out: bool) -> Indices:
        """The places of the examples of a client that are held out, or that train, in order."""
        held = 0 if self.whole[index] else int(self._count(np.array(count)))
        order = np.random.default_rng((self.seed, index)).permutation(count)
        return np.sort(order[:held] if held_out else order[held:])


@dataclass(frozen=True)
class CutSource:
    """One part of every client of a source: what trains, or what is held out."""

    source: ExampleSource
    cut: Cut
    held_out: bool

    @property
    def ids(self) -> Ids:
        return self.source.ids

    def load(self, index: int) -> Examples:
        return self._part(index, self.source.load(index))

    def anew(self, index: int, seed: int, number: int) -> Examples | None:
        found = self.source.anew(index, seed, number)
        return None if found is None else self._part(index, found)

    def targets(self, index: int) -> Array:
        y = self.source.targets(index)
        return y[self.cut.places(index, len(y), self.held_out)]

    def sizes(self) -> Indices:
        return self._sizes

    @cached_property
    def _sizes(self) -> Indices:
        sizes = self.source.sizes()
        held = self.cut.held(sizes)
        return held if self.held_out else sizes - held

    def _part(self, index: int, examples: Examples) -> Examples:
        return examples.part(self.cut.places(index, examples.count, self.held_out))


def divided(source: ExampleSource, cut: Cut) -> tuple[ExampleSource, ExampleSource]:
    """What trains of a source, and what is held out. Rows of a table stay rows of it."""
    if isinstance(source, Rows):
        return source.picked(_picked(source, cut, False)), source.picked(_picked(source, cut, True))
    return CutSource(source, cut, False), CutSource(source, cut, True)


def _picked(source: Rows, cut: Cut, held_out: bool) -> Partition:
    sizes = source.sizes().tolist()
    return Partition.of([source.rows(i)[cut.places(i, size, held_out)] for i, size in enumerate(sizes)])
