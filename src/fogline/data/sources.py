"""Where a client's examples come from: rows of shared arrays, or a function that loads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fogline.data.examples import Array, Examples, Indices, check, tidy
from fogline.data.ids import Ids
from fogline.data.indices import Partition

Transform = Callable[[Array, int], Array]
"""``transform(x, client)``: the inputs (n, ...) of the client at that position, changed; pure and repeatable."""

Loader = Callable[[str], Examples]
"""Loads the examples of a client id."""


class Source(Protocol):
    """Examples by position of the client, training or held out."""

    @property
    def ids(self) -> Ids: ...
    def load(self, index: int) -> Examples: ...
    def targets(self, index: int) -> Array: ...
    def sizes(self) -> Indices: ...


class Rows:
    """Clients as rows of shared arrays."""

    def __init__(self, ids: Ids, base: Examples, partition: Partition, transform: Transform | None) -> None:
        self.ids = ids
        self._x, self._y = base
        self._order = partition.order
        self._offsets = partition.offsets
        self._transform = transform

    @property
    def table(self) -> Examples | None:
        return Examples(self._x, self._y) if self._transform is None else None

    def rows(self, index: int) -> Indices:
        return self._order[self._offsets[index] : self._offsets[index + 1]]

    def load(self, index: int) -> Examples:
        rows = self.rows(index)
        x = self._x[rows]
        return Examples(x if self._transform is None else self._transform(x, index), self._y[rows])

    def targets(self, index: int) -> Array:
        return self._y[self.rows(index)]

    def sizes(self) -> Indices:
        return np.diff(self._offsets)


class Loaded:
    """Clients that a function loads. Each client is checked the first time it is loaded."""

    def __init__(self, ids: Ids, loader: Loader, classes: int | None, sizes: Indices | None) -> None:
        self.ids = ids
        self._loader = loader
        self._classes = classes
        self._sizes = sizes
        self._checked = bytearray(len(ids))

    def load(self, index: int) -> Examples:
        client = self.ids[index]
        examples = tidy(*self._loader(client), self._classes, f"Client '{client}'")
        if not self._checked[index]:
            check(examples, self._classes, f"Client '{client}'")
            if self._sizes is not None and examples.count != self._sizes[index]:
                raise ValueError(
                    f"Client '{client}' has {examples.count} examples; {self._sizes[index]} were announced."
                )
            self._checked[index] = 1
        return examples

    def targets(self, index: int) -> Array:
        return self.load(index).y

    def sizes(self) -> Indices:
        if self._sizes is None:
            self._sizes = np.array([self.load(i).count for i in range(len(self.ids))], np.int64)
        return self._sizes


@dataclass(frozen=True)
class Held:
    """Clients whose examples are at hand."""

    ids: Ids
    parts: Sequence[Examples]

    def load(self, index: int) -> Examples:
        return self.parts[index]

    def targets(self, index: int) -> Array:
        return self.parts[index].y

    def sizes(self) -> Indices:
        return np.array([part.count for part in self.parts], np.int64)


@dataclass(frozen=True)
class Transformed:
    """Another source with its inputs changed."""

    source: Source
    transform: Transform

    @property
    def ids(self) -> Ids:
        return self.source.ids

    def load(self, index: int) -> Examples:
        x, y = self.source.load(index)
        return Examples(self.transform(x, index), y)

    def targets(self, index: int) -> Array:
        return self.source.targets(index)

    def sizes(self) -> Indices:
        return self.source.sizes()


@dataclass(frozen=True)
class FeatureNoise:
    """Feature skew: client i of N sees its inputs with Gaussian noise of level ``sigma * (i + 1) / N``.

    The level is the standard deviation, as in the authors' program. The noise of a client is the same each
    time it is loaded. Source: Li et al., 2022 (NIID-Bench, arXiv:2102.02079), section 4.2.
    """

    sigma: float
    clients: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.sigma >= 0 and np.isfinite(self.sigma)):
            raise ValueError(f"sigma must be a number >= 0, not {self.sigma}.")

    def __call__(self, x: Array, client: int) -> Array:
        rng = np.random.default_rng((self.seed, client))
        noise = rng.standard_normal(x.shape, np.float32)
        noise *= np.float32(self.sigma * (client + 1) / self.clients)
        noise += x
        return noise
