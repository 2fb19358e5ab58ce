"""A data set before it is divided among clients."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.data.build import from_arrays
from fogline.data.dataset import FederatedData
from fogline.data.examples import Array, Examples, Indices
from fogline.data.indices import Partition
from fogline.data.meaning import Meaning
from fogline.data.partitioners import PARTITIONERS
from fogline.data.partitioners.natural import by_natural_id
from fogline.data.sources import FeatureNoise, Transform
from fogline.plugins import suggest

DEFAULT_CLIENTS = 100


@dataclass(frozen=True)
class RawData:
    """The training examples of a data set, with what is known about whose they are."""

    name: str
    x: Array
    """(n, ...) inputs, before ``transform``."""
    y: Array
    """(n, ...) labels or targets."""
    meaning: Meaning
    test: Examples | None = None
    """The central test set, ready for use."""
    rows: Indices | None = None
    """The rows that are training examples; None takes all."""
    owner: npt.NDArray[np.str_] | None = None
    """(n,) natural client id of each row, if there is one."""
    groups: Mapping[str, str] | None = None
    """Natural group of each natural client."""
    held_out: tuple[str, ...] = ()
    """Natural clients that never train. A new partition leaves their rows out."""
    transform: Transform | None = None
    """Applied to a client's inputs when they are loaded."""

    def split(
        self, partition: str | None = None, *, clients: int | None = None, seed: int = 0, **options: Any
    ) -> FederatedData:
        """Divide the examples among clients.

        ``partition`` is ``"natural"``, ``"feature_noise"`` (IID with noise, option ``sigma``) or the name of
        a partitioner, whose options follow (``alpha``, ``min_size``, ``shards_per_client``, ``classes``).
        None takes the natural clients, or else ``"dirichlet"``; ``clients`` is 100 unless given. Where ``y``
        is a regression target, label skew is skew over its deciles.

        Raises:
            ValueError: the partition is unknown or impossible, or an option means nothing to it.
        """
        if partition is None:
            partition = "dirichlet" if self.owner is None else "natural"
        if partition == "natural":
            if clients is not None:
                options["clients"] = clients
            return self._natural(options)
        if clients is None:
            clients = DEFAULT_CLIENTS
        if partition == "feature_noise":
            sigma = options.pop("sigma", 0.1)
            noise = FeatureNoise(sigma, clients, seed)
            return self._made(self._partition("iid", clients, seed, options)).with_transform(noise)
        return self._made(self._partition(partition, clients, seed, options))

    def split_with_own_tests(self) -> FederatedData:
        """Natural clients, each of which has as a test set of its own what is its among ``x`` and does not train, if
        there is any; there is no common one.

        Raises:
            ValueError: there are no natural clients.
        """
        owner, training = self._owner(), np.zeros(len(self.y), np.bool_)
        training[self._training_rows()] = True
        rows = {client: np.flatnonzero(training & (owner == client)) for client in np.unique(owner[training]).tolist()}
        tests = dict[str, Examples]()
        for place, client in enumerate(rows):
            own = np.flatnonzero(~training & (owner == client))
            if len(own):
                x = self.x[own] if self.transform is None else self.transform(self.x[own], place)
                tests[client] = Examples(x, self.y[own])
        return self._made(Partition.of(rows), natural=True, tests=tests)

    def _owner(self) -> npt.NDArray[np.str_]:
        if self.owner is None:
            raise ValueError(f"Data set '{self.name}' has no natural clients; choose another partition.")
        return self.owner

    def _partition(self, name: str, clients: int, seed: int, options: dict[str, Any]) -> Partition:
        if name not in PARTITIONERS:
            raise ValueError(
                f"There is no partition '{name}'{suggest(name, sorted([*PARTITIONERS, 'feature_noise', 'natural']))}"
            )
        refuse_unknown(options, partition_options(name), f"partition '{name}'")
        rows = self._training_rows()
        labels = self.y[rows] if self.meaning.classes is not None else _deciles(self.y[rows])
        return PARTITIONERS[name](labels, clients, seed=seed, **options).rows_of(rows)

    def _training_rows(self) -> Indices:
        rows = np.arange(len(self.y), dtype=np.int64) if self.rows is None else self.rows
        if self.owner is None or not self.held_out:
            return rows
        return rows[~np.isin(self.owner[rows], self.held_out)]

    def _natural(self, options: dict[str, Any]) -> FederatedData:
        owner = self._owner()
        if options:
            wrong = ", ".join(f"'{key}'" for key in options)
            raise ValueError(
                f"Data set '{self.name}' keeps its natural clients, so {wrong} means nothing; name a partition too."
            )
        rows = np.arange(len(self.y), dtype=np.int64) if self.rows is None else self.rows
        return self._made(by_natural_id(owner[rows]).rows_of(rows), natural=True)

    def _made(
        self, partition: Partition, natural: bool = False, tests: Mapping[str, Examples] | None = None
    ) -> FederatedData:
        return from_arrays(
            self.name,
            self.x,
            self.y,
            partition,
            meaning=self.meaning,
            test=self.test if tests is None else tests,
            groups=self.groups if natural else None,
            held_out=self.held_out if natural else (),
            transform=self.transform,
        )


def partition_options(name: str) -> set[str]:
    """Names of the options that a partition takes beside the number of clients and the seed."""
    if name == "feature_noise":
        return {"sigma"}
    if name not in PARTITIONERS:
        return set()
    return {p.name for p in inspect.signature(PARTITIONERS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY} - {
        "seed"
    }


def refuse_unknown(options: Mapping[str, Any], known: set[str], what: str) -> None:
    """Raise ValueError if an option is not known, naming it and those that are."""
    unknown = sorted(set(options) - known)
    if unknown:
        hint = suggest(unknown[0], sorted(known)) or "; it has none"
        raise ValueError(f"'{unknown[0]}' is not an option of {what}{hint}")


def _deciles(targets: Array) -> Indices:
    """Which tenth of the targets each one lies in; of several targets the first counts."""
    first = targets.reshape(len(targets), -1)[:, 0]
    edges = np.quantile(first, np.arange(1, 10) / 10)
    return np.searchsorted(edges, first, side="right").astype(np.int64)
