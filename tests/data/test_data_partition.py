"""Partitioners: every example once, the same seed the same partition, skew as asked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.data import (
    Partition,
    by_natural_id,
    classes_per_client,
    dirichlet,
    iid,
    quantity_skew,
    shards,
)

Make = Callable[[np.ndarray, int, int], Partition]

COMPLETE: dict[str, Make] = {
    "iid": lambda y, n, seed: iid(len(y), n, seed=seed),
    "dirichlet": lambda y, n, seed: dirichlet(y, n, alpha=0.3, seed=seed),
    "shards": lambda y, n, seed: shards(y, n, shards_per_client=2, seed=seed),
    "quantity_skew": lambda y, n, seed: quantity_skew(len(y), n, alpha=0.3, seed=seed),
}

labels = st.lists(st.integers(0, 5), min_size=24, max_size=200).map(np.array)
clients = st.integers(1, 12)
seeds = st.integers(0, 2**32)


def skew(y: np.ndarray, partition: Partition) -> float:
    """Mean total variation distance between a client's labels and all labels."""
    whole = np.bincount(y) / len(y)
    own = [np.bincount(y[rows], minlength=len(whole)) / len(rows) for rows in partition]
    return float(np.mean([np.abs(part - whole).sum() / 2 for part in own]))


@pytest.mark.parametrize("name", COMPLETE)
@given(y=labels, n=clients, seed=seeds)
@settings(max_examples=40, deadline=None)
def test_every_example_goes_to_exactly_one_client(name: str, y: np.ndarray, n: int, seed: int) -> None:
    partition = COMPLETE[name](y, n, seed)
    assert len(partition) == n
    assert sorted(partition.order.tolist()) == list(range(len(y)))
    assert partition.sizes.min() >= 1
    assert [len(rows) for rows in partition] == partition.sizes.tolist()


@pytest.mark.parametrize("name", COMPLETE)
@given(y=labels, n=clients, seed=seeds)
@settings(max_examples=15, deadline=None)
def test_the_same_seed_gives_the_same_partition(name: str, y: np.ndarray, n: int, seed: int) -> None:
    first, again = COMPLETE[name](y, n, seed), COMPLETE[name](y, n, seed)
    np.testing.assert_array_equal(first.order, again.order)
    np.testing.assert_array_equal(first.offsets, again.offsets)


@pytest.mark.parametrize("name", COMPLETE)
def test_another_seed_gives_another_partition(name: str) -> None:
    y = np.arange(400) % 10
    assert not np.array_equal(COMPLETE[name](y, 10, 1).order, COMPLETE[name](y, 10, 2).order)


def test_a_generator_serves_as_a_seed() -> None:
    np.testing.assert_array_equal(iid(50, 5, seed=np.random.default_rng(3)).order, iid(50, 5, seed=3).order)


@given(count=st.integers(1, 500), n=st.integers(1, 30))
@settings(deadline=None)
def test_iid_sizes_differ_by_at_most_one(count: int, n: int) -> None:
    if count >= n:
        sizes = iid(count, n).sizes
        assert sizes.max() - sizes.min() <= 1


def test_label_skew_grows_as_alpha_falls() -> None:
    y = np.random.default_rng(0).integers(0, 10, 20000)
    for seed in range(3):
        found = [skew(y, dirichlet(y, 50, alpha=alpha, seed=seed)) for alpha in (100.0, 1.0, 0.1, 0.01)]
        assert found == sorted(found)
        assert found[0] < 0.1
        assert found[-1] > 0.7


def test_dirichlet_proportions_have_the_variance_of_the_distribution() -> None:
    y = np.zeros(200_000, np.int64)
    n, alpha = 2000, 2.0
    share = dirichlet(y, n, alpha=alpha, min_size=0).sizes / len(y)
    expected = (1 / n) * (1 - 1 / n) / (n * alpha + 1)
    assert share.var() == pytest.approx(expected, rel=0.15)


def test_size_skew_grows_as_alpha_falls_and_labels_stay_mixed() -> None:
    y = np.random.default_rng(0).integers(0, 10, 20000)
    spread = [quantity_skew(y, 20, alpha=alpha, seed=4).sizes.std() for alpha in (100.0, 1.0, 0.1)]
    assert spread == sorted(spread)
    assert skew(y, quantity_skew(y, 20, alpha=5.0, min_size=200)) < 0.1


