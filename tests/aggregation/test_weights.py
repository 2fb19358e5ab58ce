"""A weight for each number: numbers are divided one by one, whatever the order and the tree."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.aggregation import ExactFold, Fold, Folded, MeanFold, UnusableUpdateError, Update, from_arrays

FOLDS = [MeanFold, ExactFold]


@st.composite
def many_updates(draw: Callable[..., Any]) -> list[Update]:
    """Of a vector that is weighed number by number (or, by some, as a whole), and one that some do not have."""
    size = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    made: list[Update] = []
    for _ in range(draw(st.integers(1, 8))):
        each = rng.integers(0, 5, size).astype(kind)
        weights: dict[str, Any] = {"p": each if rng.random() < 0.8 else 2.0}
        vectors: dict[str, Any] = {"p": rng.normal(size=size).astype(kind)}
        if rng.random() < 0.5:
            vectors["rare"], weights["rare"] = rng.normal(size=2).astype(np.float32), 1.0
        made.append(Update(vectors, weights))
    return made


def wired(fold: Fold) -> Any:
    return from_arrays({name: array.copy() for name, array in fold.partial().to_arrays().items()})


def fold_tree(kind: type[Fold], updates: list[Update], cuts: list[int]) -> Folded:
    cloud = kind()
    edges = [0, *sorted(c % (len(updates) + 1) for c in cuts), len(updates)]
    for low, high in pairwise(edges):
        fog = kind()
        for one in updates[low:high]:
            fog.add(from_arrays(one.to_arrays()))  # type: ignore[arg-type]
        cloud.merge(wired(fog))
    return cloud.finish()


def expected(updates: list[Update], name: str) -> np.ndarray:
    having = [one for one in updates if name in one.vectors]
    top = sum(np.float64(1) * one.weights[name] * one.vectors[name] for one in having)
    bottom = sum(np.float64(1) * one.weights[name] * np.ones(one.vectors[name].size) for one in having)
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


@pytest.mark.parametrize("kind", FOLDS)
@given(many_updates(), st.data())
@settings(max_examples=80, deadline=None)
def test_each_number_is_divided_by_its_own_weights_in_any_order_and_tree(
    kind: type[Fold], updates: list[Update], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, 100), max_size=3))
    order = data.draw(st.permutations(range(len(updates))))
    star = fold_tree(kind, updates, [])
    tree = fold_tree(kind, [updates[i] for i in order], cuts)
    for name in star.sums:
        np.testing.assert_allclose(star.mean(name), expected(updates, name), atol=1e-5)
        np.testing.assert_allclose(tree.mean(name), star.mean(name), atol=0 if kind is ExactFold else 1e-5)
        np.testing.assert_array_equal(tree.weights[name], star.weights[name])
        assert star.mean(name).dtype == tree.mean(name).dtype


@pytest.mark.parametrize("kind", FOLDS)
def test_a_number_that_nobody_weighed_does_not_move(kind: type[Fold]) -> None:
    fold = kind()
    fold.add(Update({"p": np.array([5.0, 5.0, 8.0])}, {"p": np.array([0.0, 2.0, 1.0])}))
    fold.add(Update({"p": np.array([7.0, 8.0, 2.0])}, {"p": np.array([0.0, 1.0, 1.0])}))
    folded = fold.finish()
    np.testing.assert_allclose(folded.mean("p"), [0.0, 6.0, 5.0])
    np.testing.assert_allclose(folded.total("p"), [0.0, 18.0, 10.0])
    assert "p" in folded
    assert "q" not in folded


@pytest.mark.parametrize("kind", FOLDS)
@pytest.mark.parametrize("stale", [1.0, 0.5])
def test_equal_weights_of_all_numbers_are_one_weight(kind: type[Fold], stale: float) -> None:
    rng = np.random.default_rng(3)
    one, each = kind(), kind()
    for weight in (1.0, 3.0, 0.25):
        vector = rng.normal(size=50).astype(np.float32)
        one.add(Update({"p": vector}, {"p": weight}), stale)
        each.add(Update({"p": vector}, {"p": np.full(50, weight, np.float32)}), stale)
    np.testing.assert_allclose(each.finish().mean("p"), one.finish().mean("p"), rtol=1e-6, atol=1e-7)


BAD = {
    "negative": (np.array([1.0, -1.0, 1.0]), "number 1 is -1.0"),
    "not a number": (np.array([1.0, 1.0, math.nan]), "number 2 is nan|are no numbers"),
    "infinite": (np.array([math.inf, 1.0, 1.0]), "number 0 is inf|exceed"),
    "too few": (np.ones(2), "weights of float64, \\(2,\\)"),
    "a table": (np.ones((3, 1)), "weights of float64, \\(3, 1\\)"),
}


@pytest.mark.parametrize("kind", FOLDS)
@pytest.mark.parametrize("what", BAD)
def test_wrong_weights_are_refused_and_change_nothing(kind: type[Fold], what: str) -> None:
    weights, why = BAD[what]
    fold, good = kind(), Update({"p": np.ones(3, np.float32)}, {"p": np.array([1.0, 0.0, 2.0])})
    fold.add(good)
    refused: list[str] = []
    bad = from_arrays(Update({"p": np.ones(3, np.float32)}, {"p": weights}).to_arrays())
    fold.take_all([(bad, 1.0)], lambda _, said: refused.append(said))
    (said,) = refused
    assert re.search(why, said)
    np.testing.assert_array_equal(fold.finish().mean("p"), [1.0, 0.0, 1.0])


def test_the_exact_fold_refuses_weights_that_it_cannot_hold() -> None:
    fold = ExactFold()
    with pytest.raises(UnusableUpdateError, match=r"number 1 of 'p' is below what the exact fold resolves"):
        fold.add(Update({"p": np.ones(2)}, {"p": np.array([1.0, 1e-9])}))
    with pytest.raises(UnusableUpdateError, match=r"The weights of 'p' exceed"):
        fold.add(Update({"p": np.ones(2)}, {"p": np.array([1.0, 1e10])}))


@pytest.mark.parametrize("per_number_first", [False, True])
def test_one_weight_and_weights_for_each_number_add_up(per_number_first: bool) -> None:
    updates = [
        Update({"p": np.array([1.0, 4.0], np.float32)}, {"p": 3.0}),
        Update({"p": np.array([5.0, 9.0], np.float32)}, {"p": np.array([1.0, 0.0])}),
    ]
    fold = MeanFold()
    fold.take_all([(one, 1.0) for one in (updates[::-1] if per_number_first else updates)], lambda *_: None)
    np.testing.assert_allclose(fold.finish().mean("p"), [2.0, 4.0])


def test_truth_values_are_no_weights() -> None:
    with pytest.raises(UnusableUpdateError, match="truth values"):
        from_arrays(Update({"p": np.ones(3)}, {"p": np.ones(3, bool)}).to_arrays())
