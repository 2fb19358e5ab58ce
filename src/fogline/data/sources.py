"""Where a client's examples come from: rows of shared arrays, or a function that loads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from fogline.data.examples import Examples, Indices, check, tidy
from fogline.data.ids import Ids, Listed
from fogline.data.indices import Partition
from fogline.data.inputs import Array, Inputs, joined, mapped, rows
from fogline.data.items import Items, RecordFields, reads
from fogline.data.meaning import Meaning
from fogline.randomness import derived, seeded
from fogline.user_code.loading import Loading

Transform = Callable[[Any, int], Any]
"""``transform(x, client)``: the inputs (n, ...) of the client at that position, changed; pure and repeatable."""

Change = Callable[[Examples, int], Examples]
"""``change(examples, client)``: what the client at that position has in their place; pure and repeatable."""

Loader = Callable[[str], Any]
"""Loads a client by its id: its examples, a pair of inputs and targets, or what is read item by item."""


class ExampleSource(Protocol):
    """Examples by position of the client, training or held out."""

    @property
    def ids(self) -> Ids: ...
    def load(self, index: int) -> Examples:
        """Load the client's examples; every call gives the same ones."""
        ...

    def anew(self, index: int, seed: int, number: int) -> Examples | None:
        """Drawn by the seed and the number of the pass; None where a client's examples are always the same."""
        ...

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

    def picked(self, partition: Partition) -> Rows:
        """The same clients with other rows of the same arrays."""
        return Rows(self.ids, Examples(self._x, self._y), partition, self._transform)

    def rows(self, index: int) -> Indices:
        return self._order[self._offsets[index] : self._offsets[index + 1]]

    def load(self, index: int) -> Examples:
        places = self.rows(index)
        x = rows(self._x, places)
        if self._transform is not None:
            x = _changed(self._transform, x, index, self.ids)
        return Examples(x, self._y[places])

    def anew(self, index: int, seed: int, number: int) -> Examples | None:
        return None

    def targets(self, index: int) -> Array:
        return self._y[self.rows(index)]

    def sizes(self) -> Indices:
        return np.diff(self._offsets)


class LazySource:
    """Clients that are loaded one by one. Each is checked the first time.

    What was given as examples is kept as training wants it; what is read item by item is kept once it was read,
    unless something is drawn for it. What a function loads is not kept: it is called, always under the client's own
    seed, each time.
    """

    def __init__(
        self,
        ids: Ids,
        clients: dict[str, Any] | Loader,
        meaning: Meaning,
        sizes: Indices | None,
        columns: RecordFields,
    ) -> None:
        self.ids = ids
        self._clients = clients
        self._meaning = meaning
        self._sizes = sizes
        self._columns = columns
        self._checked = bytearray(len(ids))
        self._kept: dict[int, Examples] = {}
        self._items: dict[int, Items] = {}
        """Clients for whose items something is drawn."""

    def load(self, index: int) -> Examples:
        if index in self._kept:
            return self._kept[index]
        if index in self._items:
            return self._read(index, self._items[index], derived(index))[0]
        found = self._held(index)
        if found is not None:
            return self._take(index, found, keep=True)
        client = self.ids[index]
        with seeded(derived(index)), Loading(f"Client '{client}'"):
            found = self._clients[client] if isinstance(self._clients, dict) else self._clients(client)
            found = found() if callable(found) and not reads(found) else found
        return self._take(index, found, keep=False)

    def _held(self, index: int) -> Any:
        """What the client is; None if it is for a function to load."""
        if not isinstance(self._clients, dict):
            return None
        found = self._clients[self.ids[index]]
        return None if callable(found) and not reads(found) else found

    def _take(self, index: int, found: Any, keep: bool) -> Examples:
        where = f"Client '{self.ids[index]}'"
        pair = pair_of(found)
        drawn = False
        if pair is not None:
            examples = tidy(*pair, self._meaning, where)
        else:
            items = items_of(found, self._columns, where)
            if not self._checked[index]:
                items.check(derived(index))
            examples, drawn = self._read(index, items, derived(index))
            if drawn:
                self._items[index] = items
        if not self._checked[index]:
            self._check(index, examples, where)
        if keep and not drawn:
            self._kept[index] = examples
        return examples

    def _read(self, index: int, items: Items, seed: int) -> tuple[Examples, bool]:
        x, y, drawn = items.read(seed)
        return tidy(x, y, self._meaning, f"Client '{self.ids[index]}'"), drawn

    def _check(self, index: int, examples: Examples, where: str) -> None:
        check(examples, self._meaning, where)
        if self._sizes is not None and examples.count != self._sizes[index]:
            raise ValueError(f"{where} has {examples.count} examples; {self._sizes[index]} were announced.")
        self._checked[index] = 1

    def anew(self, index: int, seed: int, number: int) -> Examples | None:
        if not self._checked[index]:
            self.load(index)
        return self._read(index, self._items[index], derived(seed, number))[0] if index in self._items else None

    def targets(self, index: int) -> Array:
        return self.load(index).y

    def sizes(self) -> Indices:
        if self._sizes is None:
            self._sizes = np.array([self._size(i) for i in range(len(self.ids))], np.int64)
        return self._sizes

    def _size(self, index: int) -> int:
        found = self._held(index)
        if index in self._kept or found is None or pair_of(found) is not None:
            return self.load(index).count
        return items_of(found, self._columns, f"Client '{self.ids[index]}'").count or self.load(index).count


