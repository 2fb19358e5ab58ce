"""Clients that are read item by item: PyTorch's data sets and loaders, lists, and functions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler, TensorDataset

from fogline.data import Examples, from_clients

X = np.arange(24, dtype=np.float32).reshape(12, 2)
Y = np.arange(12) % 3


class Plain(Dataset[tuple[torch.Tensor, int]]):
    """Always the same."""

    reads = 0

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        self.reads += 1
        return torch.from_numpy(X[place]), int(Y[place])


class Noisy(Plain):
    """Drawn from all three generators each time."""

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        x, y = super().__getitem__(place)
        return x + 0.1 * torch.rand(2) + 0.1 * float(np.random.rand()) + 0.1 * random.random(), y


class Stream(IterableDataset[tuple[np.ndarray, int]]):
    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        yield from zip(X, Y.tolist(), strict=True)


CLIENTS: dict[str, Any] = {
    "data set": Plain(),
    "tensors": TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    "loader": DataLoader(Plain(), 5, shuffle=True, drop_last=True),
    "stream": Stream(),
    "loader of a stream": DataLoader(Stream(), 5),
    "pairs": list(zip(X, Y.tolist(), strict=True)),
    "records": [{"x": x.tolist(), "label": y} for x, y in zip(X, Y.tolist(), strict=True)],
    "pair": (X, Y),
    "function": lambda: Plain(),
    "loader with a collate": DataLoader(
        Plain(), 5, collate_fn=lambda items: (torch.stack([x for x, _ in items]), torch.tensor([y for _, y in items]))
    ),
}


@pytest.mark.parametrize("kind", CLIENTS)
def test_it_gives_its_examples(kind: str) -> None:
    data = from_clients("items", {"a": CLIENTS[kind]}, classes=3, test=(X, Y))
    assert data.sizes().tolist() == [12]
    np.testing.assert_array_equal(data.at(0).x, X)
    np.testing.assert_array_equal(data.at(0).y, Y)
    passes, size = data.passes(0, seed=3, count=lambda _: 4)
    assert size == passes.count == 12


def test_what_draws_nothing_is_read_once() -> None:
    client = Plain()
    data = from_clients("once", {"a": client}, classes=3)
    assert data.sizes().tolist() == [12]
    assert client.reads == 0, "its length is known without reading"
    for _ in range(3):
        data.at(0)
    assert client.reads <= 12 + 2 * 4


def test_what_is_drawn_is_drawn_for_every_pass_by_its_seed() -> None:
    data = from_clients("noisy", {"a": Noisy()}, classes=3)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()
    one, size = data.passes(0, 7, lambda size: 36 // size)
    again, _ = data.passes(0, 7, lambda _: 3)
    other, _ = data.passes(0, 8, lambda _: 3)
    assert size == 12
    assert one.array.shape == (36, 2)
    np.testing.assert_array_equal(one.x, again.x)
    np.testing.assert_array_equal(one.y, np.tile(Y, 3))
    parts = [*np.split(one.array, 3), *np.split(other.array, 3)]
    assert len({part.tobytes() for part in parts}) == 6
    assert all((part >= X).all() and (part <= X + 0.3).all() for part in parts)
    np.testing.assert_array_equal(data.at(0).x, data.at(0).x)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tobytes())


def test_a_function_draws_the_same_each_time() -> None:
    def load() -> Examples:
        return Examples(np.random.rand(5, 2), np.random.randint(0, 3, 5))

    data = from_clients("drawn", {"a": load, "b": load}, classes=3)
    np.random.seed(1)
    first = data.at(0).x
    np.random.seed(2)
    np.testing.assert_array_equal(first, data.at(0).x)
    assert not np.array_equal(first, data.at(1).x)


def test_a_sampler_chooses() -> None:
    client = DataLoader(Plain(), 2, sampler=SubsetRandomSampler([7, 2, 4]))
    data = from_clients("some", {"a": client}, classes=3)
    np.testing.assert_array_equal(data.at(0).x, X[[2, 4, 7]])


def test_several_inputs_by_place_and_by_name() -> None:
    pairs = [((x, x[:1]), y) for x, y in zip(X, Y.tolist(), strict=True)]
    records = [{"a": x, "b": x[:1], "who": 3, "y": y} for x, y in zip(X, Y.tolist(), strict=True)]
    by_place = from_clients("p", {"a": pairs}, classes=3).at(0).x
    by_name = from_clients("n", {"a": records}, inputs=["a", "b"], classes=3).at(0).x
    assert isinstance(by_place, tuple)
    assert isinstance(by_name, dict)
    np.testing.assert_array_equal(by_place[1], X[:, :1])
    np.testing.assert_array_equal(by_name["a"], X)
    assert list(by_name) == ["a", "b"]


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ([{"feat": [1.0], "label": 0, "client": 1}], "inputs='feat', target='label'"),
        ([(X[0], 0), (X[0, :1], 1)], "item 1 has shape (1,), that of item 0 (2,)"),
        ([1, 2], "item 0, is of type int; give pairs"),
        (7, "is of type int; give Examples(x, y)"),
        (np.zeros((3, 2)), "is of type ndarray; give Examples(x, y)"),
        ([], "has no examples"),
    ],
)
def test_what_is_no_client_is_refused_by_name(client: Any, said: str) -> None:
    data = from_clients("bad", {"ward": client}, classes=3)
    with pytest.raises(ValueError, match="Client 'ward'") as caught:
        data.at(0)
    assert said in str(caught.value)


def test_what_no_seed_reaches_is_refused() -> None:
    class Unseeded(Plain):
        def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
            x, y = super().__getitem__(place)
            return x + float(np.random.default_rng().random()), y

    with pytest.raises(ValueError, match="Client 'ward': an example differs each time it is read"):
        from_clients("bad", {"ward": Unseeded()}, classes=3).at(0)


def test_ids_may_be_numbers() -> None:
    data = from_clients("df", {np.int64(3): Examples(X, Y), 4: lambda: Examples(X, Y)}, classes=3)
    assert list(data.clients) == ["3", "4"]
    assert data["4"].count == 12


def test_clients_in_one_place_are_drawn_anew_for_every_pass_each_for_itself() -> None:
    clients = {"a": Noisy(), "b": Examples(X + 100, Y), "c": Noisy(), "never": Noisy()}
    data = from_clients("mixed", clients, classes=3, test=Examples(X, Y), held_out=["never"])
    pooled = data.pooled(range(3))
    assert list(pooled.clients) == ["pooled"]
    assert pooled.sizes().tolist() == [36]
    np.testing.assert_array_equal(pooled.at(0).array, np.concatenate([data.at(i).array for i in range(3)]))
    np.testing.assert_array_equal(pooled.targets(0), np.tile(Y, 3))
    drawn, size = pooled.passes(0, 5, lambda _: 2)
    assert (drawn.count, size) == (72, 36)
    first, second = drawn.array[:36], drawn.array[36:]
    noise = [first[:12] - X, first[24:] - X, second[:12] - X, second[24:] - X]
    assert len({part.tobytes() for part in noise}) == 4
    assert all((part > -1e-5).all() and (part < 0.31).all() for part in noise)
    for part in (first, second):
        np.testing.assert_array_equal(part[12:24], X + 100)
    again, _ = pooled.passes(0, 5, lambda _: 2)
    np.testing.assert_array_equal(again.array, drawn.array)
    some = data.pooled([1])
    np.testing.assert_array_equal(some.passes(0, 5, lambda _: 2)[0].array, X + 100)
