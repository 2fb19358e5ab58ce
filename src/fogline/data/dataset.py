"""Federated data: which client holds what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from fogline.data.examples import Examples, Indices
from fogline.data.ids import Listed, Picked
from fogline.data.inputs import Array, joined
from fogline.data.meaning import Meaning
from fogline.data.parts import Cut, divided
from fogline.data.sources import (
    Altered,
    Change,
    ExampleSource,
    InMemorySource,
    PooledSource,
    Rows,
    Transform,
    Transformed,
)

__all__ = ["Examples", "FederatedData", "Meaning"]


class FederatedData(Mapping[str, Examples]):
    """A mapping from client id to examples, loaded when asked for.

    It iterates over the training clients; ``data[id]`` also reaches the held-out ones. Two of them are equal
    only if they are the same object. `from_arrays` and `from_clients` make one.
    """

    def __init__(
        self,
        name: str,
        source: ExampleSource,
        meaning: Meaning,
        *,
        test: Examples | None = None,
        groups: Mapping[str, str] | None = None,
        held: Indices | None = None,
        tests: Mapping[str, Examples] | None = None,
        public: Examples | None = None,
    ) -> None:
        """``held`` are the sorted positions in ``source`` of the clients that never train; ``tests`` the clients' own
        test sets; ``public`` what is no client's own, and known to all."""
        self.name = name
        self.meaning = meaning
        self.test = test
        self.groups = groups
        self.tests = tests or {}
        """Test sets of their own that clients have, by id."""
        self.public = public
        """Examples that are no client's own, and known to all: what methods compare the clients' models on."""
        self._source = source
        self._parts: ExampleSource | None = None
        """What of each client's examples does not train, where a part was held out."""
        self._held = np.zeros(0, np.int64) if held is None else held
        self._training: Indices | None = None
        self.clients: Sequence[str] = source.ids
        if len(self._held):
            self._training = np.delete(np.arange(len(source.ids), dtype=np.int64), self._held)
            self.clients = Picked(source.ids, self._training)
        if not len(self.clients):
            raise ValueError(f"Data set '{name}' has no training clients.")

    @property
    def classes(self) -> int | None:
        """Number of classes; None for regression."""
        return self.meaning.classes

    @cached_property
    def held_out(self) -> tuple[str, ...]:
        """Ids of the clients that never train."""
        return tuple(self._source.ids[int(i)] for i in self._held)

    def at(self, index: int) -> Examples:
        """The examples of the client at a position in ``clients``; costs what that client's data costs.

        Raises:
            IndexError: there is no such position.
        """
        if not 0 <= index < len(self.clients):
            raise IndexError(f"'{self.name}' has {len(self.clients)} clients; there is none at position {index}.")
        return self._source.load(index if self._training is None else int(self._training[index]))

    def passes(self, index: int, seed: int, count: Callable[[int], int]) -> tuple[Examples, int]:
        """The examples of a client as several passes over them see them, and how many are in a pass.

        Where they are drawn anew for every pass (a PyTorch ``Dataset`` that augments): those of all passes, one pass
        after the other; each pass is drawn by the seed and its place. Else those of ``at``, which all passes share.

        Args:
            index: position of the client.
            seed: of what is drawn.
            count: from a number of examples to that of passes.

        Raises:
            ValueError: the passes differ in the number of examples.
        """
        examples = self.at(index)
        place = index if self._training is None else int(self._training[index])
        first = self._source.anew(place, seed, 0)
        if first is None:
            return examples, examples.count
        later = [self._source.anew(place, seed, number) for number in range(1, count(examples.count))]
        parts = [first, *(part for part in later if part is not None)]
        if any(part.count != examples.count for part in parts):
            raise ValueError(f"Client '{self.clients[index]}' has another number of examples each time it is read.")
        return Examples(joined([part.x for part in parts]), joined([part.y for part in parts])), examples.count

    def targets(self, index: int) -> Array:
        """``at(index).y``, without loading the inputs where possible."""
        if not 0 <= index < len(self.clients):
            raise IndexError(f"'{self.name}' has {len(self.clients)} clients; there is none at position {index}.")
        return self._source.targets(index if self._training is None else int(self._training[index]))

    @cached_property
    def table(self) -> Examples | None:
        """What all clients' examples are rows of; None if they are loaded or changed client by client."""
        return self._source.table if isinstance(self._source, Rows) else None

    def rows(self, index: int) -> Indices:
        """Which rows of ``table`` are those of the client at a position: ``at(index)`` without the copy.

        Raises:
            ValueError: there is no such table.
        """
        if not isinstance(self._source, Rows):
            raise ValueError(f"The clients of '{self.name}' are loaded one by one; they are no rows of a table.")
        return self._source.rows(index if self._training is None else int(self._training[index]))

    def sizes(self) -> Indices:
        """(clients,) examples per training client; loads nothing unless the sizes are not known."""
        sizes = self._source.sizes()
        return sizes.copy() if self._training is None else sizes[self._training]

    def with_held_out(self, fraction_or_ids: float | Iterable[str], seed: int = 0) -> FederatedData:
        """The same data with more clients held out: a random share of those that train, or these ids.

        A fraction is rounded to whole clients, at least one.

        Raises:
            ValueError: the fraction is not between 0 and 1, an id does not train, or no client would be left.
        """
        if isinstance(fraction_or_ids, (int, float)):
            chosen = self._draw(float(fraction_or_ids), seed)
        else:
            chosen = self._find(fraction_or_ids)
        training = np.arange(len(self._source.ids)) if self._training is None else self._training
        held = np.union1d(self._held, training[chosen]).astype(np.int64)
        if len(chosen) >= len(self.clients):
            raise ValueError(f"Data set '{self.name}' would have no client left to train.")
        return self._changed(self._source, held)

    def with_parts_held_out(self, share: float, seed: int) -> FederatedData:
        """The same clients, each without a share of its examples, which :meth:`judged` gives.

        Clients that have a test set of their own keep all their examples, and so do those that never train.

        Args:
            share: of each client's examples, above 0 and below 1; at least one is held out and one is left. Of a
                client's only example none is held out.
            seed: of the draw; a client's part does not depend on which other clients there are.

        Raises:
            ValueError: the share is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise ValueError(f"The share that is held out must lie between 0 and 1, not {share}.")
        whole = np.array([client in self.tests for client in self._source.ids], np.bool_)
        whole[self._held] = True
        training, parts = divided(self._source, Cut(share, seed, whole))
        data = self._changed(training, self._held)
        data._parts = parts
        return data

    def judged(self, client: str) -> Examples:
        """The examples of a client on which its model is judged, none of which trains: its own test set, or what was
        held out of its examples; all of them, if it never trains.

        Raises:
            KeyError: there is no such client.
            ValueError: there are none; a sentence.
        """
        if client in self.tests:
            return self.tests[client]
        position = self._source.ids.position(client)
        if position is None:
            raise KeyError(client)
        place = np.searchsorted(self._held, position)
        if place < len(self._held) and self._held[place] == position:
            return self._source.load(position)
        found = None if self._parts is None else self._parts.load(position)
        if found is None or not found.count:
            raise ValueError(f"Client '{client}' has no examples that do not train.")
        return found

    def with_public(self, count: int, seed: int = 0) -> FederatedData:
        """The same data, with so many examples of the test set known to all instead: they judge no model any more.

        Args:
            count: of the examples, above 0 and below those of the test set.
            seed: of the draw.

        Raises:
            ValueError: the test set has not more than that, or there is none.
        """
        there = 0 if self.test is None else self.test.count
        if self.test is None or not 0 < count < there:
            raise ValueError(
                f"Data set '{self.name}' cannot give {count} public examples: its test set has {there}, and at least "
                "one must be left to judge."
            )
        order = np.random.default_rng(seed).permutation(there)
        data = self._changed(self._source, self._held)
        data.public, data.test = self.test.part(np.sort(order[:count])), self.test.part(np.sort(order[count:]))
        return data

    def with_transform(self, transform: Transform) -> FederatedData:
        """The same data with every client's inputs passed through ``transform(x, position)``.

        The position counts held-out clients too, so that holding some out changes nothing for the others.
        """
        return self._changed(Transformed(self._source, transform), self._held)

    def with_examples_changed(self, change: Change, indices: Sequence[int]) -> FederatedData:
        """The same data, where what the clients at these positions in ``clients`` train on is ``change(examples,
        position)``, as many as before. What they are judged on stays as it is."""
        training = range(len(self.clients)) if self._training is None else self._training
        places = {int(training[index]): index for index in indices}
        data = self._changed(
            Altered(self._source, lambda examples, place: change(examples, places[place]), frozenset(places)),
            self._held,
        )
        data._parts = self._parts
        return data

    def sample(self, counts: Mapping[int, int]) -> FederatedData:
        """Some clients with their first examples only: ``counts`` by position in ``clients``, in that order.

        It has no test set, and the same public examples. Loads those clients, once.
        """
        names = Listed([self.clients[index] for index in counts])
        parts = [self.at(index).part(slice(count)) for index, count in counts.items()]
        return FederatedData(self.name, InMemorySource(names, parts), self.meaning, public=self.public)

    def pooled(self, indices: Sequence[int]) -> FederatedData:
        """The examples of the clients at these positions in ``clients`` in one place: those of the client ``pooled``.

        It has the same test set. Loads those clients, once, and keeps what they hold.
        """
        places = list(indices) if self._training is None else [int(self._training[index]) for index in indices]
        return FederatedData(self.name, PooledSource(self._source, places), self.meaning, test=self.test)

    def _changed(self, source: ExampleSource, held: Indices) -> FederatedData:
        return FederatedData(
            self.name,
            source,
            self.meaning,
            test=self.test,
            groups=self.groups,
            held=held,
            tests=self.tests,
            public=self.public,
        )

    def _draw(self, fraction: float, seed: int) -> Indices:
        if not 0 < fraction < 1:
            raise ValueError(f"The held-out fraction must lie between 0 and 1, not {fraction}.")
        count = max(1, round(fraction * len(self.clients)))
        return np.random.default_rng(seed).choice(len(self.clients), count, replace=False)

    def _find(self, ids: Iterable[str]) -> Indices:
        names = [ids] if isinstance(ids, str) else list(ids)
        for client in names:
            if client not in self.clients:
                raise ValueError(f"'{self.name}' has no training client '{client}' to hold out.")
        return np.unique(np.array([self.clients.index(client) for client in names], np.int64))

    def __getitem__(self, client: str) -> Examples:
        if not isinstance(client, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"Clients are found by their names, {client!r} is none; by their position: at({client!r}).")
        position = self._source.ids.position(client)
        if position is None:
            raise KeyError(client)
        return self._source.load(position)

    def __contains__(self, client: object) -> bool:
        return client in self._source.ids

    def __iter__(self) -> Iterator[str]:
        return iter(self.clients)

    def __len__(self) -> int:
        return len(self.clients)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        task = "regression" if self.classes is None else f"{self.classes} classes"
        return f"<FederatedData '{self.name}': {len(self)} clients, {len(self._held)} held out, {task}>"
