"""A rotation keeps lengths, can be turned back, and leaves no number large."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.privacy.noise.source import Source
from fogline.privacy.rotation import RandomRotation, block_of, hadamard, largest_after


def rotation(size: int, seed: int = 0) -> RandomRotation:
    return RandomRotation(size, Source(bytes([seed]) * 32))


@settings(max_examples=40)
@given(st.integers(1, 5000), st.integers(0, 255))
def test_lengths_stay_and_it_turns_back(size: int, seed: int) -> None:
    vector = np.random.default_rng(seed).standard_normal(size)
    turned = rotation(size, seed).turn(vector)
    assert np.isclose(np.linalg.norm(turned), np.linalg.norm(vector))
    assert np.allclose(rotation(size, seed).turn_back(turned), vector)


@pytest.mark.parametrize("size", [1, 2, 64, 128, 4096, 8192])
def test_the_transform_is_sylvesters(size: int) -> None:
    vector = np.random.default_rng(1).standard_normal(size)
    wanted, half = vector.copy(), 1
    while half < size:
        pairs = wanted.reshape(-1, 2, half)
        wanted = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        half *= 2
    assert np.allclose(hadamard(vector), wanted / np.sqrt(size))


@pytest.mark.parametrize("size", [1000, 1024, 1500, 7850])
@pytest.mark.parametrize("place", [0, 500, -1])
def test_no_number_stays_large(size: int, place: int) -> None:
    vector = np.zeros(size)
    vector[place] = 1.0
    for seed in range(20):
        assert np.abs(rotation(size, seed).turn(vector)).max() <= largest_after(size, 1e-6)
    assert largest_after(size, 1e-6) < 0.3
    assert block_of(size) <= size < 2 * block_of(size)


def test_others_have_other_rotations() -> None:
    vector = np.random.default_rng(1).standard_normal(100)
    assert not np.allclose(rotation(100, 1).turn(vector), rotation(100, 2).turn(vector))
