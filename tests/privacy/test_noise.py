"""Noise in whole numbers: as wide as it says, normal, and decided by its key alone; and a clip that nothing passes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.privacy.accounting.events import Gaussian, Repeated
from fogline.privacy.adaptive import TooFewError, next_clip, noise_of_count, noise_of_sum
from fogline.privacy.clipping import bounded_on_grid, norm_of
from fogline.privacy.mechanisms import MECHANISMS, Use, make_mechanism
from fogline.privacy.noise.gaussian import WIDEST, rounded_gaussian
from fogline.privacy.noise.source import Source
from fogline.privacy.noise_state import NoiseState

KEY = bytes(range(32))
STEP = 2.0**-30
MANY = 200_000


def distance(sample: np.ndarray, deviation: float) -> float:
    """The largest distance between the distribution of a sample of whole numbers and a normal one, rounded."""
    values, counts = np.unique(sample, return_counts=True)
    below = np.cumsum(counts) / sample.size
    wanted = [0.5 * math.erfc(-(value + 0.5) / (deviation * math.sqrt(2.0))) for value in values.tolist()]
    return float(np.abs(below - wanted).max())


@pytest.mark.parametrize("deviation", [0.7, 3.0, 1e6])
def test_noise_is_normal_and_as_wide_as_it_says(deviation: float) -> None:
    noise = rounded_gaussian(deviation, MANY, Source(KEY))
    bound = 2.0 / math.sqrt(MANY)  # Of Kolmogorov and Smirnov: less than once in a thousand times.
    assert distance(noise, deviation) < bound
    assert distance(rounded_gaussian(0.97 * deviation, MANY, Source(KEY)), deviation) > bound
    assert np.abs(noise).max() > 4.0 * deviation


def test_a_key_decides_noise_and_another_key_other_noise() -> None:
    one, again = (rounded_gaussian(1e9, 5000, Source(KEY)) for _ in range(2))
    other = rounded_gaussian(1e9, 5000, Source(KEY[::-1]))
    assert np.array_equal(one, again)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.06
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.06
    purposes = [rounded_gaussian(1e9, 100, Source(KEY).of(name)) for name in (b"a", b"b")]
    assert not np.array_equal(*purposes)


def test_no_noise_and_too_much() -> None:
    assert not rounded_gaussian(0.0, 10, Source(KEY)).any()
    with pytest.raises(ValueError, match="does not fit into 64 bits; make noise or clip smaller"):
        rounded_gaussian(2 * WIDEST, 1, Source(KEY))


def test_a_mechanism_is_named_like_a_rule() -> None:
    assert next(iter(MECHANISMS)) == "gaussian"
    with pytest.raises(ValueError, match="There is no mechanism 'gausian'; did you mean 'gaussian'"):
        make_mechanism("gausian")
    assert make_mechanism("gaussian").events(1.5, Use(releases=10, times=3)) == (Repeated(Gaussian(1.5), 3),)


@given(st.integers(0, 2**31), st.floats(1e-6, 1e6), st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_nothing_passes_the_clip_and_all_is_on_the_grid(seed: int, size: float, bound: float) -> None:
    vector = (np.random.default_rng(seed).normal(size=300) * size).astype(np.float32)
    made = bounded_on_grid(vector, norm_of((vector,)), bound, STEP)
    assert made.dtype == np.float32
    assert norm_of((made,)) <= bound
    steps = made.astype(np.float64) / STEP
    assert np.array_equal(steps, np.rint(steps))
    shorter = vector * min(1.0, bound / norm_of((vector,)))
    assert np.allclose(made, shorter, rtol=3e-6, atol=STEP)


def test_the_noise_of_a_clip_that_adapts_is_paid_for() -> None:
    total, count = noise_of_sum(1.0, 100.0), noise_of_count(100.0)
    assert count == 5.0
    assert total == pytest.approx((1.0 - 10.0**-2) ** -0.5)
    assert total**-2 + (count / 0.5) ** -2 == pytest.approx(1.0)  # Both together are one of noise 1.
    with pytest.raises(TooFewError, match="wants more than 10 units in a round, and 10 are expected"):
        noise_of_sum(1.0, 10.0)


def test_a_clip_finds_the_quantile() -> None:
    norms, rng = np.linspace(0.0, 2.0, 101), np.random.default_rng(0)
    clip = 10.0
    for _ in range(100):
        told = np.where(norms <= clip, 0.5, -0.5).sum() + rng.normal() * noise_of_count(len(norms))
        clip = next_clip(clip, told, len(norms), 0.25)
    assert clip == pytest.approx(0.5, abs=0.1)


def test_who_finds_a_later_key_cannot_make_earlier_noise() -> None:
    state = NoiseState(KEY, 1.0)
    noises = {state.key_of("delta", b"1"), state.key_of("delta", b"2"), state.key_of("within", b"1")}
    assert len(noises | {state.key, state.next_key}) == 5
    assert NoiseState.from_arrays(NoiseState(KEY, 0.5, 7, {"tree": np.arange(3)}).to_arrays()) is not None
    again = NoiseState.from_arrays(state.to_arrays())
    assert again is not None
    assert (again.key, again.clip, again.population, again.own) == (KEY, 1.0, 0, {})
    assert NoiseState.from_arrays({}) is None
