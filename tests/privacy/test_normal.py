"""Normal numbers and Poisson samples for the steps of training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fogline.privacy.noise.normal import add_normal, poisson_sample
from fogline.privacy.noise.source import Source

COUNT = 400_001


def source(name: int = 0) -> Source:
    return Source(bytes([name]) * 32)


def noise(count: int, of: Source | None = None) -> npt.NDArray[np.float32]:
    """Of deviation 1, on a fine grid."""
    drawn = np.zeros(count, np.float32)
    add_normal(of or source(), drawn, 1.0, 2.0**-16)
    return drawn


class Constant(Source):
    """Words that are all the same."""

    def __init__(self, word: int) -> None:
        self._word = word

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        return np.full(count, self._word, np.uint64)


def test_numbers_are_normal_and_do_not_depend_on_each_other() -> None:
    drawn = noise(COUNT)
    ordered, places = np.sort(drawn.astype(np.float64)), (np.arange(COUNT) + 0.5) / COUNT
    expected = 0.5 * (1.0 + np.vectorize(math.erf)(ordered / math.sqrt(2.0)))
    assert np.abs(places - expected).max() * math.sqrt(COUNT) < 1.63  # Kolmogorov and Smirnov, at one per cent.
    for lag in (1, 2, 4096, 8192):  # Neighbours, a pair's two halves, and blocks.
        assert abs(np.mean(drawn[:-lag] * drawn[lag:])) * math.sqrt(COUNT) < 3.5, lag
    assert (np.abs(drawn) > 4.0).sum() == pytest.approx(COUNT * math.erfc(4.0 / math.sqrt(2.0)), abs=20)


def test_the_tail_is_finer_than_a_word() -> None:
    assert noise(2, Constant(0)).max() == pytest.approx(math.sqrt(128.0 * math.log(2.0)), rel=1e-4)
    assert np.abs(noise(2, Constant((1 << 64) - 1))).max() < 1e-3


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_noise_is_added_and_the_sum_lies_on_the_grid(kind: type[np.floating[Any]]) -> None:
    plain = np.linspace(-3.0, 3.0, 9_999).astype(kind)
    noised = plain.copy()
    add_normal(source(), noised, 0.5, 2.0**-9)
    assert noised.dtype == kind
    np.testing.assert_array_equal(noised * 2.0**9, np.rint(noised * 2.0**9))
    np.testing.assert_allclose(noised - plain, 0.5 * noise(9_999), atol=1.1 * 2.0**-10)


def test_a_sample_takes_each_example_by_itself() -> None:
    examples, rate, times, drawn = 40, 0.3, 5000, source()
    taken = np.zeros((times, examples))
    for row in taken:
        sample = poisson_sample(drawn, examples, rate)
        assert len(np.unique(sample)) == len(sample)
        row[sample] = 1.0
    deviation = math.sqrt(rate * (1.0 - rate))
    assert np.abs(taken.mean(0) - rate).max() < 4.0 * deviation / math.sqrt(times)
    together = np.cov(taken.T) / deviation**2 - np.eye(examples)
    assert np.abs(together).max() < 5.0 / math.sqrt(times)
    # How many there are in a sample is no constant, as it would be of batches that are cut off an order.
    sizes = np.bincount(taken.sum(1).astype(int), minlength=examples + 1)[4:21]
    binomial = [math.comb(examples, n) * rate**n * (1 - rate) ** (examples - n) * times for n in range(4, 21)]
    assert ((sizes - binomial) ** 2 / binomial).sum() < 37.0  # Chi-square of 17 cells, at three in a thousand.
    assert poisson_sample(drawn, 7, 1.0).tolist() == list(range(7))
    assert poisson_sample(drawn, 0, 0.5).tolist() == []
