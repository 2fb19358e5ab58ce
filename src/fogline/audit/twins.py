"""The job's data with a change that an audit needs: fewer examples, halves of them, or canaries among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fogline.data import Examples, FederatedData
from fogline.data.examples import Indices
from fogline.data.ids import Ids, Listed
from fogline.data.inputs import Array, joined, mapped

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ChangedSource:
    """Every client's examples, changed as they are loaded."""

    ids: Ids
    data: FederatedData
    change: Callable[[int, Examples], Examples]
    counts: Indices
    """(clients,) how many each has after that."""

    def load(self, index: int) -> Examples:
        return self.change(index, self.data.at(index))

    def anew(self, index: int, seed: int, number: int) -> Examples | None:
        return None

    def targets(self, index: int) -> Array:
        return self.load(index).y

    def sizes(self) -> Indices:
        return self.counts


def changed(data: FederatedData, counts: Indices, change: Callable[[int, Examples], Examples]) -> FederatedData:
    """The same clients and groups with other examples, and without a test set.

    Args:
        data: the job's.
        counts: (clients,) examples of each after the change.
        change: by position of the client.
    """
    source = ChangedSource(Listed(list(data.clients)), data, change, counts)
    return FederatedData(data.name, source, data.meaning, groups=data.groups, public=data.public)


def first(data: FederatedData, count: int | None) -> FederatedData:
    """Each client with its first examples only; None: with all."""
    sizes = data.sizes()
    if count is None:
        return changed(data, sizes, lambda _, examples: examples)
    return changed(data, np.minimum(sizes, count), lambda _, examples: examples.part(slice(count)))


def inside(seed: int, client: int, count: int) -> Flags:
    """(count,) which of a client's examples are in that half; of a single one none is left out."""
    order = np.random.default_rng((seed, client)).permutation(count)
    flags = np.zeros(count, np.bool_)
    flags[order[: max(1, count // 2)]] = True
    return flags


def halves(data: FederatedData, seed: int) -> FederatedData:
    """Each client with a half of its examples, drawn by the seed."""

    def half(client: int, examples: Examples) -> Examples:
        return examples.part(np.flatnonzero(inside(seed, client, examples.count)))

    return changed(data, np.maximum(1, data.sizes() // 2), half)


@dataclass(frozen=True)
class Canaries:
    """Examples of a client that make no sense, each put among its data by the flip of a coin."""

    examples: Examples
    coins: Flags
    """(count,) whether it is there."""

    @classmethod
    def of(cls, data: FederatedData, client: int, count: int, seed: int) -> Canaries:
        """Inputs whose numbers are each of another example, so that nothing else teaches them; with any target."""
        rng = np.random.default_rng((seed, client))
        own = data.at(client)
        y = rng.permutation(own.y) if data.classes is None else rng.integers(0, data.classes, own.y.shape)
        every = Examples(mapped(lambda part: _scrambled(part, rng), own.x), y.astype(own.y.dtype))
        some = every.part(slice(count))
        return cls(some, rng.random(some.count) < 0.5)


def _scrambled(part: Array, rng: np.random.Generator) -> Array:
    return rng.permuted(part.reshape(len(part), -1), axis=0).reshape(part.shape)


def with_canaries(data: FederatedData, canaries: dict[int, Canaries]) -> FederatedData:
    """The same data, with those canaries whose coins say so beside a client's own examples."""
    counts = data.sizes()
    for client, known in canaries.items():
        counts[client] += int(known.coins.sum())

    def more(client: int, examples: Examples) -> Examples:
        if client not in canaries:
            return examples
        put = canaries[client].examples.part(np.flatnonzero(canaries[client].coins))
        return Examples(joined([examples.x, put.x]), np.concatenate([examples.y, put.y]))

    return changed(data, counts, more)
