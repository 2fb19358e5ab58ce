"""Folds: one result whatever the order and the tree, and nothing bad gets in."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.aggregation import (
    ExactFold,
    Fold,
    MeanFold,
    Partial,
    UnusableUpdateError,
    Update,
    bound,
    fold_named,
    from_arrays,
)
from fogline.aggregation import sweep as sweeping
from tests.patience import PATIENCE

FOLDS = [MeanFold, ExactFold]
BAD = [math.nan, math.inf, -math.inf]


def update(values: Any, weight: float = 1.0, counters: Any = (), dtype: Any = np.float32) -> Update:
    return Update({"delta": np.asarray(values, dtype)}, {"delta": weight}, np.asarray(counters, np.int64))


def contents(fold: Fold) -> tuple[Any, ...]:
    """What a fold holds, to the bit; the fold is the same afterwards."""
    partial = fold.partial()
    fold.merge(partial)
    sums = {name: (total.dtype.str, total.tobytes()) for name, total in partial.sums.items()}
    return sums, partial.weights, partial.counters.tobytes(), partial.count, partial.double


def same(a: Fold, b: Fold) -> bool:
    return contents(a) == contents(b)


def bfloat16(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


@st.composite
def many_updates(draw: Callable[..., Any]) -> list[Update]:
    size = draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    cast = draw(st.sampled_from([lambda x: x, bfloat16, lambda x: x.astype(np.float16), lambda x: x.astype(float)]))
    made: list[Update] = []
    for _ in range(draw(st.integers(1, 12))):
        values = rng.normal(size=size) * 10.0 ** rng.integers(-6, 4, size)
        weight = draw(st.one_of(st.integers(0, 10_000), st.floats(2.0**-10, 100.0)))
        vectors = {"delta": cast(values), "pace": rng.normal(size=1).astype(np.float32)}
        made.append(Update(vectors, {"delta": weight, "pace": 1.0}, rng.integers(0, 1000, 3)))
    return made


def fold_tree(updates: list[Update], order: list[int], cuts: list[int]) -> Fold:
    """Fogs fold neighbouring updates, some by way of another fog, and the cloud merges them."""
    cloud = ExactFold()
    edges = [0, *sorted(c % (len(updates) + 1) for c in cuts), len(updates)]
    for k, (low, high) in enumerate(pairwise(edges)):
        fog = ExactFold()
        for i in order[low:high]:
            fog.add(updates[i])
        if k % 2:
            between = ExactFold()
            between.merge(fog.partial())
            fog = between
        cloud.merge(from_arrays(fog.partial().to_arrays()))  # type: ignore[arg-type]
    return cloud


@given(many_updates(), st.data())
@settings(max_examples=150, deadline=None)
def test_exact_fold_has_no_order_and_no_tree(updates: list[Update], data: st.DataObject) -> None:
    star = ExactFold()
    for one in updates:
        star.add(one)
    order = data.draw(st.permutations(range(len(updates))))
    cuts = data.draw(st.lists(st.integers(0, 100), max_size=3))
    assert same(star, fold_tree(updates, order, cuts))


@given(many_updates())
@settings(max_examples=100, deadline=None)
def test_exact_fold_is_within_its_resolution(updates: list[Update]) -> None:
    fold = ExactFold()
    for one in updates:
        fold.add(one)
    sums = fold.partial()
    for k in range(updates[0].vectors["delta"].size):
        weights = [Fraction(round(u.weights["delta"] * 2**20), 2**20) for u in updates]
        true = sum(w * Fraction(float(u.vectors["delta"][k])) for w, u in zip(weights, updates, strict=True))
        # Half a step per update, and what a float64 product of that size cannot hold.
        size = max(float(w) * abs(float(u.vectors["delta"][k])) for w, u in zip(weights, updates, strict=True))
        slack = len(updates) * (0.5 / 2**30 + size * 2.0**-52)
        assert abs(Fraction(int(sums.sums["delta"][k]), 2**30) - true) <= slack
    assert sums.weights["delta"] == sum(weights)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ordinary_fold_of_a_tree_is_near_that_of_a_star(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    updates = [update(rng.normal(0.3, 1.0, 5000), float(rng.integers(1, 100)), dtype=dtype) for _ in range(300)]
    star, cloud = MeanFold(), MeanFold()
    for one in updates:
        star.add(one)
    for low in range(0, 300, 30):
        fog = MeanFold()
        for one in updates[low : low + 30]:
            fog.add(one)
        cloud.merge(fog.partial())
    a, b = star.finish().mean("delta"), cloud.finish().mean("delta")
    assert a.dtype == b.dtype == dtype
    assert np.linalg.norm(a - b) <= 1e-6 * np.linalg.norm(a)
    true = np.average([u.vectors["delta"] for u in updates], 0, np.array([u.weights["delta"] for u in updates]))
    np.testing.assert_allclose(b, true, atol=1e-5)


@pytest.mark.parametrize("kind", FOLDS)
@pytest.mark.parametrize(("dtype", "large"), [(np.int64, 2**30 + 1), (np.uint32, 2**30 + 3), (np.int16, 2**14 + 1)])
def test_whole_numbers_come_back_as_what_they_are(kind: type[Fold], dtype: Any, large: int) -> None:
    """Such as counts: float32 holds none exactly beyond 2^24."""
    star, fog = kind(), kind()
    for values in ([large, 1], [large, 3]):
        star.add(update(values, dtype=dtype))
    fog.add(update([large, 1], dtype=dtype))
    tree = kind()
    tree.merge(fog.partial())
    tree.add(update([large, 3], dtype=dtype))
    for fold in (star, tree):
        assert fold.finish().mean("delta").tolist() == [large, 2.0]


@pytest.mark.parametrize("kind", FOLDS)
@given(many_updates(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_bad_update_changes_nothing(kind: type[Fold], updates: list[Update], data: st.DataObject) -> None:
    fold = kind()
    for one in updates:
        fold.add(one)
    before = contents(fold)
    bad = Update({k: v.copy() for k, v in updates[0].vectors.items()}, dict(updates[0].weights), np.full(3, 10**6))
    name = data.draw(st.sampled_from(["delta", "pace"]))
    bad.vectors[name][data.draw(st.integers(0, bad.vectors[name].size - 1))] = data.draw(st.sampled_from(BAD))
    with pytest.raises(UnusableUpdateError, match=f"'{name}' is not finite"):
        fold.add(bad)
    assert contents(fold) == before


@pytest.mark.parametrize("kind", FOLDS)
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Update({"delta": np.ones(4, np.float32)}, {"delta": 1.0}), "shape"),
        (Update({"delta": np.ones((3, 1), np.float32)}, {"delta": 1.0}), "shape"),
        (Update({"delta": np.ones(3, np.float32)}, {"delta": -1.0}), "weight"),
        (Update({"delta": np.ones(3, np.float32)}, {"delta": math.nan}), "weight"),
        (Update({"delta": np.ones(3, np.float32)}, {}), "weights"),
        (Update({"delta": np.ones(3, np.float32)}, {"delta": 1.0}, np.zeros(2, np.int64)), "counters"),
    ],
)
def test_what_does_not_fit_is_refused(kind: type[Fold], bad: Update, says: str) -> None:
    fold = kind()
    fold.add(update([1, 2, 3], 2.0, [5]))
    before = contents(fold)
    with pytest.raises(UnusableUpdateError, match=says):
        fold.add(bad)
    assert contents(fold) == before


def test_exact_fold_refuses_what_overflows() -> None:
    fold = ExactFold()
    fold.add(update([5e9, 1.0]))
    before = contents(fold)
    with pytest.raises(UnusableUpdateError, match="overflows"):
        fold.add(update([5e9, 0.0]))
    with pytest.raises(UnusableUpdateError, match="exceed"):
        fold.add(update([0.0, 0.0], 1e10))
    with pytest.raises(UnusableUpdateError, match="below what the exact fold resolves"):
        fold.add(update([0.0, 0.0], 1e-9))
    assert contents(fold) == before
    fold.add(update([-3e9, 0.0]))
    fold.add(update([5e9, 0.0]))  # what has cancelled out makes room
    np.testing.assert_array_equal(fold.finish().total("delta"), np.float32([7e9, 1.0]))


def test_exact_fold_counts_the_true_sum_not_the_norm() -> None:
    """Norms bound magnitudes loosely; many long updates must not be taken for an overflow."""
    fold = ExactFold()
    for _ in range(100):
        fold.add(update(np.full(10_000, 1e6)))  # norms sum to 1e10, beyond the limit; magnitudes to 1e8
    np.testing.assert_array_equal(fold.finish().total("delta"), np.full(10_000, 1e8, np.float32))


def test_exact_fold_agrees_above_and_below_the_fast_range() -> None:
    """A product of 2^51 steps or more takes another path to the same integers."""
    fold = ExactFold()
    values = np.array([2.0**20 + 0.25, 2.0**22 + 0.5, 2.0**31, -(2.0**31), 1e-3], np.float32)
    for block in (values[:1], values[-1:], values[2:3]):  # small, small, large
        one = ExactFold()
        one.add(update(block))
        assert one.partial().sums["delta"][0] == round(float(block[0]) * 2**30)
    fold.add(update(values))
    assert fold.partial().sums["delta"].tolist() == [round(float(v) * 2**30) for v in values]


def test_mean_fold_refuses_what_would_become_infinite() -> None:
    fold = MeanFold()
    fold.add(update([1.0, 2.0]))
    before = contents(fold)
    with pytest.raises(UnusableUpdateError, match="overflows"):
        fold.add(update([2e38, 0.0], 2.0))
    assert contents(fold) == before


@pytest.mark.parametrize("kind", FOLDS)
def test_scale_leaves_the_denominator(kind: type[Fold]) -> None:
    fold = kind()
    fold.add(update([4.0], 1.0), scale=0.5)
    other = kind()
    other.add(update([2.0], 3.0))
    fold.merge(other.partial(), scale=0.25)
    done = fold.finish()
    assert done.weights["delta"] == 4.0
    assert done.total("delta")[0] == 4.0 * 0.5 + 6.0 * 0.25
    assert done.mean("delta")[0] == 3.5 / 4.0


@pytest.mark.parametrize("kind", FOLDS)
def test_counters_take_the_largest_and_stay_integers(kind: type[Fold]) -> None:
    fold = kind()
    big = 2**53 + 1  # no float64 holds it
    fold.add(update([0.0], 1.0, [3, big]))
    fold.add(update([0.0], 9.0, [7, 1]))
    fold.add(update([0.0], 9.0, [7, 1]))
    done = fold.finish()
    assert done.counters.dtype == np.int64
    assert done.counters.tolist() == [7, big]
    assert done.count == 3


@pytest.mark.parametrize("kind", FOLDS)
def test_what_is_handed_over_is_not_touched_again(kind: type[Fold]) -> None:
    fold, given_ = kind(), update([1.0, 2.0], 1.0, [1])
    fold.add(given_)
    first = fold.partial()
    kept = first.sums["delta"].copy()
    assert fold.count == 0
    fold.merge(first)
    fold.add(update([1.0, 1.0], 1.0, [9]))
    np.testing.assert_array_equal(first.sums["delta"], kept)
    assert (given_.vectors["delta"].tolist(), given_.counters.tolist(), first.counters.tolist()) == (
        [1.0, 2.0],
        [1],
        [1],
    )


def test_folds_of_different_kinds_do_not_mix() -> None:
    mean, exact = fold_named(exact=False), fold_named(exact=True)
    mean.add(update([1.0]))
    exact.add(update([1.0]))
    with pytest.raises(UnusableUpdateError, match="floating point"):
        ExactFold().merge(mean.partial())
    with pytest.raises(UnusableUpdateError, match="exact fold"):
        MeanFold().merge(exact.partial())


def test_no_weight_no_mean() -> None:
    fold = MeanFold()
    fold.add(update([1.0], 0.0))
    with pytest.raises(ValueError, match="no mean"):
        fold.finish().mean("delta")


@pytest.mark.parametrize("kind", FOLDS)
def test_updates_and_partials_as_arrays(kind: type[Fold]) -> None:
    one = Update({"delta": np.ones(3), "a/b": np.ones(1, np.float32)}, {"delta": 2.0, "a/b": 1.0}, np.ones(1, int), 4)
    again = from_arrays(one.to_arrays())
    assert isinstance(again, Update)
    assert (again.weights, again.count, again.nbytes) == (one.weights, 4, one.nbytes)
    assert one.nbytes == sum(a.nbytes for a in one.to_arrays().values())
    a, b = kind(), kind()
    a.add(one)
    b.take(again)
    assert same(a, b)
    partial = a.partial()
    back = from_arrays(partial.to_arrays())
    assert isinstance(back, Partial)
    assert back.double == {"delta"}
    c = kind()
    c.take(back)
    assert same(b, c)
    done = c.finish()
    assert (done.mean("delta").dtype, done.mean("a/b").dtype) == (np.float64, np.float32)
    with pytest.raises(UnusableUpdateError, match="no update"):
        from_arrays({"vector/delta": np.ones(1)})


@pytest.mark.parametrize("kind", FOLDS)
def test_threads_and_blocks_change_no_bit(kind: type[Fold], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    updates = [update(rng.normal(size=10_007), w) for w in (1.0, 3.0, 0.5)]

    def folded() -> tuple[Any, ...]:
        fold = kind()
        for one in updates:
            fold.add(one)
        return contents(fold)

    whole = folded()
    monkeypatch.setattr(sweeping, "BLOCK", 128)
    monkeypatch.setattr(sweeping, "WORTH", 1000)
    monkeypatch.setattr(sweeping, "cores", lambda: 4)
    assert folded() == whole
    bad = update(rng.normal(size=10_007))
    bad.vectors["delta"][9_999] = math.nan  # in the last thread's share
    with pytest.raises(UnusableUpdateError, match="number 9999 of 10007"):
        kind().add(bad)


def _fold_in_child(queue: Any) -> None:
    fold = MeanFold()
    for _ in range(2):
        fold.add(update(np.ones(2 * sweeping.WORTH)))
    queue.put(float(fold.finish().mean("delta")[-1]))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_folds_with_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "cores", lambda: 2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    _fold_in_child(queue)
    assert queue.get(timeout=PATIENCE) == 1.0
    child = context.Process(target=_fold_in_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=PATIENCE) == 1.0
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize("kind", FOLDS)
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_what_an_update_says_of_its_size_changes_no_bit(kind: type[Fold], weight: float) -> None:
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=50).astype(np.float32) for _ in range(4)]
    silent, telling = kind(), kind()
    for vector in vectors:
        silent.add(update(vector, weight))
        telling.add(Update({"delta": vector}, {"delta": weight}, bounds={"delta": bound(vector)}))
    assert same(silent, telling)


@pytest.mark.parametrize("kind", FOLDS)
@pytest.mark.parametrize("bad", BAD)
def test_an_update_that_knows_that_it_is_not_finite_is_refused(kind: type[Fold], bad: float) -> None:
    vector = np.array([1.0, bad], np.float32)
    with pytest.raises(UnusableUpdateError, match="number 1 of 2"):
        kind().add(Update({"delta": vector}, {"delta": 1.0}, bounds={"delta": bound(vector)}))


def test_what_an_update_says_of_its_size_does_not_travel() -> None:
    sent = Update({"delta": np.full(3, 1e30, np.float32)}, {"delta": 1.0}, bounds={"delta": 0.0})
    received = from_arrays(sent.to_arrays())
    assert isinstance(received, Update)
    assert not received.bounds


@pytest.mark.filterwarnings("error")
def test_to_look_at_large_numbers_warns_of_nothing() -> None:
    assert bound(np.full(10, 1e30, np.float32)) == pytest.approx(1e30)
    assert not math.isfinite(bound(np.array([1.0, math.inf, -math.inf], np.float32)))


def _plain(rng: np.random.Generator, weight: float, n: int = 33) -> Update:
    return Update({"delta": rng.normal(size=n).astype(np.float32)}, {"delta": weight})


@pytest.mark.parametrize("odd", ["none", "nan", "huge", "double", "shape", "names", "counters", "partial", "weight"])
@pytest.mark.parametrize("before", [0, 1])
def test_updates_that_are_folded_together_give_the_bits_and_refusals_of_one_after_the_other(
    odd: str, before: int
) -> None:
    rng = np.random.default_rng(5)
    values: list[tuple[Update | Partial, float]] = [
        (_plain(rng, float(weight)), float(scale))
        for weight, scale in zip(rng.uniform(0.1, 30, 150), rng.choice([1.0, 0.5, 1 / 3], 150), strict=True)
    ]
    strange = _plain(rng, 2.0)
    vector = strange.vectors["delta"]
    if odd == "nan":
        vector[3] = np.nan
    elif odd == "huge":
        vector[3] = 3e38
    elif odd == "double":
        strange.vectors["delta"] = vector.astype(np.float64)
    elif odd == "shape":
        strange.vectors["delta"] = vector[:5]
    elif odd == "names":
        strange = Update({"other": vector}, {"other": 1.0})
    elif odd == "counters":
        strange = Update({"delta": vector}, {"delta": 1.0}, np.array([3], np.int64))
    elif odd == "weight":
        strange.weights["delta"] = -1.0
    mixed: Update | Partial = strange
    if odd == "partial":
        other = MeanFold()
        other.add(strange)
        mixed = other.partial()
    values.insert(70, (mixed, 1.0))
    one, all_at_once = MeanFold(), MeanFold()
    first = _plain(rng, 1.5)
    for fold in (one, all_at_once)[: 2 * before]:
        fold.add(first)
    expected: list[tuple[int, str]] = []
    for place, (value, scale) in enumerate(values):
        try:
            one.take(value, scale)
        except UnusableUpdateError as error:
            expected.append((place, str(error)))
    refused: list[tuple[int, str]] = []
    all_at_once.take_all(values, lambda place, why: refused.append((place, why)))
    assert [place for place, _ in refused] == [place for place, _ in expected]
    assert bool(refused) == (odd in ("nan", "huge", "shape", "weight"))
    a, b = one.finish(), all_at_once.finish()
    assert a.sums.keys() == b.sums.keys()
    assert a.weights == b.weights
    assert a.count == b.count
    for name in a.sums:
        assert a.sums[name].dtype == b.sums[name].dtype
        assert a.sums[name].tobytes() == b.sums[name].tobytes()
    assert np.array_equal(a.counters, b.counters)


@pytest.mark.parametrize("columns", [1, 2, 7, 33, 257])
def test_partial_results_that_are_folded_together_give_the_bits_of_one_after_the_other(columns: int) -> None:
    rng = np.random.default_rng(6)
    values: list[tuple[Update | Partial, float]] = []
    for scale in rng.choice([1.0, 0.25, 1 / 3], 90):
        fog = MeanFold()
        for weight in rng.uniform(0.1, 30, 3):
            fog.add(_plain(rng, float(weight), columns))
        values.append((fog.partial() if len(values) % 4 else _plain(rng, 2.0, columns), float(scale)))
    one, all_at_once = MeanFold(), MeanFold()
    for value, scale in values:
        one.take(value, scale)
    all_at_once.take_all(values, lambda place, why: pytest.fail(f"{place}: {why}"))
    a, b = one.finish(), all_at_once.finish()
    assert a.sums["delta"].tobytes() == b.sums["delta"].tobytes()
    assert (a.weights, a.count) == (b.weights, b.count)
