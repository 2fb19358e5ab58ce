"""Federated data: what a client gets, what is refused, what it costs."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest

from fogline.data import Examples, FeatureNoise, FederatedData, Meaning, from_arrays, from_clients, iid

X = np.arange(24, dtype=np.float32).reshape(12, 2)
Y = np.arange(12) % 3
PARTS = {"ann": [0, 1, 2], "bob": [3, 4, 5, 6], "eve": [7, 8], "joe": [9, 10, 11]}


def small(**options: Any) -> FederatedData:
    return from_arrays("small", X, Y, PARTS, classes=3, **options)


def test_a_client_gets_its_rows() -> None:
    data = small()
    assert list(data) == list(data.clients) == ["ann", "bob", "eve", "joe"]
    assert len(data) == 4
    for i, (client, rows) in enumerate(PARTS.items()):
        np.testing.assert_array_equal(data[client].x, X[rows])
        np.testing.assert_array_equal(data.at(i).y, Y[rows])
        np.testing.assert_array_equal(data.targets(i), Y[rows])
        assert data.at(i).count == len(rows)
    assert data.sizes().tolist() == [3, 4, 2, 3]
    assert data.at(0).y.dtype == np.int64


def test_what_a_client_does_to_its_arrays_stays_with_it() -> None:
    data = small()
    data.at(0).x[:] = -1
    np.testing.assert_array_equal(data.at(0).x, X[:3])


def test_numbers_take_the_types_that_training_wants() -> None:
    data = from_arrays("r", X.astype(np.float64), Y.astype(np.int32), [range(6), range(6, 12)])
    assert (data.at(0).array.dtype, data.at(0).y.dtype, data.classes) == (np.float32, np.float32, None)
    pixels = from_arrays("p", X.astype(np.uint8), Y.astype(np.uint8), [range(12)], classes=3)
    assert (pixels.at(0).array.dtype, pixels.at(0).y.dtype) == (np.uint8, np.int64)


def test_unknown_clients_and_positions() -> None:
    data = small()
    with pytest.raises(KeyError, match="zoe"):
        data["zoe"]
    for position in (4, -1):
        with pytest.raises(IndexError, match="4 clients"):
            data.at(position)
    assert "zoe" not in data
    assert data.get("zoe") is None


def test_held_out_clients_do_not_train_but_can_be_reached() -> None:
    data = small().with_held_out(["bob"])
    assert list(data.clients) == ["ann", "eve", "joe"]
    assert data.held_out == ("bob",)
    assert data.sizes().tolist() == [3, 2, 3]
    np.testing.assert_array_equal(data["bob"].x, X[3:7])
    np.testing.assert_array_equal(data.at(1).x, X[7:9])
    assert data.clients.index("joe") == 2
    assert "bob" not in data.clients
    more = data.with_held_out(["joe"])
    assert more.held_out == ("bob", "joe")
    assert list(more.clients) == ["ann", "eve"]
    assert small(held_out=["eve"]).held_out == ("eve",)


def test_a_fraction_is_held_out_by_seed() -> None:
    data = from_arrays("n", np.zeros((100, 1)), np.zeros(100), iid(100, 50))
    first, again, other = (data.with_held_out(0.2, seed) for seed in (1, 1, 2))
    assert len(first.held_out) == 10
    assert len(first.clients) == 40
    assert first.held_out == again.held_out != other.held_out
    assert not set(first.held_out) & set(first.clients)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (0.0, "between 0 and 1"),
        (1.5, "between 0 and 1"),
        (0.9, "no client left"),
        (["zoe"], "no training client 'zoe'"),
        (["ann", "bob", "eve", "joe"], "no client left"),
    ],
)
def test_holding_out_what_cannot_be(wanted: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        small().with_held_out(wanted)


def spoilt(row: int, value: float) -> np.ndarray:
    x = X.copy()
    x[row, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "parts", "sentence"),
    [
        (X[:5], Y, PARTS, "x has shape (5, 2) and y has shape (12,)"),
        (X, np.where(Y == 2, 7, Y), PARTS, "Client 'ann', row 2 of the arrays: label 7 lies outside 0..2."),
        (X, Y - 1, PARTS, "label -1 lies outside 0..2."),
        (X, Y.astype(float), PARTS, "class labels must be whole numbers 0..2, not float64."),
        (spoilt(8, np.nan), Y, PARTS, "Client 'eve', row 8 of the arrays: x holds a NaN or an infinity."),
        (spoilt(4, np.inf), Y, PARTS, "Client 'bob', row 4 of the arrays: x holds a NaN or an infinity."),
        (X, Y, {"ann": [0], "bob": []}, "Client 'bob' has no examples."),
        (X, Y, [[0], [], [1]], "Client 'client-1' has no examples."),
        (X, Y, {"ann": [0, 12]}, "Client 'ann' owns row 12; rows go from 0 to 11."),
        (X, Y, {"ann": [0], "bob": [-1]}, "Client 'bob' owns row -1"),
        (X, Y, {"ann": [0, 3], "bob": [3]}, "Row 3 belongs to client 'ann' and again to 'bob'"),
        (X, Y, [], "has no training clients."),
        (X.astype(str), Y, PARTS, "both must be numbers."),
    ],
)
def test_bad_data_is_refused_with_its_place(x: Any, y: Any, parts: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        from_arrays("bad", x, y, parts, classes=3)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_strided_view_is_checked_as_well() -> None:
    with pytest.raises(ValueError, match="Client 'eve', row 8"):
        from_arrays("bad", spoilt(8, np.nan)[:, ::-1], Y, PARTS, classes=3)


def test_rows_that_nobody_owns_are_not_looked_at() -> None:
    y = Y.copy()
    y[11] = 99
    data = from_arrays("part", spoilt(11, np.nan), y, {"ann": [0, 1], "bob": [5]}, classes=3)
    assert data.sizes().tolist() == [2, 1]


def test_rows_may_be_shared_if_that_is_meant() -> None:
    data = from_arrays("shared", X, Y, [[0, 1], [1, 2]], classes=3, overlap=True)
    np.testing.assert_array_equal(data.at(1).x, X[[1, 2]])


def test_the_test_set_is_checked() -> None:
    with pytest.raises(ValueError, match="The test set of 'small', row 1: label 5 lies outside 0"):
        small(test=Examples(X[:2], np.array([0, 5])))


def test_every_client_needs_a_group_if_there_are_groups() -> None:
    with pytest.raises(ValueError, match="Client 'bob' of 'small' has no group"):
        small(groups={"ann": "north"})


def test_the_meaning_of_labels_must_fit() -> None:
    with pytest.raises(ValueError, match="2 class names do not fit 3 classes"):
        Meaning(3, ("a", "b"))
    with pytest.raises(ValueError, match="classes is 3, but the meaning of the labels says 4"):
        small(meaning=Meaning(4))
    with pytest.raises(ValueError, match="at least two classes, not 1"):
        Meaning(1)


class Calls:
    """A loader that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, client: str) -> Examples:
        self.asked.append(client)
        return Examples(X[PARTS[client]], Y[PARTS[client]])


