"""Noise on the integers has the distribution of its formula, and what is undecided is decided exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from fogline.privacy.noise.discrete_gaussian import DiscreteGaussian, is_below_exp
from fogline.privacy.noise.skellam import Skellam
from fogline.privacy.noise.source import Source
from fogline.privacy.noise.table import IntegerNoise, NoiseError, Table

Floats = npt.NDArray[np.float64]
ODD = 5.0
"""Standard deviations of a statistic beyond which a sample is not of the distribution."""


class Fixed:
    """A source whose words are all the same."""

    def __init__(self, word: int) -> None:
        self._word = word

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        return np.full(count, self._word, np.uint64)


def source(seed: int = 0) -> Source:
    return Source(bytes([seed]) * 32)


def gaussian(sigma: float) -> Callable[[int], float]:
    weights = {x: math.exp(-(x**2) / (2 * sigma**2)) for x in range(-200, 201)}
    total = sum(weights.values())
    return lambda x: weights[x] / total


def skellam(variance: float) -> Callable[[int], float]:
    """By what it is: the difference of two Poisson variables."""
    poisson = np.exp([-variance / 2 + k * math.log(variance / 2) - math.lgamma(k + 1) for k in range(200)])
    both = np.convolve(poisson, poisson[::-1])
    return lambda x: float(both[x + 199])


def oddness(drawn: npt.NDArray[np.int64], chance: Callable[[int], float]) -> float:
    """By how many standard deviations the chi-square statistic of a sample is more than it should be."""
    low, high = 0, 0
    while drawn.size * chance(high + 1) >= 10:
        low, high = low - 1, high + 1
    inner = np.array([chance(x) for x in range(low, high + 1)]) * drawn.size
    counts = np.bincount(np.clip(drawn, low - 1, high + 1) - low + 1, minlength=high - low + 3)
    rest = (drawn.size - inner.sum()) / 2
    wanted = np.concatenate([[rest], inner, [rest]])
    kept = wanted > 5
    square = float(((counts - wanted)[kept] ** 2 / wanted[kept]).sum())
    degrees = int(kept.sum()) - 1
    return (square - degrees) / math.sqrt(2 * degrees)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.7])
def test_the_discrete_gaussian_has_its_distribution(sigma: float) -> None:
    drawn = DiscreteGaussian(sigma).draw(200_000, source())
    assert oddness(drawn, gaussian(sigma)) < ODD
    assert oddness(drawn, gaussian(sigma * 1.03)) > ODD


@pytest.mark.parametrize("variance", [0.3, 2.0, 30.0])
def test_skellam_noise_has_its_distribution(variance: float) -> None:
    drawn = Skellam(variance).draw(200_000, source())
    assert oddness(drawn, skellam(variance)) < ODD
    assert oddness(drawn, skellam(variance * 1.06)) > ODD


@pytest.mark.parametrize("noise", [DiscreteGaussian(1023.5), DiscreteGaussian(5e4), DiscreteGaussian(2.0**29)])
def test_a_wide_discrete_gaussian_is_nearly_a_gaussian(noise: DiscreteGaussian) -> None:
    drawn = noise.draw(100_000, source(1))
    assert distance(drawn, math.sqrt(noise.variance)) < 1.7
    assert distance(drawn, 1.05 * math.sqrt(noise.variance)) > 1.7
    digits = np.bincount(drawn % 7, minlength=7)
    assert np.abs(digits - drawn.size / 7).max() < ODD * math.sqrt(drawn.size / 7)


def distance(drawn: npt.NDArray[np.int64], sigma: float) -> float:
    """Of Kolmogorov and Smirnov, times the root of the sample's size: 1.7 is exceeded once in 160 times."""
    ordered = np.sort(drawn) / sigma
    below = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in ordered])
    ranks = np.arange(drawn.size + 1) / drawn.size
    return math.sqrt(drawn.size) * float(np.maximum(np.abs(below - ranks[:-1]), np.abs(below - ranks[1:])).max())


@pytest.mark.parametrize("noise", [DiscreteGaussian(40.0), Skellam(1600.0)])
def test_tails_are_there(noise: IntegerNoise) -> None:
    drawn = noise.draw(1_000_000, source(2))
    far = int((np.abs(drawn) > 160).sum())  # Beyond 4 standard deviations: 6.1e-5 of a Gaussian, half a step less.
    assert 40 < far < 90
    assert abs(float(np.mean(drawn**2.0)) / noise.variance - 1) < ODD * math.sqrt(2 / drawn.size)


def test_sums_of_skellam_noise_are_skellam_noise() -> None:
    shares = [Skellam(0.5).draw(200_000, source(i)) for i in range(4)]
    assert oddness(np.sum(shares, axis=0), skellam(2.0)) < ODD


def test_a_source_decides_what_is_drawn() -> None:
    one, other = DiscreteGaussian(3.0).draw(50, source(1)), DiscreteGaussian(3.0).draw(50, source(2))
    assert np.array_equal(one, DiscreteGaussian(3.0).draw(50, source(1)))
    assert not np.array_equal(one, other)


def test_where_64_bits_do_not_decide_more_do() -> None:
    for off in range(-3000, 3000, 500):
        assert is_below_exp(true_floor() + off, Fraction(1), Fixed(0)) == (off <= 0)
    assert is_below_exp(true_floor(), Fraction(1), Fixed(0))
    assert not is_below_exp(true_floor(), Fraction(1), Fixed(2**64 - 1))


def true_floor() -> int:
    """2^64 / e, rounded down: 1/e = 0.367879441171442321595523770161460867445811131…"""
    return 367879441171442321595523770161460867445811131 * 2**64 // 10**45


def test_where_a_table_does_not_decide_more_bits_do() -> None:
    table, word = Table([1, 2]), np.array([2**63 // 3 << 1], np.uint64)
    assert table.draw(word, Fixed(0)).tolist() == [0]
    assert table.draw(word, Fixed(2**64 - 1)).tolist() == [1]
    assert table.draw(word + np.uint64(2), Fixed(0)).tolist() == [1]


@pytest.mark.parametrize("make", [lambda: DiscreteGaussian(0.0), lambda: Skellam(2.0**25), lambda: Skellam(-1.0)])
def test_noise_of_no_size_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(NoiseError, match="above 0 and at most"):
        make()