def pair_of(found: Any) -> tuple[Any, Any] | None:
    """Inputs and targets, if they lie there as such."""
    if isinstance(found, tuple) and len(cast("tuple[Any, ...]", found)) == 2:
        return cast("tuple[Any, Any]", found)
    return None


def items_of(found: Any, columns: RecordFields, where: str) -> Items:
    """What is read item by item.

    Raises:
        ValueError: it cannot be.
    """
    if not reads(found) or hasattr(found, "to_numpy") or isinstance(found, np.ndarray | str | dict):
        raise ValueError(
            f"{where} is of type {type(found).__name__}; give Examples(x, y), a PyTorch Dataset or DataLoader, a list "
            "of pairs (input, target) or of records, or a function that returns one of these."
        )
    return Items(found, columns, where)


@dataclass(frozen=True)
class InMemorySource:
    """Clients whose examples are at hand."""

    ids: Ids
    parts: Sequence[Examples]

    def load(self, index: int) -> Examples:
        return self.parts[index]

    def anew(self, index: int, seed: int, number: int) -> Examples | None:
        return None

    def targets(self, index: int) -> Array:
        return self.parts[index].y

    def sizes(self) -> Indices:
        return np.array([part.count for part in self.parts], np.int64)


def _changed(transform: Transform, x: Inputs, index: int, ids: Ids) -> Inputs:
    with Loading(f"Client '{ids[index]}'"):
        return transform(x, index)


@dataclass(frozen=True)
class Transformed:
    """Another source with its inputs changed."""

    source: ExampleSource
    transform: Transform

    @property
    def ids(self) -> Ids:
        return self.source.ids

    def load(self, index: int) -> Examples:
        x, y = self.source.load(index)
        return Examples(_changed(self.transform, x, index, self.ids), y)

    def anew(self, index: int, seed: int, number: int) -> Examples | None:
        found = self.source.anew(index, seed, number)
        return None if found is None else Examples(_changed(self.transform, found.x, index, self.ids), found.y)

    def targets(self, index: int) -> Array:
        return self.source.targets(index)

    def sizes(self) -> Indices:
        return self.source.sizes()


@dataclass(frozen=True)
class Altered:
    """Another source in which some clients have other examples, as many as before."""

    source: ExampleSource
    change: Change
    places: frozenset[int]

    @property
    def ids(self) -> Ids:
        return self.source.ids

    def load(self, index: int) -> Examples:
        return self._changed(self.source.load(index), index)

    def anew(self, index: int, seed: int, number: int) -> Examples | None:
        found = self.source.anew(index, seed, number)
        return None if found is None else self._changed(found, index)

    def targets(self, index: int) -> Array:
        return self.load(index).y if index in self.places else self.source.targets(index)

    def sizes(self) -> Indices:
        return self.source.sizes()

    def _changed(self, examples: Examples, index: int) -> Examples:
        return self.change(examples, index) if index in self.places else examples


class PooledSource:
    """Several clients of another source as one, their examples one after the other."""

    def __init__(self, source: ExampleSource, places: Sequence[int]) -> None:
        self.ids = Listed(["pooled"])
        self._source = source
        self._places = places
        self._examples = _one_after_the_other([source.load(place) for place in places])

    def load(self, index: int) -> Examples:
        return self._examples

    def anew(self, index: int, seed: int, number: int) -> Examples | None:
        drawn = [self._source.anew(place, derived(seed, place), number) for place in self._places]
        if all(part is None for part in drawn):
            return None
        pairs = zip(self._places, drawn, strict=True)
        return _one_after_the_other([self._source.load(place) if part is None else part for place, part in pairs])

    def targets(self, index: int) -> Array:
        return self._examples.y

    def sizes(self) -> Indices:
        return np.array([self._examples.count], np.int64)


def _one_after_the_other(parts: Sequence[Examples]) -> Examples:
    return Examples(joined([part.x for part in parts]), joined([part.y for part in parts]))


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

    def __call__(self, x: Inputs, client: int) -> Inputs:
        rng = np.random.default_rng((self.seed, client))

        def noisy(part: Array) -> Array:
            noise = rng.standard_normal(part.shape, np.float32)
            noise *= np.float32(self.sigma * (client + 1) / self.clients)
            noise += part
            return noise

        return mapped(noisy, x)