def test_clients_are_loaded_when_asked_for() -> None:
    calls = Calls()
    data = from_clients("lazy", list(PARTS), calls, sizes=[3, 4, 2, 3], classes=3)
    held = data.with_held_out(["ann"])
    assert data.sizes().tolist() == [3, 4, 2, 3]
    assert held.sizes().tolist() == [4, 2, 3]
    assert calls.asked == []
    assert held.at(0).count == 4
    assert calls.asked == ["bob"]


def test_unknown_sizes_are_counted_once() -> None:
    calls = Calls()
    data = from_clients("lazy", list(PARTS), calls, classes=3)
    assert data.sizes().tolist() == data.sizes().tolist() == [3, 4, 2, 3]
    assert calls.asked == list(PARTS)


def test_a_mapping_of_examples_or_of_loaders() -> None:
    data = from_clients("mixed", {"ann": Examples(X[:2], Y[:2]), "bob": lambda: Examples(X[2:5], Y[2:5])}, classes=3)
    assert data.sizes().tolist() == [2, 3]
    np.testing.assert_array_equal(data["bob"].y, Y[2:5])


def test_lazy_clients_are_checked_on_loading() -> None:
    empty = Examples(X[:0], Y[:0])
    with pytest.raises(ValueError, match="Client 'bob' has no examples"):
        from_clients("bad", {"ann": Examples(X, Y), "bob": empty}, classes=3)
    data = from_clients("bad", {"ann": lambda: Examples(X, Y + 1), "bob": lambda: empty}, classes=3)
    with pytest.raises(ValueError, match="Client 'ann', row 2: label 3 lies outside 0"):
        data.at(0)
    with pytest.raises(ValueError, match="Client 'bob' has no examples"):
        data.at(1)
    with pytest.raises(ValueError, match="'ann' has 12 examples; 5 were announced"):
        from_clients("bad", ["ann"], lambda _: Examples(X, Y), sizes=[5], classes=3).at(0)


