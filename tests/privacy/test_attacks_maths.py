"""What attacks compute on arrays, against values by hand and by other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.privacy.attacks.first_layer import candidates
from fogline.privacy.attacks.labels import apportioned, label_counts, overlap
from fogline.privacy.attacks.likeness import errors, paired, psnr, ssim
from fogline.privacy.attacks.membership import auc, found_at, likelihood_ratio, log_odds
from fogline.privacy.attacks.one_run import bound, least_epsilon, p_value
from fogline.privacy.attacks.presence import presence

RAMP = np.add.outer(np.arange(16.0), 2 * np.arange(16.0))[None]
WAVE = np.sin(np.arange(256.0)).reshape(1, 16, 16)


def test_psnr_is_by_the_formula() -> None:
    assert psnr(np.zeros(4), np.full(4, 0.1), 1.0) == pytest.approx(20.0)
    assert psnr(np.zeros(4), np.array([0.0, 0.0, 0.0, 2.0]), 255.0) == pytest.approx(10 * math.log10(255**2))
    assert psnr(WAVE, WAVE, 2.0) == 100.0


def test_ssim_of_flat_pictures_is_that_of_their_means() -> None:
    a, b, span = np.full((1, 9, 9), 0.3), np.full((1, 9, 9), 0.5), 1.0
    c1 = (0.01 * span) ** 2
    assert ssim(a, b, span) == pytest.approx((2 * 0.3 * 0.5 + c1) / (0.3**2 + 0.5**2 + c1))
    assert ssim(WAVE, WAVE, 2.0) == pytest.approx(1.0)
    assert ssim(WAVE, -WAVE, 2.0) < -0.5


def test_ssim_is_that_of_scikit_image() -> None:
    """The values are of ``skimage.metrics.structural_similarity``, release 0.26, with its defaults."""
    a, b = RAMP / 45, np.clip(RAMP / 45 + 0.2 * WAVE, 0, 1)
    assert ssim(a, b, 1.0) == pytest.approx(0.5078407817223952, abs=1e-12)
    three = np.concatenate([a, b, a.transpose(0, 2, 1)])
    assert ssim(three, three[[1, 2, 0]], 1.0) == pytest.approx(0.568499337789139, abs=1e-12)


@given(st.integers(1, 40), st.lists(st.floats(0.01, 1), min_size=2, max_size=8))
def test_shares_become_counts_that_add_up(examples: int, share: list[float]) -> None:
    counts = apportioned(share, examples)
    assert counts.sum() == examples
    assert np.abs(counts - np.array(share) / sum(share) * examples).max() < 1


def test_labels_are_counted_by_the_formula() -> None:
    prior, truth = np.array([0.2, 0.3, 0.5]), np.array([3, 0, 1])
    moved = 0.1 * 2 * (truth / 4 - prior)  # Two steps at a rate of 0.1.
    assert label_counts(moved, prior, 4, 0.2).tolist() == truth.tolist()
    assert label_counts(0.01 * moved, prior, 4, None).tolist() == truth.tolist()  # Shrunk, by how much is not known.
    assert overlap([2, 2, 0], truth) == 0.5


def test_a_unit_that_one_example_moves_is_that_example() -> None:
    rng = np.random.default_rng(0)
    x, wants = rng.random((2, 5)), np.array([[2.0, 0.0, -1.0, 0.5], [0.0, 3.0, 0.0, 0.5]])  # The last unit mixes.
    found = candidates(wants.T @ x, wants.sum(0), 0.0, 1.0)
    assert found.inputs[0] == pytest.approx(x[0])
    assert found.units[0] == 2
    assert min(errors(found.inputs, x)[:, 1]) < 1e-20
    assert len(candidates(np.zeros((4, 5)), np.zeros(4), 0.0, 1.0).inputs) == 0


def test_pairs_are_made_of_the_nearest_first() -> None:
    assert paired(np.array([[1.0, 0.5], [0.4, 3.0], [9.0, 0.1]])) == [(2, 1), (1, 0)]


def test_the_area_under_the_curve_counts_pairs() -> None:
    members, others = np.array([0.9, 0.5, 0.5]), np.array([0.1, 0.5, 0.8, 0.95])
    wins = np.mean([(m > o) + 0.5 * (m == o) for m in members for o in others])
    assert auc(members, others) == pytest.approx(wins)
    assert found_at(np.array([3.0, 1.0]), np.arange(100) / 50, 0.01) == 0.5


def test_log_odds_are_those_of_the_right_class() -> None:
    assert log_odds([-math.log(0.8)]) == pytest.approx([math.log(0.8 / 0.2)])


def test_a_likelihood_ratio_takes_an_example_for_what_it_is_like() -> None:
    rng = np.random.default_rng(1)
    hard = 5 * rng.standard_normal(200)  # What an example scores without having been seen differs more than being seen.
    inside = rng.random((20, 200)) < 0.5
    shadows = hard + inside + 0.3 * rng.standard_normal((20, 200))
    truth = rng.random(200) < 0.5
    seen = hard + truth + 0.3 * rng.standard_normal(200)
    assert auc(seen[truth], seen[~truth]) < 0.65
    ratio = likelihood_ratio(seen, shadows, inside)
    assert auc(ratio[truth], ratio[~truth]) > 0.97
    shadows[:, 0], inside[:, 1] = np.nan, True
    assert np.isnan(likelihood_ratio(seen, shadows, inside)[:2]).all()


def test_what_is_in_a_movement_is_found_beside_what_looks_like_it() -> None:
    rng = np.random.default_rng(2)
    common = rng.standard_normal(50)
    gradients = 3 * common + rng.standard_normal((12, 50))
    moved = -0.1 * gradients[[0, 3, 8]].sum(0)
    found = presence(moved, gradients)
    assert sorted(np.argsort(-found)[:3].tolist()) == [0, 3, 8]
    assert found[[0, 3, 8]] == pytest.approx([0.1] * 3, abs=0.03)


def test_the_chance_of_right_guesses_is_binomial() -> None:
    from scipy.stats import binom

    q = 1 / (1 + math.exp(-1.5))
    assert p_value(100, 40, 35, 1.5, 0.0) == pytest.approx(binom.sf(34, 40, q))
    assert p_value(100, 40, 35, 1.5, 1e-3) > p_value(100, 40, 35, 1.5, 0.0)
    assert p_value(100, 40, 0, 1.5, 1e-3) == pytest.approx(1.0)


@given(st.integers(1, 60), st.integers(0, 60), st.floats(0, 3))
def test_more_right_guesses_refute_more(guesses: int, correct: int, epsilon: float) -> None:
    correct = min(correct, guesses)
    assert p_value(100, guesses, correct, epsilon, 1e-5) >= p_value(100, guesses, correct, 0.0, 1e-5) - 1e-12
    assert least_epsilon(100, guesses, correct, 1e-5, 0.05) <= least_epsilon(100, guesses, guesses, 1e-5, 0.05)


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_a_bound_is_hardly_ever_above_what_is_true(epsilon: float) -> None:
    """Randomised response with that epsilon, guessed at with sure and unsure scores: the adversary's best."""
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(60):
        coins = rng.random(120) < 0.5
        told = np.where(rng.random(120) < 1 / (1 + math.exp(-epsilon)), coins, ~coins)
        wrong += bound(told + 1e-3 * rng.random(120), coins, 0.0).epsilon > epsilon
    assert wrong <= 6  # 5 % of 60 are 3; the chance of more than 6 is below 0.04.
    if epsilon == 2.0:
        assert bound(told, coins, 0.0).epsilon > 0.5
