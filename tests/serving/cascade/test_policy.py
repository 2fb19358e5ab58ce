"""Thresholds of cascades: found by trying all, reached on rows that were not seen, refused where they cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.inference.card import Exits, Scores
from fogline.inference.cascade import POINTS, CascadePolicyError, fit, fit_chain
from fogline.inference.exits import choose, fit_exits

Array = npt.NDArray[Any]


def models(rng: np.random.Generator, rows: int) -> tuple[list[Array], list[Array]]:
    """Three models, each right as often as it says: confidences, and whether it is right."""
    sure = [np.clip(rng.beta(a, 1.5, rows), 0.1, 1) for a in (3.0, 8.0, 20.0)]
    return sure, [rng.random(rows) < s for s in sure]


def pair_accuracy(threshold: float, sure: Array, small: Array, large: Array) -> float:
    return float(np.where(sure < threshold, large, small).mean())


rows = st.lists(
    st.tuples(st.sampled_from([0.2, 0.5, 0.5001, 0.9, 1.0, float("nan")]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=30,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(rows, st.floats(0, 1))
def test_within_a_budget_no_other_threshold_is_better(examples: list[tuple[float, bool, bool]], budget: float) -> None:
    sure, small, large = (np.array(part) for part in zip(*examples, strict=True))
    sure = np.nan_to_num(sure, nan=0.0)
    cascade = fit(sure, small, large, to="big", budget=budget)
    tried = [0.0, *np.unique(sure), 2.0]
    best = max(pair_accuracy(t, sure, small, large) for t in tried if (sure < t).mean() <= budget + 1e-12)
    assert pair_accuracy(cascade.threshold, sure, small, large) == pytest.approx(best)
    assert (sure < cascade.threshold).mean() <= budget + 1e-12


@settings(max_examples=200, deadline=None, derandomize=True)
@given(rows, st.floats(0, 1))
def test_a_target_is_reached_with_the_fewest_rows_or_refused(
    examples: list[tuple[float, bool, bool]], target: float
) -> None:
    sure, small, large = (np.array(part) for part in zip(*examples, strict=True))
    sure = np.nan_to_num(sure, nan=0.0)
    tried = [t for t in [0.0, *np.unique(sure), 2.0] if pair_accuracy(t, sure, small, large) >= target - 1e-12]
    if not tried:
        with pytest.raises(CascadePolicyError, match="cannot be reached: the best is"):
            fit(sure, small, large, to="big", target_accuracy=target)
        return
    cascade = fit(sure, small, large, to="big", target_accuracy=target)
    assert pair_accuracy(cascade.threshold, sure, small, large) >= target - 1e-12
    assert (sure < cascade.threshold).mean() == pytest.approx(min((sure < t).mean() for t in tried))


def test_the_curve_goes_from_none_to_all_and_holds_what_was_measured() -> None:
    sure, right = models(np.random.default_rng(0), 5000)
    cascade = fit(sure[0], right[0], right[2], to="big", budget=0.3)
    assert len(cascade.curve) <= POINTS
    assert (cascade.curve[0].offloaded, cascade.curve[-1].offloaded) == (0.0, 1.0)
    assert cascade.curve[0].accuracy == pytest.approx(right[0].mean())
    assert cascade.curve[-1].accuracy == pytest.approx(right[2].mean())
    assert cascade.threshold in [point.threshold for point in cascade.curve]
    for before, after in zip(cascade.curve, cascade.curve[1:], strict=False):
        assert before.threshold < after.threshold
        assert before.offloaded < after.offloaded
    for point in cascade.curve:
        assert point.offloaded == pytest.approx((sure[0] < point.threshold).mean())
        assert point.accuracy == pytest.approx(pair_accuracy(point.threshold, sure[0], right[0], right[2]))


def test_a_target_holds_on_rows_that_were_not_seen() -> None:
    """Over 40 divisions the mean misses by less than three standard errors, and none by more than four."""
    misses = []
    for seed in range(40):
        sure, right = models(np.random.default_rng(seed), 8000)
        half = slice(4000)
        cascade = fit(sure[0][half], right[0][half], right[2][half], to="big", target_accuracy=0.85)
        rest = slice(4000, None)
        misses.append(0.85 - pair_accuracy(cascade.threshold, sure[0][rest], right[0][rest], right[2][rest]))
    error = np.sqrt(0.85 * 0.15 / 4000) * np.sqrt(2)
    assert np.mean(misses) < 3 * error / np.sqrt(40)
    assert max(misses) < 4 * error


def test_an_unreachable_target_says_what_is_possible() -> None:
    sure, small, large = np.array([0.5, 0.9]), np.array([False, True]), np.array([False, True])
    with pytest.raises(
        CascadePolicyError, match=r"0\.9900 cannot be reached: the best is 0\.5000, with 0\.0 % of the samples"
    ):
        fit(sure, small, large, to="big", target_accuracy=0.99)
    with pytest.raises(CascadePolicyError, match="Ask for less"):
        fit(sure, small, np.array([True, True]), to="big", target_accuracy=1.0, budget=0.1)


def test_what_makes_no_sense_is_refused() -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match="give one of them"):
        fit(one, one, one, to="big")
    with pytest.raises(ValueError, match="there are none"):
        fit(np.zeros(0), np.zeros(0), np.zeros(0), to="big", budget=1)
    with pytest.raises(ValueError, match="give one of them"):
        fit_chain((one, one), (one, one, one), to=("fog", "cloud"))


# Three tiers


def chain_of(low: float, high: float, sure: list[Array], right: list[Array]) -> tuple[float, float, float]:
    """Accuracy, share to the fog and share to the cloud."""
    up = sure[0] < low
    on = up & (sure[1] < high)
    return float(np.where(on, right[2], np.where(up, right[1], right[0])).mean()), float(up.mean()), float(on.mean())


def test_a_chain_keeps_its_budgets_and_no_pair_of_a_coarse_grid_is_better() -> None:
    sure, right = models(np.random.default_rng(1), 4000)
    device, fog = fit_chain((sure[0], sure[1]), tuple(right), to=("fog", "cloud"), budgets=(0.4, 0.1))  # type: ignore[arg-type]
    accuracy, up, on = chain_of(device.threshold, fog.threshold, sure, right)
    assert up <= 0.4 + 1e-9
    assert on <= 0.1 + 1e-9
    for low in np.quantile(sure[0], np.linspace(0, 0.4, 20)):
        for high in np.quantile(sure[1], np.linspace(0, 1, 20)):
            other = chain_of(low, high, sure, right)
            assert other[0] <= accuracy + 2e-3 or other[1] > 0.4 or other[2] > 0.1
    point = next(p for p in device.curve if p.threshold == device.threshold)
    assert (point.accuracy, point.offloaded) == pytest.approx((accuracy, up))


def test_a_chain_reaches_its_target_at_least_cost() -> None:
    sure, right = models(np.random.default_rng(2), 4000)
    dear = fit_chain((sure[0], sure[1]), tuple(right), to=("f", "c"), target_accuracy=0.85, costs=(1.0, 10.0))  # type: ignore[arg-type]
    cheap = fit_chain((sure[0], sure[1]), tuple(right), to=("f", "c"), target_accuracy=0.85, costs=(10.0, 1.0))  # type: ignore[arg-type]
    ends = [chain_of(pair[0].threshold, pair[1].threshold, sure, right) for pair in (dear, cheap)]
    assert min(accuracy for accuracy, _, _ in ends) >= 0.85 - 1e-9
    assert ends[0][2] < ends[1][2], "a dear link to the cloud is used less"
    assert ends[0][1] >= ends[1][1]
    with pytest.raises(CascadePolicyError, match="cannot be reached"):
        fit_chain((sure[0], sure[1]), tuple(right), to=("f", "c"), target_accuracy=0.999)  # type: ignore[arg-type]


# Early exits


def test_each_row_leaves_at_its_first_sure_exit() -> None:
    exits, scores = Exits(("a", "b", "c"), (0.9, 0.7)), Scores("c", "probabilities")
    outputs = {
        "a": np.array([[0.95, 0.05], [0.6, 0.4], [0.5, 0.5]]),
        "b": np.array([[0.1, 0.9], [0.2, 0.8], [0.6, 0.4]]),
        "c": np.array([[0.3, 0.7], [0.3, 0.7], [0.3, 0.7]]),
    }
    chosen = choose(exits, scores, outputs)
    assert chosen.exits.tolist() == [0, 1, 2]
    assert chosen.scores.tolist() == [[0.95, 0.05], [0.2, 0.8], [0.3, 0.7]]
    assert outputs["c"][0].tolist() == [0.3, 0.7], "the model's own output stays as it is"


def test_fitted_exits_reach_the_target_and_spare_work() -> None:
    sure, right = models(np.random.default_rng(3), 6000)
    exits = fit_exits(("a", "b", "c"), sure[:2], right, target_accuracy=0.88)
    first, second = sure[0] >= exits.thresholds[0], sure[1] >= exits.thresholds[1]
    accuracy = np.where(first, right[0], np.where(second, right[1], right[2])).mean()
    assert accuracy >= 0.88 - 1e-9
    assert first.mean() > 0.05
    with pytest.raises(CascadePolicyError, match="Exit 'a': An accuracy of"):
        fit_exits(("a", "b", "c"), sure[:2], right, target_accuracy=0.999)


def test_a_node_that_computes_confidence_a_little_differently_sends_the_same_rows() -> None:
    sure = np.array([0.0, 0.3, 0.3, 0.5, 0.9, 1.0])
    small, large = np.zeros(6, bool), np.ones(6, bool)
    for budget in (0.0, 0.5, 0.7, 1.0):
        threshold = fit(sure, small, large, to="big", budget=budget).threshold
        for error in (-1e-7, 1e-7):
            there = np.clip(sure + error, 0.0, 1.0).astype(np.float32)
            assert ((there < threshold) == (sure < threshold)).all()