@given(y=labels, n=st.integers(1, 8), least=st.integers(1, 3), seed=seeds)
@settings(max_examples=60, deadline=None)
def test_min_size_is_kept_even_for_tiny_alpha(y: np.ndarray, n: int, least: int, seed: int) -> None:
    partition = dirichlet(y, n, alpha=0.01, min_size=least, seed=seed)
    assert partition.sizes.min() >= least
    assert sorted(partition.order.tolist()) == list(range(len(y)))


def test_a_hopeless_draw_is_repaired_to_the_smallest_size() -> None:
    y = np.arange(1000) % 10
    partition = dirichlet(y, 500, alpha=0.05, min_size=2)
    assert partition.sizes.tolist() == [2] * 500
    assert sorted(partition.order.tolist()) == list(range(1000))


def test_shards_give_each_client_few_classes() -> None:
    y = np.random.default_rng(0).permutation(np.arange(6000) % 10)
    partition = shards(y, 100, shards_per_client=2)
    assert set(partition.sizes.tolist()) == {60}
    assert max(len(np.unique(y[rows])) for rows in partition) <= 2


@given(n=st.integers(10, 40), k=st.integers(1, 10), seed=seeds)
@settings(max_examples=40, deadline=None)
def test_each_client_has_exactly_k_classes(n: int, k: int, seed: int) -> None:
    y = np.random.default_rng(0).permutation(np.arange(5000) % 10)
    partition = classes_per_client(y, n, classes=k, seed=seed)
    for i, rows in enumerate(partition):
        own = np.unique(y[rows])
        assert len(own) == k
        assert i % 10 in own
    assert sorted(partition.order.tolist()) == list(range(5000))


def test_owners_of_a_class_share_it_equally() -> None:
    y = np.zeros(1000, np.int64)
    y[500:] = 1
    partition = classes_per_client(y, 7, classes=2)
    counts = np.array([np.bincount(y[rows], minlength=2) for rows in partition])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()


def test_a_class_without_owner_is_left_out() -> None:
    y = np.arange(100) % 10
    partition = classes_per_client(y, 3, classes=1)
    assert sorted(set(y[partition.order].tolist())) == [0, 1, 2]


def test_natural_ids_keep_their_examples_together() -> None:
    owner = np.array(["b", "a", "b", "c", "a"])
    partition = by_natural_id(owner)
    assert partition.ids == ["a", "b", "c"]
    assert [rows.tolist() for rows in partition] == [[1, 4], [0, 2], [3]]


def test_a_partition_reads_as_a_list_of_arrays() -> None:
    partition = Partition.of([[3, 1], [0], [2, 4]])
    assert partition[-1].tolist() == [2, 4]
    assert [rows.tolist() for rows in partition[:2]] == [[3, 1], [0]]
    with pytest.raises(IndexError, match="3 clients"):
        partition[3]


Y = np.arange(20) % 4


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: iid(5, 6), "5 examples do not suffice for 6 clients with one each."),
        (lambda: iid(5, 0), "at least one client, not 0"),
        (lambda: dirichlet(Y, 5, alpha=0), "alpha must be a positive number, not 0."),
        (lambda: dirichlet(Y, 5, alpha=-1.0), "alpha must be a positive number"),
        (lambda: dirichlet(Y, 5, alpha=float("nan")), "alpha must be a positive number"),
        (lambda: dirichlet(Y, 5, min_size=5), "20 examples do not suffice for 5 clients with at least 5 each."),
        (lambda: dirichlet(Y / 2, 5), "one whole number per example, not float64"),
        (lambda: dirichlet(Y.reshape(4, 5), 2), r"shape \(4, 5\)"),
        (lambda: quantity_skew(20, 5, alpha=0), "alpha must be a positive number"),
        (lambda: shards(Y, 11), "20 examples do not suffice for 11 clients with at least 2 each."),
        (lambda: shards(Y, 2, shards_per_client=0), "shards_per_client must be at least 1"),
        (lambda: classes_per_client(Y, 4, classes=5), "cannot have 5 classes: the data has 4."),
        (lambda: classes_per_client(np.array([0, 0, 0, 0, 0, 1]), 6, classes=1), "take fewer clients"),
        (lambda: by_natural_id([]), "one per example"),
        (lambda: Partition.of({"a": [0.5]}), "indices of client 'a' must be"),
    ],
)
def test_an_impossible_request_is_one_sentence(call: Callable[[], Partition], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