def test_lists_of_ids_must_make_sense() -> None:
    with pytest.raises(ValueError, match="Client 'ann' occurs twice"):
        from_clients("bad", ["ann", "bob", "ann"], Calls())
    with pytest.raises(ValueError, match="needs a loader"):
        from_clients("bad", ["ann"])
    with pytest.raises(ValueError, match="Client 'bob' has no examples"):
        from_clients("bad", ["ann", "bob"], Calls(), sizes=[1, 0])


def test_noise_grows_with_the_client_and_stays_the_same() -> None:
    zeros = from_arrays("noise", np.zeros((4000, 10)), np.zeros(4000), iid(4000, 4))
    data = zeros.with_transform(FeatureNoise(0.8, 4, seed=3))
    levels = [data.at(i).array.std() for i in range(4)]
    np.testing.assert_allclose(levels, [0.2, 0.4, 0.6, 0.8], rtol=0.05)
    np.testing.assert_array_equal(data.at(2).x, data.at(2).x)
    assert data.at(0).array.dtype == np.float32
    held = data.with_held_out(["client-1"])
    np.testing.assert_array_equal(held.at(1).x, data.at(2).x)
    np.testing.assert_array_equal(held["client-1"].x, data.at(1).x)
    with pytest.raises(ValueError, match="sigma must be a number >= 0"):
        FeatureNoise(-1.0, 4)


def test_it_can_be_sent_to_another_process() -> None:
    data = small(held_out=["bob"]).with_transform(FeatureNoise(0.1, 4))
    there = pickle.loads(pickle.dumps(data))  # noqa: S301
    np.testing.assert_array_equal(there.at(1).x, data.at(1).x)
    assert there.held_out == ("bob",)


def test_it_is_equal_only_to_itself() -> None:
    data = small()
    assert data == data
    assert data != small()
    assert len({data, small()}) == 2


def test_a_million_clients_cost_almost_nothing() -> None:
    n = 1_000_000
    x, y = np.zeros((n, 2), np.float32), np.zeros(n, np.int64)
    partition = iid(n, n)
    tracemalloc.start()
    data = from_arrays("crowd", x, y, partition, classes=2).with_held_out(0.01, seed=1)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 20 * n, "more than a few numbers per client are kept"
    assert len(data.clients) == 990_000
    assert data.clients[-1].startswith("client-9")
    assert data.clients.index(data.clients[777_777]) == 777_777
    assert data.at(777_777).count == 1
    assert data[data.held_out[5]].count == 1


@pytest.mark.parametrize("client", ["client-7", "client-007", "client-100", "client-", "client-٣", "x", "client--1"])
def test_only_the_exact_number_is_an_id(client: str) -> None:
    data = from_arrays("n", np.zeros((100, 1)), np.zeros(100), iid(100, 100))
    assert "client-07" in data
    assert client not in data


def test_importing_stays_light() -> None:
    heavy = ("pandas", "torch", "sklearn", "matplotlib", "PIL")
    code = f"import sys, fogline.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""
